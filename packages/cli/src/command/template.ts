/** `unicorn template`: a conversation through the model's chat template. */
import { openText, type Conversation } from '@unicorn-exec/api';
import { UnicornError } from '@unicorn-exec/api/error';
import { decodeUtf8, parseJson, readJsonFile, readStandardInput } from '../input.js';
import { mapJsonLines } from '../json-lines.js';
import type { ModelFlags } from '../option.js';
import type { Terminal } from '../terminal.js';

interface TemplateFlags extends ModelFlags {
  readonly tools?: string;
  readonly option?: Record<string, unknown>;
  readonly jsonl?: boolean;
}

export async function template(
  terminal: Terminal,
  file: string | undefined,
  flags: TemplateFlags,
): Promise<void> {
  const { chatTemplate, name } = await openText(flags.model);
  if (!chatTemplate) throw new UnicornError('unsupported/chat-template', `${name} has no chat template.`);
  const tools = flags.tools === undefined ? undefined : await readJsonFile(flags.tools);
  const convert = (value: unknown): { prompt: string } => ({
    prompt: chatTemplate.render(conversation(value, tools, flags.option)),
  });
  if (flags.jsonl) {
    await mapJsonLines(terminal, convert);
    return;
  }
  const value =
    file === undefined
      ? parseJson(decodeUtf8(await readStandardInput('conversation'), 'conversation'), 'conversation')
      : await readJsonFile(file);
  const result = convert(value);
  if (flags.json) terminal.writeJson(result);
  else terminal.write(result.prompt);
}

/** An array of messages, or `{messages, tools?, options?}`; flags win over the file. */
function conversation(
  value: unknown,
  tools: unknown,
  options: Record<string, unknown> | undefined,
): Conversation {
  const given = Array.isArray(value) ? { messages: value } : value;
  if (typeof given !== 'object' || given === null || !('messages' in given)) {
    throw new UnicornError(
      'usage/conversation',
      'A conversation is an array of messages, or an object with `messages`.',
      {
        fix: 'For example [{"role": "user", "content": "Hi!"}].',
      },
    );
  }
  const file = given as { tools?: unknown; options?: Record<string, unknown> };
  return {
    ...given,
    ...(tools === undefined && file.tools === undefined ? {} : { tools: tools ?? file.tools }),
    options: { ...file.options, ...options },
  } as Conversation;
}
