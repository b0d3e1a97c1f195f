/**
 * The table of tokens: id to spelling and back. It knows nothing of merges or of how spelling becomes text.
 *
 * Compact, since vocabularies have a quarter of a million tokens: all spellings are UTF-8 in one array, and the way back
 * is an open-addressed table of ids. A string exists only while somebody looks at it. Every byte array here is a Buffer,
 * so that the loops over them see one kind of object only.
 */
import { UnicornError } from '@unicorn-exec/tensor';

/**
 * No published vocabulary has more than 2^18 + a few ids (Gemma); sixteen times that is refused before it is allocated,
 * so that one hostile id cannot ask for gigabytes.
 */
const maxVocabSize = 2 ** 22;
/** Bytes of one token's spelling. The longest of published vocabularies have a few hundred. */
const maxTokenBytes = 2 ** 16;
/**
 * A slot of the table: id + 1 (0 is an empty slot) in the low 23 bits, 9 bits of the spelling's hash above, so that but one
 * in 512 wrong slots costs a look at its spelling.
 */
const entryMask = 2 ** 23 - 1;
const loneSurrogate = /\p{Surrogate}/u;

export class Vocabulary {
  /** All spellings; the first byte is nobody's, so that no spelling begins at 0. */
  #text: Buffer;
  #textBytes = 1;
  /** Per id: where its spelling begins and ends in `#text`; 0 and 0 where no token has the id. */
  #extents: Uint32Array;
  #size = 0;
  /** Ids that ordinary text can become, at most half full; an added token is looked for before, elsewhere. */
  #slots: Int32Array;
  #findable = 0;
  /** Whether every id that has a spelling is what its spelling finds: no added token, and no spelling twice. */
  #plain = true;
  readonly #added = new Map<string, number>();
  /** Added tokens that took the id of another spelling: merging knows that one, everybody else this. */
  readonly #respelled = new Map<number, string>();
  #longestBytes = 0;
  #scratch = Buffer.alloc(256);
  /** Random, so that no file can be written whose spellings all collide. */
  readonly #seed = (Math.random() * 2 ** 32) | 0;
  readonly #factor = (Math.random() * 2 ** 32) | 1;

  /** @param expected how much room to begin with; more is taken as needed */
  constructor(expected: { ids?: number; textBytes?: number } = {}) {
    const ids = Math.min(expected.ids ?? 0, maxVocabSize);
    this.#text = Buffer.alloc(1 + (expected.textBytes ?? 0));
    this.#extents = new Uint32Array(2 * ids);
    this.#slots = new Int32Array(capacityFor(ids));
  }

  /** One more than the largest id. */
  get size(): number {
    return this.#size;
  }

  /**
   * A token that merging may make. Of two ids with one spelling the later is found by it.
   *
   * @throws UnicornError `format/tokenizer` when the id is not an integer in [0, 2^22) or has a spelling already, or the
   * spelling is not Unicode
   */
  set(id: number, piece: string): void {
    if (loneSurrogate.test(piece))
      throw broken(`the token ${JSON.stringify(piece)} is not Unicode text`, { id });
    const bytes = Buffer.from(piece);
    this.setBytes(id, bytes, 0, bytes.length);
  }

  /**
   * The same of a spelling in UTF-8, which the caller knows to be valid.
   *
   * @returns whether the spelling is new
   * @throws as {@link set}
   */
  setBytes(id: number, bytes: Uint8Array, start: number, end: number): boolean {
    this.#place(id, bytes, start, end);
    if (end - start > this.#longestBytes) this.#longestBytes = end - start;
    if (2 * (this.#findable + 1) > this.#slots.length) this.#rehash(2 * this.#slots.length);
    const fresh = this.#insert(id);
    if (!fresh) this.#plain = false;
    return fresh;
  }

  /** A token that only its whole spelling stands for. @throws as {@link set}, but for an id that is taken */
  setAdded(id: number, piece: string): void {
    const bytes = Buffer.from(piece);
    this.#plain = false;
    this.#added.set(piece, id);
    this.#respelled.delete(id);
    if (!this.#has(id)) this.#place(id, bytes, 0, bytes.length);
    else if (!this.#joins(id, bytes, 0, bytes.length, bytes, 0, 0)) this.#respelled.set(id, piece);
  }

  idOf(piece: string): number | undefined {
    return this.#added.get(piece) ?? this.ordinaryIdOf(piece);
  }

  ordinaryIdOf(piece: string): number | undefined {
    // A text has at least as many bytes as UTF-16 units.
    if (piece.length > this.#longestBytes || loneSurrogate.test(piece)) return undefined;
    const scratch = this.#roomFor(3 * piece.length);
    return this.#find(scratch, 0, scratch.write(piece, 'utf8'));
  }

  /** The ordinary token of one character. */
  idOfCodePoint(codePoint: number): number | undefined {
    const scratch = this.#roomFor(4);
    let length = 0;
    if (codePoint < 0x80) {
      scratch[length++] = codePoint;
    } else {
      if (codePoint < 0x800) {
        scratch[length++] = 0xc0 | (codePoint >> 6);
      } else {
        if (codePoint < 0x10000) {
          scratch[length++] = 0xe0 | (codePoint >> 12);
        } else {
          scratch[length++] = 0xf0 | (codePoint >> 18);
          scratch[length++] = 0x80 | ((codePoint >> 12) & 0x3f);
        }
        scratch[length++] = 0x80 | ((codePoint >> 6) & 0x3f);
      }
      scratch[length++] = 0x80 | (codePoint & 0x3f);
    }
    return this.#find(scratch, 0, length);
  }

  /** The ordinary token that is spelled as these two ordinary ones, one after the other. */
  idOfPair(left: number, right: number): number | undefined {
    const [text, extents] = [this.#text, this.#extents];
    const [aStart, aEnd] = [extents[2 * left]!, extents[2 * left + 1]!];
    return this.idOfJoined(text, aStart, aEnd, text, extents[2 * right]!, extents[2 * right + 1]!);
  }

  /**
   * The ordinary token that is spelled as `a[aStart, aEnd)` and then `b[bStart, bEnd)`, in UTF-8.
   *
   * @param guess the answer comes faster where it is this id or the next one
   */
  idOfJoined(
    a: Uint8Array,
    aStart: number,
    aEnd: number,
    b: Uint8Array,
    bStart: number,
    bEnd: number,
    guess?: number,
  ): number | undefined {
    if (guess !== undefined && this.#plain) {
      if (this.#joins(guess, a, aStart, aEnd, b, bStart, bEnd)) return guess;
      if (this.#joins(guess + 1, a, aStart, aEnd, b, bStart, bEnd)) return guess + 1;
    }
    const aBytes = aEnd - aStart;
    const bytes = aBytes + bEnd - bStart;
    if (bytes > this.#longestBytes) return undefined;
    const scratch = this.#roomFor(bytes);
    for (let i = 0; i < aBytes; i++) scratch[i] = a[aStart + i]!;
    for (let i = aBytes, from = bStart; i < bytes; i++) scratch[i] = b[from++]!;
    return this.#find(scratch, 0, bytes);
  }

  /** Whether a token has the id. */
  has(id: number): boolean {
    return this.#has(id);
  }

  /** Bytes of an ordinary token's spelling. */
  byteLengthOf(id: number): number {
    return this.#extents[2 * id + 1]! - this.#extents[2 * id]!;
  }

  /** The spelling, '' for a hole. @throws UnicornError `usage/token-id` */
  pieceOf(id: number): string {
    if (!Number.isInteger(id) || id < 0 || id >= this.#size) {
      throw new UnicornError(
        'usage/token-id',
        `${id} is not a token id of this model (0 to ${this.size - 1}).`,
        {
          fields: { id, vocabSize: this.size },
        },
      );
    }
    return this.#respelled.get(id) ?? this.#spelling(id);
  }

  /** Ids that have no spelling, and these, ascending. */
  holes(padding?: ReadonlySet<number>): number[] {
    const holes: number[] = [];
    for (let id = 0; id < this.#size; id++) if (!this.#has(id) || padding?.has(id)) holes.push(id);
    return holes;
  }

  /** Gives back the room that was taken for more tokens than came. */
  compact(): void {
    this.#text = Buffer.from(this.#text.subarray(0, this.#textBytes));
    this.#extents = this.#extents.slice(0, 2 * this.#size);
    // Half of the table would save little (2 MB of Gemma's) for the time that building it again takes.
    const capacity = capacityFor(this.#findable);
    if (2 * capacity < this.#slots.length) this.#rehash(capacity);
  }

  #has(id: number): boolean {
    return (this.#extents[2 * id] ?? 0) !== 0;
  }

  #spelling(id: number): string {
    return this.#text.toString('utf8', this.#extents[2 * id], this.#extents[2 * id + 1]);
  }

  #place(id: number, bytes: Uint8Array, start: number, end: number): void {
    if (end - start > maxTokenBytes) {
      const byteLength = end - start;
      throw broken(`token ${id} has ${byteLength} bytes, and at most ${maxTokenBytes} are read`, {
        id,
        byteLength,
        limit: maxTokenBytes,
      });
    }
    if (!Number.isInteger(id) || id < 0 || id >= maxVocabSize) {
      const piece = textOf(bytes, start, end);
      throw broken(`the token ${JSON.stringify(piece)} has the impossible id ${id}`, {
        piece,
        id,
        limit: maxVocabSize,
      });
    }
    if (this.#has(id)) {
      const pieces = [this.#spelling(id), textOf(bytes, start, end)];
      throw broken(
        `the tokens ${pieces.map((piece) => JSON.stringify(piece)).join(' and ')} both have the id ${id}`,
        {
          pieces,
          id,
        },
      );
    }
    const at = this.#textBytes;
    const after = at + end - start;
    if (after > this.#text.length) {
      const old = this.#text;
      this.#text = Buffer.alloc(2 * after);
      this.#text.set(old);
    }
    const text = this.#text;
    for (let from = start, to = at; from < end;) text[to++] = bytes[from++]!;
    this.#textBytes = after;

    if (2 * id >= this.#extents.length) {
      const old = this.#extents;
      this.#extents = new Uint32Array(2 * Math.min(maxVocabSize, 2 * (id + 1)));
      this.#extents.set(old);
    }
    this.#extents[2 * id] = at;
    this.#extents[2 * id + 1] = after;
    if (id >= this.#size) this.#size = id + 1;
  }

  /** Makes an id findable by its spelling. Returns whether none was. */
  #insert(id: number): boolean {
    const [text, extents, slots] = [this.#text, this.#extents, this.#slots];
    const mask = slots.length - 1;
    const [start, end] = [extents[2 * id]!, extents[2 * id + 1]!];
    const hash = this.#hash(text, start, end);
    const tag = hash & ~entryMask;
    for (let i = hash & mask; ; i = (i + 1) & mask) {
      const entry = slots[i]!;
      const fresh = entry === 0;
      if (
        !fresh &&
        !((entry & ~entryMask) === tag && this.#joins((entry & entryMask) - 1, text, start, end, text, 0, 0))
      )
        continue;
      slots[i] = tag | (id + 1);
      if (fresh) this.#findable++;
      return fresh;
    }
  }

  #rehash(capacity: number): void {
    const old = this.#slots;
    this.#slots = new Int32Array(capacity);
    this.#findable = 0;
    for (const entry of old) if (entry !== 0) this.#insert((entry & entryMask) - 1);
  }

  /** The ordinary token of this UTF-8. */
  #find(bytes: Uint8Array, start: number, end: number): number | undefined {
    const slots = this.#slots;
    const mask = slots.length - 1;
    const hash = this.#hash(bytes, start, end);
    const tag = hash & ~entryMask;
    for (let i = hash & mask; ; i = (i + 1) & mask) {
      const entry = slots[i]!;
      if (entry === 0) return undefined;
      if ((entry & ~entryMask) !== tag) continue;
      const id = (entry & entryMask) - 1;
      if (this.#joins(id, bytes, start, end, bytes, 0, 0)) return id;
    }
  }

  /** Whether the id's spelling is `a[aStart, aEnd)` and then `b[bStart, bEnd)`. */
  #joins(
    id: number,
    a: Uint8Array,
    aStart: number,
    aEnd: number,
    b: Uint8Array,
    bStart: number,
    bEnd: number,
  ): boolean {
    if (id >= this.#size) return false;
    const text = this.#text;
    let at = this.#extents[2 * id]!;
    if (at === 0) return false; // a hole is not the empty spelling
    if (this.#extents[2 * id + 1]! - at !== aEnd - aStart + bEnd - bStart) return false;
    for (let i = aStart; i < aEnd; i++) if (text[at++] !== a[i]) return false;
    for (let i = bStart; i < bEnd; i++) if (text[at++] !== b[i]) return false;
    return true;
  }

  #hash(bytes: Uint8Array, start: number, end: number): number {
    const factor = this.#factor;
    let hash = this.#seed;
    for (let i = start; i < end; i++) {
      hash = Math.imul(hash ^ bytes[i]!, factor);
      hash ^= hash >>> 15;
    }
    return hash;
  }

  #roomFor(bytes: number): Buffer {
    if (bytes > this.#scratch.length) this.#scratch = Buffer.alloc(2 * bytes);
    return this.#scratch;
  }
}

/** A power of two, at least twice the count: half of the slots stay empty. */
function capacityFor(count: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(2, 2 * count)));
}

function textOf(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('utf8');
}

function broken(what: string, fields: Record<string, unknown>): UnicornError {
  return new UnicornError('format/tokenizer', `The tokenizer cannot be read: ${what}.`, { fields });
}
