/** JSON from outside: files, requests, flags. */

/**
 * The deepest nesting of lists and objects that is read. Configurations and tool descriptions have some dozens of levels;
 * code that walks over a value later, `JSON.stringify` included, runs out of stack at some thousands.
 */
const maxDepth = 512;

/**
 * The value of a JSON text.
 *
 * @throws SyntaxError for a text that is not JSON or nests deeper than 512 levels. The caller says which file it is.
 */
export function parseJson(text: string): unknown {
  if (depthOf(text) > maxDepth) throw new SyntaxError(`it nests deeper than ${maxDepth} levels`);
  return JSON.parse(text);
}

/** The deepest level, if the text is JSON; stops once it is too deep. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < text.length && deepest <= maxDepth; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: // "
        at = endOfString(text, at);
        break;
      case 0x5b: // [
      case 0x7b: // {
        deepest = Math.max(deepest, ++depth);
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
        break;
    }
  }
  return deepest;
}

/** The place of the quote that ends the string which begins at `start`. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; ;) {
    const quote = text.indexOf('"', at);
    if (quote < 0) return text.length;
    let escapes = 0;
    while (text.charCodeAt(quote - 1 - escapes) === 0x5c) escapes++;
    if (escapes % 2 === 0) return quote;
    at = quote + 1;
  }
}
