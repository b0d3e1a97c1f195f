/**
 * The tokenizer of every model here: added tokens, normalization, splitting, byte-pair encoding. Where its tables come
 * from is the business of `from-json.ts` and `from-gguf.ts`.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import { AddedTokenMatcher, type AddedToken } from './added-tokens.js';
import { characterOfByte, spellingOfBytes } from './byte-level.js';
import { BytePairMerger } from './byte-pair-merger.js';
import { LiteralRanges } from './literal-ranges.js';
import type { MergeRules } from './merge-rules.js';
import { TextSplitter, type Splitting } from './text-splitter.js';
import { TokenText, type TokenSpelling } from './token-text.js';
import type { DecodeOptions, Detokenizer, EncodeOptions, Tokenizer } from './tokenizer.js';
import type { Vocabulary } from './vocabulary.js';

/** Everything that a tokenizer is made of, whatever file it came from. */
export interface TokenizerDefinition {
  vocabulary: Vocabulary;
  added: readonly AddedToken[];
  merges: MergeRules;
  splitting: Splitting;
  spelling: TokenSpelling;
  /** A piece of text that is a token as it stands is not taken apart. */
  ignoreMerges: boolean;
  /** Stands for a character (or byte) that no token spells; without it such a character is dropped. */
  unknownId: number | undefined;
  /** Neighbouring unknown characters become one unknown token. */
  fuseUnknown: boolean;
  bosId: number | undefined;
  eosIds: readonly number[];
  addBos: boolean;
  /** Ids whose spelling stands for nothing, as padding in GGUF. Default: none. */
  padding?: ReadonlySet<number>;
  /** See {@link Tokenizer.warnings}. Default: none. */
  warnings?: readonly string[];
}

/**
 * In UTF-16 units: some four million tokens, beyond any context, and at most 3 * 2^24 bytes, which is fewer symbols than
 * a merge can take (2^26). The slowest text of this length takes seconds, not minutes.
 */
const maxTextLength = 2 ** 24;
/**
 * A piece up to this long is remembered with its ids. V8 makes a longer substring a view of its text, so that remembering
 * it would hold the whole text in memory.
 */
const maxRememberedLength = 12;
/** Pieces remembered before all are forgotten: some 2 MB. */
const maxRemembered = 16_384;
const loneSurrogates = /\p{Surrogate}/gu;

export class BpeTokenizer implements Tokenizer {
  readonly bosId: number | undefined;
  readonly eosIds: readonly number[];
  readonly addBos: boolean;
  readonly specialTexts: readonly string[];
  readonly warnings: readonly string[];

  readonly #definition: TokenizerDefinition;
  readonly #vocabulary: Vocabulary;
  readonly #text: TokenText;
  readonly #special: ReadonlySet<number>;
  readonly #splitter: TextSplitter;
  readonly #rawTokens: AddedTokenMatcher;
  readonly #normalizedTokens: AddedTokenMatcher;
  readonly #merger: BytePairMerger;
  /** The token of each byte, `noToken` where there is none: GPT-2's characters, or `<0xAB>`. */
  readonly #byteIds: Int32Array;
  #absent: readonly number[] | undefined;
  readonly #remembered = new Map<string, readonly number[]>();
  readonly #encoder = new TextEncoder();

  constructor(definition: TokenizerDefinition) {
    const { vocabulary, added, spelling } = definition;
    this.specialTexts = added
      .filter((token) => token.special && token.content !== '')
      .map((token) => token.content);
    this.#definition = definition;
    vocabulary.compact();
    this.#vocabulary = vocabulary;
    this.bosId = definition.bosId;
    this.eosIds = definition.eosIds;
    this.addBos = definition.addBos;
    this.warnings = definition.warnings ?? [];
    this.#special = new Set(added.filter((token) => token.special).map((token) => token.id));
    this.#text = new TokenText(vocabulary, spelling, new Set(added.map((token) => token.id)), this.#special);
    this.#splitter = new TextSplitter(definition.splitting);
    this.#rawTokens = new AddedTokenMatcher(added.filter((token) => !token.normalized));
    this.#normalizedTokens = new AddedTokenMatcher(
      added.filter((token) => token.normalized),
      (content) => this.#splitter.normalize(content),
    );
    this.#merger = new BytePairMerger(definition.merges);
    const pieceOfByte =
      spelling.kind === 'byteLevel'
        ? (byte: number) => characterOfByte[byte]!
        : (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
    this.#byteIds = Int32Array.from(
      { length: 256 },
      (_, byte) => vocabulary.ordinaryIdOf(pieceOfByte(byte)) ?? noToken,
    );
  }

  get vocabSize(): number {
    return this.#vocabulary.size;
  }

  get absentIds(): readonly number[] {
    return (this.#absent ??= this.#vocabulary.holes(this.#definition.padding));
  }

  encode(text: string, { special = false, literal }: EncodeOptions = {}): number[] {
    checkText(text);
    const ids: number[] = [];
    let first = true;
    const whole = text.replace(loneSurrogates, '\ufffd');
    const plain = literal === undefined ? undefined : LiteralRanges.of(literal, text);
    for (const raw of this.#rawTokens.split(whole, special, plain)) {
      if (typeof raw === 'number') {
        ids.push(raw);
        first = false;
        continue;
      }
      const part = whole.slice(...raw);
      const normalized = this.#splitter.normalize(part);
      // Hardly any model looks for special tokens here, so hardly any has to follow ranges through a normalization.
      const plainHere = this.#normalizedTokens.hasSpecial
        ? plain?.within(...raw).through((text) => this.#splitter.normalize(text), part, normalized)
        : undefined;
      for (const section of this.#normalizedTokens.split(normalized, special, plainHere)) {
        if (typeof section === 'number') ids.push(section);
        else {
          const pieces = this.#splitter.split(normalized.slice(...section), first);
          for (const piece of pieces) this.#encodePiece(piece, ids);
        }
        first = false;
      }
    }
    return ids;
  }

  decode(ids: ArrayLike<number>, options?: DecodeOptions): string {
    return this.#text.decode(ids, options);
  }

  piece(id: number): string {
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.#text.bytes(id));
  }

  bytes(id: number): Uint8Array {
    return this.#text.bytes(id);
  }

  idOf(piece: string): number | undefined {
    return this.#vocabulary.idOf(piece);
  }

  isSpecial(id: number): boolean {
    this.#vocabulary.pieceOf(id); // checks the id
    return this.#special.has(id);
  }

  detokenizer(options?: DecodeOptions): Detokenizer {
    return this.#text.detokenizer(options);
  }

  #encodePiece(piece: string, ids: number[]): void {
    if (piece.length > maxRememberedLength) return this.#mergePiece(piece, ids);
    let known = this.#remembered.get(piece);
    if (known === undefined) {
      const fresh: number[] = [];
      this.#mergePiece(piece, fresh);
      if (this.#remembered.size >= maxRemembered) this.#remembered.clear();
      this.#remembered.set(piece, (known = fresh));
    }
    for (const id of known) ids.push(id);
  }

  #mergePiece(piece: string, ids: number[]): void {
    if (this.#definition.spelling.kind === 'byteLevel') this.#mergeBytes(this.#encoder.encode(piece), ids);
    else this.#mergeCharacters(piece, ids);
  }

  #mergeBytes(bytes: Uint8Array, ids: number[]): void {
    if (this.#definition.ignoreMerges) {
      const whole = this.#vocabulary.ordinaryIdOf(spellingOfBytes(bytes));
      if (whole !== undefined) {
        ids.push(whole);
        return;
      }
    }
    const symbols = new Int32Array(bytes.length);
    let count = 0;
    for (const byte of bytes) {
      const id = this.#byteIds[byte] === noToken ? this.#definition.unknownId : this.#byteIds[byte];
      if (id !== undefined) symbols[count++] = id;
    }
    const left = this.#merger.merge(symbols, count);
    for (let i = 0; i < left; i++) ids.push(symbols[i]!);
  }

  #mergeCharacters(piece: string, ids: number[]): void {
    const { ignoreMerges } = this.#definition;
    const whole = ignoreMerges ? this.#vocabulary.ordinaryIdOf(piece) : undefined;
    if (whole !== undefined) {
      ids.push(whole);
      return;
    }
    // A character without a token is a symbol too, past the last id, and never merges.
    const unknownBase = this.#vocabulary.size;
    const symbols = new Int32Array(piece.length);
    let count = 0;
    for (let i = 0; i < piece.length; i++) {
      const codePoint = piece.codePointAt(i)!;
      if (codePoint > 0xffff) i++;
      symbols[count++] = this.#vocabulary.idOfCodePoint(codePoint) ?? unknownBase + codePoint;
    }
    const left = this.#merger.merge(symbols, count);
    let afterUnknown = false;
    for (let i = 0; i < left; i++) {
      const symbol = symbols[i]!;
      if (symbol < unknownBase) ids.push(symbol);
      afterUnknown = symbol >= unknownBase && this.#pushUnknown(symbol - unknownBase, afterUnknown, ids);
    }
  }

  /** Returns whether the character became the unknown token, in contrast to bytes. */
  #pushUnknown(codePoint: number, afterUnknown: boolean, ids: number[]): boolean {
    const { spelling, unknownId, fuseUnknown } = this.#definition;
    if (spelling.kind === 'text' && spelling.byteTokens) {
      const byteIds = Array.from(
        this.#encoder.encode(String.fromCodePoint(codePoint)),
        (b) => this.#byteIds[b]!,
      );
      if (!byteIds.includes(noToken)) {
        ids.push(...byteIds);
        return false;
      }
    }
    if (unknownId !== undefined && !(fuseUnknown && afterUnknown)) ids.push(unknownId);
    return true;
  }
}

const noToken = -1;

function checkText(text: unknown): asserts text is string {
  if (typeof text !== 'string') {
    throw new UnicornError(
      'usage/text',
      `Text to encode must be a string, not ${text === null ? 'null' : typeof text}.`,
    );
  }
  if (text.length > maxTextLength) {
    throw new UnicornError(
      'usage/text',
      `The text is ${text.length} characters long; the limit is ${maxTextLength}.`,
      {
        fields: { length: text.length, limit: maxTextLength },
        fix: 'Split the text into parts and encode each by itself.',
      },
    );
  }
}
