/** White space as Python's `str` knows it: not JavaScript's, which has U+FEFF and lacks the separators U+001C to U+001F. */

const members = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

/** One such character, as the source of a regular expression. */
export const pythonSpace = `[${members}]`;

const space = new RegExp(pythonSpace);

export const isSpace = (character: string): boolean => space.test(character);

/** Whether the text has characters, and all of them are white space. */
export function isBlank(text: string): boolean {
  return text !== '' && stripEnd(text) === '';
}

// By hand: /\s+$/ takes quadratic time on white space that is not at the end.
export function stripStart(text: string): string {
  let begin = 0;
  while (begin < text.length && isSpace(text[begin]!)) begin++;
  return begin === 0 ? text : text.slice(begin);
}

export function stripEnd(text: string): string {
  let end = text.length;
  while (end > 0 && isSpace(text[end - 1]!)) end--;
  return end === text.length ? text : text.slice(0, end);
}
