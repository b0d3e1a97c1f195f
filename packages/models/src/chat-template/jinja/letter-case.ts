/** Upper and lower case as Python's `str` has them. */

const cased = /[\p{Uppercase}\p{Lowercase}\p{Lt}]/u;

/** The first character of a word: digraphs such as U+01C6 have a form of their own. */
function titleCase(character: string): string {
  if (/[\u01c4-\u01cc\u01f1-\u01f3]/.test(character)) {
    const code = character.charCodeAt(0);
    const base = code >= 0x1f1 ? 0x1f1 : 0x1c4 + 3 * Math.floor((code - 0x1c4) / 3);
    return String.fromCharCode(base + 1);
  }
  // Georgian has no capitals at the beginning of words.
  if (/[\u10d0-\u10ff]/.test(character)) return character;
  const upper = character.toUpperCase();
  // Ligatures become several letters, of which the first is a capital.
  return [...upper].length > 1 ? upper[0]! + upper.slice(1).toLowerCase() : upper;
}

/** Python's `str.title`: every run of letters is a word. */
export function titled(text: string): string {
  let written = '';
  let inWord = false;
  for (const character of text) {
    written += inWord ? character.toLowerCase() : titleCase(character);
    inWord = cased.test(character);
  }
  return written;
}

export function capitalized(text: string): string {
  const [first = ''] = text;
  return titleCase(first) + text.slice(first.length).toLowerCase();
}

export function swapped(text: string): string {
  let written = '';
  for (const character of text) {
    const upper = character.toUpperCase();
    written += character === upper ? character.toLowerCase() : upper;
  }
  return written;
}

export function casefolded(text: string): string {
  let written = '';
  for (const character of text) written += folded(character);
  return written;
}

function folded(character: string): string {
  if (character === '\u1e9e') return 'ss';
  if (character === '\u0131') return character;
  return character.toUpperCase().toLowerCase();
}

/** Whether the text is not empty and every character is of the kind. */
export function isAll(text: string, kind: RegExp): boolean {
  for (const character of text) if (!kind.test(character)) return false;
  return text !== '';
}

/** Whether all letters with a case have this one, and there is one. */
export function isCased(text: string, which: 'upper' | 'lower'): boolean {
  const [wanted, other] =
    which === 'upper'
      ? [/\p{Uppercase}/u, /[\p{Lowercase}\p{Lt}]/u]
      : [/\p{Lowercase}/u, /[\p{Uppercase}\p{Lt}]/u];
  return wanted.test(text) && !other.test(text);
}

export function isTitle(text: string): boolean {
  let inWord = false;
  let any = false;
  for (const character of text) {
    if (/[\p{Uppercase}\p{Lt}]/u.test(character)) {
      if (inWord) return false;
      inWord = any = true;
    } else if (/\p{Lowercase}/u.test(character)) {
      if (!inWord) return false;
      any = true;
    } else inWord = false;
  }
  return any;
}
