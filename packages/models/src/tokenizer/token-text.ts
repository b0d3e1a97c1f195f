/**
 * From ids to text: what bytes a token stands for, how bytes become text, and how that is done while tokens still come.
 * It never looks at merges.
 *
 * Two spellings exist. Byte-level: each character of a token is a byte, and the bytes of a whole text are decoded
 * together. SentencePiece: tokens are text with a mark for the space, and `<0xAB>` tokens are bytes; a run of those that
 * is not UTF-8 as a whole becomes one U+FFFD per byte, as in the Hugging Face library.
 */
import type { DecodeOptions, Detokenizer } from './tokenizer.js';
import { bytesOfSpelling } from './byte-level.js';
import type { Vocabulary } from './vocabulary.js';

export type TokenSpelling =
  | { kind: 'byteLevel' }
  | {
      kind: 'text';
      /** Stands for a space in tokens, when there is such a mark. */
      spaceMark: string | undefined;
      /** `<0xAB>` is the byte AB. */
      byteTokens: boolean;
      /** One space at the very beginning is the tokenizer's own and is taken off. */
      stripsFirstSpace: boolean;
    };

const encoder = new TextEncoder();
const lossy = new TextDecoder('utf-8', { ignoreBOM: true });
const strict = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });
const byteToken = /^<0x([0-9A-Fa-f]{2})>$/;
const replacement = '\ufffd';

export class TokenText {
  readonly #vocabulary: Vocabulary;
  readonly #spelling: TokenSpelling;
  readonly #added: ReadonlySet<number>;
  readonly #special: ReadonlySet<number>;

  /** @param added tokens that are spelled as plain text whatever the vocabulary's spelling is */
  constructor(
    vocabulary: Vocabulary,
    spelling: TokenSpelling,
    added: ReadonlySet<number>,
    special: ReadonlySet<number>,
  ) {
    this.#vocabulary = vocabulary;
    this.#spelling = spelling;
    this.#added = added;
    this.#special = special;
  }

  bytes(id: number): Uint8Array {
    const piece = this.#vocabulary.pieceOf(id);
    if (this.#spelling.kind === 'byteLevel') {
      return (this.#added.has(id) ? undefined : bytesOfSpelling(piece)) ?? encoder.encode(piece);
    }
    const byte = this.#byteOf(piece);
    return byte === undefined ? encoder.encode(this.#textOf(piece)) : Uint8Array.of(byte);
  }

  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    return this.#spelling.kind === 'byteLevel'
      ? this.#decodeBytes(ids, options)
      : this.#decodeText(ids, options);
  }

  detokenizer(options: DecodeOptions = {}): Detokenizer {
    const shown = (id: number) => !(options.skipSpecial === true && this.#special.has(id));
    if (this.#spelling.kind === 'byteLevel') {
      const stream = new TextDecoder('utf-8', { ignoreBOM: true });
      return {
        push: (id) => {
          const bytes = this.bytes(id); // also checks the id
          return shown(id) ? stream.decode(bytes, { stream: true }) : '';
        },
        end: () => stream.decode(),
      };
    }
    const pending = new PendingBytes();
    const strips = this.#spelling.stripsFirstSpace;
    let first = true;
    const show = (text: string): string => {
      if (!first || text === '') return text;
      first = false;
      return strips && text.startsWith(' ') ? text.slice(1) : text;
    };
    return {
      push: (id) => {
        const piece = this.#vocabulary.pieceOf(id);
        if (!shown(id)) return '';
        const byte = this.#byteOf(piece);
        return show(byte === undefined ? pending.end() + this.#textOf(piece) : pending.push(byte));
      },
      end: () => {
        const rest = show(pending.end());
        first = true;
        return rest;
      },
    };
  }

  #decodeBytes(ids: ArrayLike<number>, { skipSpecial = false }: DecodeOptions): string {
    const parts: Uint8Array[] = [];
    let length = 0;
    for (let i = 0; i < ids.length; i++) {
      const bytes = this.bytes(ids[i]!);
      if (skipSpecial && this.#special.has(ids[i]!)) continue;
      parts.push(bytes);
      length += bytes.length;
    }
    const all = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return lossy.decode(all);
  }

  #decodeText(ids: ArrayLike<number>, { skipSpecial = false }: DecodeOptions): string {
    let text = '';
    let run: number[] = [];
    const endRun = () => {
      if (run.length > 0) text += decodeStrictly(run) ?? replacement.repeat(run.length);
      run = [];
    };
    for (let i = 0; i < ids.length; i++) {
      const piece = this.#vocabulary.pieceOf(ids[i]!);
      if (skipSpecial && this.#special.has(ids[i]!)) continue;
      const byte = this.#byteOf(piece);
      if (byte !== undefined) {
        run.push(byte);
      } else {
        endRun();
        text += this.#textOf(piece);
      }
    }
    endRun();
    const strips = this.#spelling.kind === 'text' && this.#spelling.stripsFirstSpace;
    return strips && text.startsWith(' ') ? text.slice(1) : text;
  }

  #byteOf(piece: string): number | undefined {
    if (this.#spelling.kind !== 'text' || !this.#spelling.byteTokens || piece.length !== 6) return undefined;
    const match = byteToken.exec(piece);
    return match === null ? undefined : parseInt(match[1]!, 16);
  }

  #textOf(piece: string): string {
    const mark = this.#spelling.kind === 'text' ? this.#spelling.spaceMark : undefined;
    return mark === undefined ? piece : piece.replaceAll(mark, ' ');
  }
}

function decodeStrictly(bytes: readonly number[]): string | undefined {
  try {
    return strict.decode(Uint8Array.from(bytes));
  } catch {
    return undefined;
  }
}

/** Byte tokens as they come: whole characters go out, a byte that can belong to none goes out as U+FFFD. */
class PendingBytes {
  /** The beginning of one character: a lead byte and continuation bytes, fewer than it needs. */
  #bytes: number[] = [];

  push(byte: number): string {
    this.#bytes.push(byte);
    let text = '';
    while (this.#bytes.length > 0) {
      const length = lengthByLead(this.#bytes[0]!);
      const continued = this.#bytes.slice(1, length).every((next) => (next & 0xc0) === 0x80);
      if (length > this.#bytes.length && continued) break;
      const character = continued ? decodeStrictly(this.#bytes.slice(0, length)) : undefined;
      text += character ?? replacement;
      this.#bytes.splice(0, character === undefined ? 1 : length);
    }
    return text;
  }

  end(): string {
    const text = replacement.repeat(this.#bytes.length);
    this.#bytes = [];
    return text;
  }
}

/** Bytes of the UTF-8 character that this one begins; 1 also for a byte that begins none. */
function lengthByLead(byte: number): number {
  if (byte >= 0xc2 && byte < 0xe0) return 2;
  if (byte >= 0xe0 && byte < 0xf0) return 3;
  return byte >= 0xf0 && byte < 0xf5 ? 4 : 1;
}
