/** What a chat template is given. The check is of the shape only: what a role may be is the template's to say. */
import { UnicornError } from '@unicorn-exec/tensor';

/** One part of a message with several kinds of content, as in OpenAI's API: `{type: 'text', text}`, `{type: 'image'}`. */
export interface ContentPart {
  type: string;
  [key: string]: unknown;
}

export interface ChatMessage {
  role: string;
  content?: string | readonly ContentPart[] | null;
  /** `tool_calls`, `reasoning_content`, `name` and whatever else the template reads. */
  [key: string]: unknown;
}

export interface Conversation {
  messages: readonly ChatMessage[];
  /** JSON schemas of functions, as the template expects them; or the text of a JSON array, which keeps its numbers and order. */
  tools?: readonly unknown[] | string | null;
  /** More variables for the template: `add_generation_prompt` (default true), `enable_thinking` and the like. */
  options?: Readonly<Record<string, unknown>>;
}

/**
 * Accepts a conversation as it comes from a file or a request: `{messages, tools?, options?}`, or the messages alone.
 * By hand and not with zod, which takes 55 ms to load, in the way of every first answer.
 *
 * @throws UnicornError `usage/conversation` naming the place of what is wrong
 */
export function conversationFrom(value: unknown): Conversation {
  const conversation = Array.isArray(value) ? { messages: value as unknown } : value;
  if (!isRecord(conversation))
    throw wrong('a conversation', 'an array of messages or {messages, tools?, options?}');
  const { messages, tools, options } = conversation;
  if (!Array.isArray(messages)) throw wrong('messages', 'an array');
  messages.forEach((message: unknown, i) => {
    if (!isRecord(message)) throw wrong(`messages[${i}]`, 'an object with a role and content');
    if (typeof message['role'] !== 'string') throw wrong(`messages[${i}].role`, 'a string');
    const { content } = message;
    if (content === undefined || content === null || typeof content === 'string') return;
    if (!Array.isArray(content)) throw wrong(`messages[${i}].content`, 'a string or an array of parts');
    content.forEach((part: unknown, j) => {
      if (!isRecord(part) || typeof part['type'] !== 'string') {
        throw wrong(`messages[${i}].content[${j}]`, 'an object with a type');
      }
    });
  });
  if (tools !== undefined && tools !== null && typeof tools !== 'string' && !Array.isArray(tools))
    throw wrong('tools', 'an array');
  if (options !== undefined && !isRecord(options)) throw wrong('options', 'an object');
  return conversation as unknown as Conversation;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wrong(place: string, expected: string): UnicornError {
  return new UnicornError('usage/conversation', `In the conversation, ${place} must be ${expected}.`, {
    fields: { place, expected },
  });
}
