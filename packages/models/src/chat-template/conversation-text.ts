/** A conversation that arrives as JSON text, of a file or a request. */
import { parseJson } from '@unicorn-exec/tensor';
import { conversationFrom, type Conversation } from './conversation.js';

/**
 * As {@link conversationFrom}, of text: `tools` stay the text that they are, so that a template prints their numbers and the
 * order of their keys as they were written, which JavaScript's own values cannot keep (1.0, 9007199254740993, keys like "1").
 *
 * @throws SyntaxError for what is not JSON, or nests too deep
 * @throws UnicornError `usage/conversation` naming the place of what is wrong
 */
export function conversationFromText(json: string): Conversation {
  const conversation = conversationFrom(parseJson(json));
  if (!Array.isArray(conversation.tools)) return conversation;
  const tools = memberText(json, 'tools');
  return tools === undefined ? conversation : { ...conversation, tools };
}

/**
 * The text of a member's value in a JSON object. Where a name is given twice the last one counts, as for `JSON.parse`.
 *
 * @param json valid JSON
 * @returns undefined where it is no object, or has no such member
 */
export function memberText(json: string, name: string): string | undefined {
  let found: string | undefined;
  let depth = 0;
  let key: string | undefined;
  let begin = 0;
  for (let at = 0; at < json.length; at++) {
    const character = json[at]!;
    if (character === '"') {
      const end = stringEnd(json, at);
      if (depth === 1 && key === undefined) key = JSON.parse(json.slice(at, end)) as string;
      at = end - 1;
    } else if (character === ':' && depth === 1) begin = at + 1;
    else if (character === '{' || character === '[') {
      if (depth++ === 0 && character === '[') return undefined;
    } else if (character === '}' || character === ']' || character === ',') {
      if (depth === 1) {
        if (key === name) found = json.slice(begin, at).trim();
        key = undefined;
      }
      if (character !== ',') depth--;
    }
  }
  return found;
}

/** Behind the closing quote of a string that begins there. */
function stringEnd(json: string, begin: number): number {
  let at = begin + 1;
  while (json[at] !== '"') at += json[at] === '\\' ? 2 : 1;
  return at + 1;
}
