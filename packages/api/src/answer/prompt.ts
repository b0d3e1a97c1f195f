/** From what a caller asks to the ids that a model reads: raw text, or messages through the model's chat template. */
import { UnicornError } from '@unicorn-exec/tensor';
import type { Conversation, Model, PromptParts } from '@unicorn-exec/models';
import type { GenerateRequest } from './request.js';

export interface Prompt {
  readonly tokens: number[];
  /** Sentences about what the request asks for and the model ignores. */
  readonly warnings: readonly string[];
}

/**
 * The ids that a request's prompt becomes: the chat template's output, or raw text behind the model's BOS.
 *
 * @throws UnicornError as {@link renderParts}; `usage/option` for a request without any prompt
 */
export async function promptOf(model: Model, request: GenerateRequest): Promise<Prompt> {
  if ('tokens' in request && request.tokens) return { tokens: Array.from(request.tokens), warnings: [] };
  // A raw prompt spells its special tokens itself.
  if ('prompt' in request && request.prompt !== undefined) {
    return { tokens: await encodePrompt(model, { text: request.prompt, literal: [] }), warnings: [] };
  }
  if (!('messages' in request) || !request.messages) {
    throw new UnicornError('usage/option', 'The request has no prompt.', {
      fields: { options: ['messages', 'prompt', 'tokens'] },
      fix: 'Give messages, prompt or tokens.',
    });
  }
  const { messages, tools, templateOptions } = request;
  const parts = await renderParts(model, {
    messages,
    ...(tools ? { tools } : {}),
    ...(templateOptions ? { options: templateOptions } : {}),
  });
  const facts = tools && tools.length > 0 ? (await model.chatTemplate())?.facts : undefined;
  const warnings = facts && !facts.tools ? [ignoredTools] : [];
  return { tokens: await encodePrompt(model, parts), warnings };
}

/** What a caller is told whose tools go nowhere. */
export const ignoredTools = "The model's chat template ignores tools: the model does not learn of them.";

/**
 * Ids of a whole prompt, behind the model's BOS unless the text begins with it. Special tokens are recognized but in
 * the literal ranges.
 */
export async function encodePrompt(model: Model, { text, literal }: PromptParts): Promise<number[]> {
  const tokenizer = await model.tokenizer();
  const ids = tokenizer.encode(text, { special: true, literal });
  const { bosId } = tokenizer;
  return tokenizer.addBos && bosId !== undefined && ids[0] !== bosId ? [bosId, ...ids] : ids;
}

/**
 * The text that the model's chat template makes of a conversation, and the ranges of it that came from the messages:
 * a special token that somebody typed stays text.
 *
 * @throws UnicornError `unsupported/chat-template` for a model without a template, `usage/conversation` for what is not
 * a conversation, `usage/chat-template` for one that the template refuses
 */
export async function renderParts(model: Model, conversation: Conversation): Promise<PromptParts> {
  const template = await model.chatTemplate();
  if (!template) {
    throw new UnicornError('unsupported/chat-template', `${model.name} has no chat template.`, {
      fix: 'Give the prompt as raw text (`prompt`, or `unicorn run --raw`).',
    });
  }
  return template.renderParts(conversation, await model.tokenizer());
}
