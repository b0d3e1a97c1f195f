/** The spellings of a tokenizer's special tokens, and finding them. What they mean is the tokenizer's business. */
import { AddedTokenMatcher } from '../tokenizer/added-tokens.js';

export class SpecialTexts {
  readonly #matcher: AddedTokenMatcher;
  /** Matches any unit with which one of them begins or ends; undefined when there are none. */
  readonly #edge: RegExp | undefined;
  readonly #texts: readonly string[];

  constructor(texts: readonly string[]) {
    this.#texts = texts;
    const flags = { special: true, normalized: false, singleWord: false, lstrip: false, rstrip: false };
    this.#matcher = new AddedTokenMatcher(texts.map((content, id) => ({ id, content, ...flags })));
    const edges = new Set(texts.flatMap((text) => [text.charCodeAt(0), text.charCodeAt(text.length - 1)]));
    const escaped = [...edges].map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`);
    this.#edge = edges.size === 0 ? undefined : new RegExp(`[${escaped.join('')}]`);
  }

  /**
   * Whether a text could have a part in a special token that somebody typed. Without a first or a last character it
   * cannot: what a template begins and ends is the template's.
   */
  near(text: string): boolean {
    return this.#edge?.test(text) ?? false;
  }

  some(holds: (text: string) => boolean): boolean {
    return this.#texts.some(holds);
  }

  /** The longest one at each place where one begins, also over one another. */
  *in(text: string): Generator<{ text: string; start: number; end: number }> {
    for (const { token, start, end } of this.#matcher.occurrences(text))
      yield { text: token.content, start, end };
  }
}
