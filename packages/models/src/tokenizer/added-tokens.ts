/**
 * Finds added tokens in text before anything else looks at it: leftmost, then longest. The rules for words
 * and spaces around a token are those of the Hugging Face library.
 */
import type { LiteralRanges, TextRange } from './literal-ranges.js';
import { PrefixTree } from './prefix-tree.js';

export interface AddedToken {
  id: number;
  content: string;
  /** Part of the protocol, not of the text: recognized only on demand, and not shown. */
  special: boolean;
  /** Looked for after normalization instead of before it. */
  normalized: boolean;
  /** Only where no word character touches it. */
  singleWord: boolean;
  /** Swallows white space to its left, or right. */
  lstrip: boolean;
  rstrip: boolean;
}

const wordCharacter = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u;
const whiteSpace = /\p{White_Space}/u;

export class AddedTokenMatcher {
  readonly #tree = new PrefixTree<AddedToken>();
  #hasSpecial = false;

  /** @param spelling how a token's content looks in the text that will be searched (normalized, for some) */
  constructor(tokens: readonly AddedToken[], spelling: (content: string) => string = (content) => content) {
    for (const token of tokens) {
      const content = spelling(token.content);
      if (content === '') continue;
      this.#tree.set(content, token);
      if (token.special) this.#hasSpecial = true;
    }
  }

  /** Whether one of them is special. */
  get hasSpecial(): boolean {
    return this.#hasSpecial;
  }

  /**
   * The text in order: an id for each added token, the range, never empty, of what is between.
   *
   * @param special whether special tokens are recognized
   * @param literal where they are not, even so: neither within such a range, nor with a part of one
   */
  split(text: string, special: boolean, literal?: LiteralRanges): (number | TextRange)[] {
    if (this.#tree.isEmpty) return text === '' ? [] : [[0, text.length]];
    const sections: (number | TextRange)[] = [];
    let done = 0; // everything before it is in `sections`
    let at = 0;
    while (at < text.length) {
      const match = this.#longestAt(text, at, special ? literal : undefined);
      if (match === undefined) {
        at++;
        continue;
      }
      const { token, end: matchEnd } = match;
      let [start, end] = [at, matchEnd];
      at = matchEnd; // a match that is not taken still hides shorter ones within it
      if (token.special && (!special || literal?.overlaps(start, end))) continue;
      if (token.singleWord && (touchesWord(text, start - 1) || touchesWord(text, end))) continue;
      if (start < done) continue; // swallowed by the token before
      if (token.lstrip) while (start > done && whiteSpace.test(text[start - 1]!)) start--;
      if (token.rstrip) while (end < text.length && whiteSpace.test(text[end]!)) end++;
      if (start > done) sections.push([done, start]);
      sections.push(token.id);
      done = end;
    }
    if (done < text.length) sections.push([done, text.length]);
    return sections;
  }

  /** The longest token at each place where one begins, taken or not, whatever lies over it. */
  *occurrences(text: string): Generator<{ token: AddedToken; start: number; end: number }> {
    for (let start = 0; start < text.length; start++) {
      const match = this.#longestAt(text, start, undefined);
      if (match !== undefined) yield { ...match, start };
    }
  }

  /**
   * A special token that reaches over the border of a literal range is nothing, and hides nothing: else what stands before
   * or behind the range, and was not typed there, would be lost with it.
   */
  #longestAt(
    text: string,
    start: number,
    literal: LiteralRanges | undefined,
  ): { token: AddedToken; end: number } | undefined {
    let found: { token: AddedToken; end: number } | undefined;
    this.#tree.prefixesAt(text, start, (token, end) => {
      const crossing = token.special && literal?.overlaps(start, end) === true && !literal.covers(start, end);
      if (!crossing) found = { token, end };
    });
    return found;
  }
}

function touchesWord(text: string, index: number): boolean {
  const unit = text[index];
  return unit !== undefined && wordCharacter.test(unit);
}
