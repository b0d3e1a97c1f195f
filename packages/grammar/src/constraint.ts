/** A grammar over a vocabulary: masks of the tokens that may come next. */
import { UnicornError } from '@unicorn-exec/tensor';
import { compileAutomaton } from './automaton.js';
import type { Grammar } from './expression.js';
import { Pushdown, type Configuration } from './pushdown.js';
import { TokenMasks } from './token-mask.js';
import { buildTokenTrie, type TokenTrie } from './token-trie.js';

export interface VocabularyOptions {
  /** Number of ids; a mask has a bit for each. */
  readonly size: number;
  /** The bytes of a token by itself; undefined for tokens that a grammar never chooses, as special ones. */
  readonly bytes: (id: number) => Uint8Array | undefined;
  /** Tokens that end an answer: allowed where the text may end. */
  readonly endIds: readonly number[];
}

/** A vocabulary prepared for masks, made once for a tokenizer. */
export class Vocabulary {
  readonly size: number;
  readonly endIds: readonly number[];
  readonly trie: TokenTrie;
  readonly #bytes: VocabularyOptions['bytes'];

  /** @throws UnicornError `usage/option` for an impossible size or end ids that are not below it */
  constructor({ size, bytes, endIds }: VocabularyOptions) {
    const wrong = endIds.find((id) => !(Number.isSafeInteger(id) && id >= 0 && id < size));
    if (wrong !== undefined) {
      throw new UnicornError('usage/option', `The end id ${String(wrong)} is not one of ${size} tokens.`, {
        fields: { option: 'endIds' },
        fix: 'Give ids of the vocabulary.',
      });
    }
    this.size = size;
    this.endIds = endIds;
    this.#bytes = (id) => (endIds.includes(id) ? undefined : bytes(id));
    this.trie = buildTokenTrie(size, this.#bytes);
  }

  /** Undefined for what no grammar chooses. */
  bytes(id: number): Uint8Array | undefined {
    return this.#bytes(id);
  }
}

/** The tokens that may follow those generated so far, as `mask` of a generation request takes it. */
export type TokenMask = (generated: readonly number[]) => Int32Array;

/** A compiled grammar over a vocabulary. Requests may share it: what it remembers makes later masks faster. */
export class Constraint {
  readonly #pushdown: Pushdown;
  readonly #masks: TokenMasks;

  /**
   * @throws UnicornError as {@link compileAutomaton}
   */
  constructor(
    grammar: Grammar,
    readonly vocabulary: Vocabulary,
  ) {
    this.#pushdown = new Pushdown(compileAutomaton(grammar));
    this.#masks = new TokenMasks(this.#pushdown, vocabulary.trie);
  }

  /** A matcher at the beginning of a text. */
  matcher(): Matcher {
    return new PushdownMatcher(this.#pushdown, this.#masks, this.vocabulary);
  }

  /** For one request: remembers how far the generated tokens were read, and reads anew from where others differ. */
  tokenMask(): TokenMask {
    const read: number[] = [];
    const matchers = [this.matcher()];
    return (generated) => {
      let common = 0;
      while (common < read.length && read[common] === generated[common]) common++;
      read.length = common;
      matchers.length = common + 1;
      for (const token of generated.slice(common)) {
        const next = matchers.at(-1)!.copy();
        next.expect(token);
        read.push(token);
        matchers.push(next);
      }
      return matchers.at(-1)!.mask();
    };
  }
}

/** Reads tokens, and says which may come next. */
export interface Matcher {
  /** Whether the text may end here. */
  readonly isComplete: boolean;
  /** Whether an end token was read, after which nothing follows. */
  readonly isEnded: boolean;
  /** A matcher at the same place, which goes on by itself. Cheap. */
  copy(): Matcher;
  /** Reads bytes. @returns whether they may follow; nothing was read where they may not */
  acceptBytes(bytes: Uint8Array): boolean;
  /** Reads a token. @returns whether it may follow; nothing was read where it may not */
  accept(token: number): boolean;
  /** As {@link accept}. @throws UnicornError `usage/grammar` for a token that may not follow */
  expect(token: number): void;
  /**
   * Bit `id & 31` of word `id >> 5` is set for each token that may come next; end tokens where the text may end. It is the
   * caller's own. After an end token only end tokens are set.
   *
   * @throws UnicornError `resource/grammar` when the grammar can read a token in too many ways
   */
  mask(): Int32Array;
}

class PushdownMatcher implements Matcher {
  readonly #pushdown: Pushdown;
  readonly #masks: TokenMasks;
  readonly #vocabulary: Vocabulary;
  #at: Configuration;
  #isEnded = false;

  constructor(pushdown: Pushdown, masks: TokenMasks, vocabulary: Vocabulary) {
    this.#pushdown = pushdown;
    this.#masks = masks;
    this.#vocabulary = vocabulary;
    this.#at = pushdown.start;
  }

  get isComplete(): boolean {
    return this.#at.isComplete;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  copy(): PushdownMatcher {
    const other = new PushdownMatcher(this.#pushdown, this.#masks, this.#vocabulary);
    other.#at = this.#at;
    other.#isEnded = this.#isEnded;
    return other;
  }

  acceptBytes(bytes: Uint8Array): boolean {
    if (this.#isEnded) return bytes.length === 0;
    let at: Configuration | null = this.#at;
    for (const byte of bytes) {
      at = this.#pushdown.step(at, byte);
      if (at === null) return false;
    }
    this.#at = at;
    return true;
  }

  accept(token: number): boolean {
    if (this.#isEnded) return false;
    if (this.#vocabulary.endIds.includes(token)) {
      this.#isEnded = this.isComplete;
      return this.isComplete;
    }
    const bytes = this.#vocabulary.bytes(token);
    return bytes !== undefined && bytes.length > 0 && this.acceptBytes(bytes);
  }

  expect(token: number): void {
    if (this.accept(token)) return;
    throw new UnicornError('usage/grammar', `The token ${token} may not follow by the grammar.`, {
      fields: { token },
      fix: 'Generate by the mask that the matcher gives.',
    });
  }

  mask(): Int32Array {
    const words = this.#isEnded
      ? new Int32Array(Math.ceil(this.#vocabulary.size / 32))
      : this.#masks.of(this.#at).slice();
    if (this.isComplete) for (const id of this.#vocabulary.endIds) words[id >> 5]! |= 1 << (id & 31);
    return words;
  }
}
