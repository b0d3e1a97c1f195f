/** What a tokenizer is to everybody else: text to ids and back. Types only; the implementation is `bpe-tokenizer.ts`. */
import type { TextRange } from './literal-ranges.js';

export interface EncodeOptions {
  /**
   * True: text that spells a special token (`<|im_end|>`) becomes that token, as in a prompt that a chat template wrote.
   * False (default): it is ordinary text, as whatever a user typed must be. Added tokens that are not special
   * (`<think>`, runs of newlines in Gemma) are recognized either way.
   */
  special?: boolean;
  /**
   * Parts of the text that are ordinary text even so, sorted: what a user typed into a prompt that a chat template wrote
   * (`ChatTemplate.renderParts` tells where). No special token is recognized that holds a character of such a part; all
   * else, splitting into words and merging across its ends too, is as if the text spelled none there. Default: none.
   */
  literal?: readonly TextRange[];
}

export interface DecodeOptions {
  /** Leave special tokens out of the text, so that an answer does not show `<end_of_turn>`. Default false. */
  skipSpecial?: boolean;
}

/** Turns a stream of ids into a stream of text that never holds half a character. */
export interface Detokenizer {
  /** The text that may be shown after this token: everything up to the last complete character; often ''. */
  push(id: number): string;
  /** What was held back: U+FFFD for an unfinished character, else ''. The object starts afresh afterwards. */
  end(): string;
}

/** All methods that take an id throw `usage/token-id` when it is not an integer in [0, vocabSize). */
export interface Tokenizer {
  /** Number of ids: the largest id + 1. A model's embedding may have more rows (padding). */
  readonly vocabSize: number;
  /** Smaller ids that no token has, ascending: gaps, and what a converter has put in their place. */
  readonly absentIds: readonly number[];
  /** The token that begins a sequence, where the model has one. */
  readonly bosId: number | undefined;
  /** Ids that end an answer: the declared end token and every special token that is known to end a turn or a text. */
  readonly eosIds: readonly number[];
  /** Whether raw text is to be preceded by `bosId`. `encode` never does it: a chat template may have written it already. */
  readonly addBos: boolean;
  /** Sentences about what the file says of the tokenizer and was not taken at its word. */
  readonly warnings: readonly string[];
  /** How the special tokens are spelled: what may not become one when a user types it. */
  readonly specialTexts: readonly string[];
  /**
   * Text to ids; nothing is added. A lone surrogate counts as U+FFFD.
   * @throws UnicornError `usage/literal-ranges` when `literal` is not sorted or not within the text; `usage/text` for
   * anything but a string of at most 2^24 UTF-16 units; `resource/tokenizer` when a splitting pattern that the model's
   * file brought does not finish in time.
   */
  encode(text: string, options?: EncodeOptions): number[];
  /** Ids to text; bytes that are not UTF-8 become U+FFFD, as the Hugging Face library does it. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /** The text of one token by itself: U+FFFD where it holds part of a character. */
  piece(id: number): string;
  /** The bytes of one token by itself. Over a sequence they concatenate to the text's UTF-8. */
  bytes(id: number): Uint8Array;
  /** The id whose token is spelled exactly so (`<end_of_turn>`), if any. */
  idOf(piece: string): number | undefined;
  isSpecial(id: number): boolean;
  detokenizer(options?: DecodeOptions): Detokenizer;
}
