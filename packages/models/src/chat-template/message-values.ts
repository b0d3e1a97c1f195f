/** Messages and tools as templates see them, with the customs of transformers. */
import { UnicornError } from '@unicorn-exec/tensor';
import type { ChatMessage, ContentPart, Conversation } from './conversation.js';
import { Dict, readJson, valueFrom, type Value } from './jinja/index.js';

/** What the reasoning of a message is called. Templates read the first, those of gpt-oss the second. */
const reasoningFields = ['reasoning_content', 'thinking', 'reasoning'] as const;

/**
 * Fields that are null are left out, since many templates write `None` or fail where a missing field is all the same to
 * them; reasoning stands under the names that templates read.
 */
export function messageValues(messages: readonly ChatMessage[]): Value {
  return messages.map((message) => {
    const fields = Object.entries(message).filter(([, value]) => value !== null && value !== undefined);
    const reasoning = reasoningFields
      .map((name) => message[name])
      .find((value) => (value ?? undefined) !== undefined);
    const entries =
      reasoning === undefined
        ? fields
        : Object.entries({
            thinking: reasoning,
            ...Object.fromEntries(fields),
            reasoning_content: reasoning,
          });
    return new Dict(entries.map(([name, value]) => [name, valueFrom(value)] as const));
  });
}

/**
 * Tools from JSON text keep their numbers and the order of their keys. None at all are null.
 *
 * @throws UnicornError `usage/conversation` for text that is not a JSON array
 */
export function toolValues(tools: Conversation['tools']): Value {
  if (typeof tools !== 'string') return (tools ?? []).length > 0 ? valueFrom(tools) : null;
  let value: Value | undefined;
  let reason = 'it is not an array';
  try {
    value = readJson(tools);
  } catch (error) {
    reason = (error as Error).message;
  }
  if (!Array.isArray(value)) {
    throw new UnicornError(
      'usage/conversation',
      `In the conversation, tools must be a JSON array: ${reason}.`,
      {
        fields: { place: 'tools', expected: 'an array' },
      },
    );
  }
  return value.length > 0 ? value : null;
}

/**
 * Messages whose parts of text are joined by newlines, for a template that takes only strings.
 *
 * @throws UnicornError `usage/chat-template` for a part that is not text, which such a template cannot show
 */
export function withPlainText(messages: readonly ChatMessage[]): ChatMessage[] {
  return messages.map((message, i) => {
    const { content } = message;
    if (!Array.isArray(content)) return message;
    const texts = (content as readonly ContentPart[]).map((part) => {
      if (part.type === 'text' && typeof part['text'] === 'string') return part['text'];
      throw new UnicornError(
        'usage/chat-template',
        `The chat template takes only text, and messages[${i}] has a part of the type ${JSON.stringify(part.type)}.`,
        {
          fields: { type: part.type, message: i },
          fix: 'Give text, or choose a model that takes such parts.',
        },
      );
    });
    return { ...message, content: texts.join('\n') };
  });
}
