/** A list of strings as one run of UTF-8: how a GGUF file's tokens and merges are read without a string for each. */
import { isUtf8 } from 'node:buffer';

export class FlatStrings {
  /** All strings, one after another. */
  readonly text: Buffer;
  readonly #ends: Uint32Array;

  private constructor(text: Buffer, ends: Uint32Array) {
    this.text = text;
    this.#ends = ends;
  }

  /**
   * From strings that each have their length before them, as 8 bytes of which the upper 4 are 0 (GGUF).
   *
   * @returns undefined when one of them is not UTF-8
   */
  static unpacked({ count, bytes }: { count: number; bytes: Uint8Array }): FlatStrings | undefined {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const text = Buffer.alloc(bytes.length - 8 * count);
    const ends = new Uint32Array(count);
    let whole = true; // no string begins in the middle of a character
    for (let i = 0, from = 0, to = 0; i < count; i++) {
      const end = from + 8 + view.getUint32(from, true);
      from += 8;
      if (from < end && (bytes[from]! & 0xc0) === 0x80) whole = false;
      while (from < end) text[to++] = bytes[from++]!;
      ends[i] = to;
    }
    return whole && isUtf8(text) ? new FlatStrings(text, ends) : undefined;
  }

  /** From strings without lone surrogates. */
  static of(strings: readonly string[]): FlatStrings {
    const ends = new Uint32Array(strings.length);
    let bytes = 0;
    strings.forEach((string, i) => (ends[i] = bytes += Buffer.byteLength(string)));
    return new FlatStrings(Buffer.from(strings.join('')), ends);
  }

  get length(): number {
    return this.#ends.length;
  }

  /** Where string `i` begins in `text`. */
  start(i: number): number {
    return i === 0 ? 0 : this.#ends[i - 1]!;
  }

  end(i: number): number {
    return this.#ends[i]!;
  }

  at(i: number): string {
    return this.text.toString('utf8', this.start(i), this.end(i));
  }
}
