/** Texts as sequences of code points, as Python sees them. Texts without surrogates, nearly all, take the short way. */

const surrogate = /[\ud800-\udfff]/;

export const isPlain = (text: string): boolean => !surrogate.test(text);

/** How many code points a text has. */
export function codePointLength(text: string): number {
  if (isPlain(text)) return text.length;
  let length = 0;
  for (let at = 0; at < text.length; at = after(text, at)) length++;
  return length;
}

/** The place of the unit behind the code point at a place. */
export function after(text: string, at: number): number {
  return at + (text.codePointAt(at)! > 0xffff ? 2 : 1);
}

/** The place in UTF-16 of the code point of a number; the text's end when there are fewer. */
export function unitOf(text: string, index: number): number {
  if (isPlain(text)) return Math.min(index, text.length);
  let at = 0;
  for (let i = 0; i < index && at < text.length; i++) at = after(text, at);
  return at;
}

/** How many code points stand before a place in UTF-16. */
export function indexOfUnit(text: string, unit: number): number {
  return codePointLength(text.slice(0, unit));
}
