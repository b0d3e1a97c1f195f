/**
 * Reading a header of unknown length: a synchronous cursor over the first bytes of a file, and a driver that reads
 * more of them when the cursor runs dry. The parser starts over each time, which costs little (the buffer grows
 * fourfold) and keeps it a plain function of bytes.
 */
import { formatError, quote } from '../file/format-error.js';
import { type RandomAccessSource, allocateBytes, readFully } from '../file/random-access-source.js';
import { decodeUtf8 } from '../file/utf8.js';

/** Bytes of the first read: enough for a header without a vocabulary. */
const FIRST_READ_BYTES = 64 * 1024;
const GROWTH = 4;

/** Thrown to the driver, never to a caller, where the buffer ends and the file goes on. */
class HeaderUnderrun extends Error {
  constructor(readonly end: number) {
    super('more header bytes are needed');
  }
}

export class HeaderCursor {
  readonly #view: DataView;
  position = 0;

  /**
   * @param bytes the first bytes of the file
   * @param fileBytes length of the whole file
   */
  constructor(
    readonly file: string,
    readonly bytes: Uint8Array,
    readonly fileBytes: number,
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Bytes of the file from here on. */
  get remaining(): number {
    return this.fileBytes - this.position;
  }

  error(noun: string, field: string, sentence: string, offset = this.position, fix?: string): Error {
    return formatError(noun, { file: this.file, field, offset }, sentence, fix);
  }

  /** Moves past `count` bytes and returns where they began. @throws UnicornError `format/truncated` */
  take(count: number, field: string): number {
    const start = this.position;
    if (count > this.remaining) {
      throw this.error(
        'truncated',
        field,
        `the file ends after ${this.fileBytes} bytes, where ${count} more were expected`,
      );
    }
    if (start + count > this.bytes.length) throw new HeaderUnderrun(start + count);
    this.position = start + count;
    return start;
  }

  u32(field: string): number {
    return this.#view.getUint32(this.take(4, field), true);
  }

  /** An unsigned 64-bit count, length or offset. @throws UnicornError `format/range` beyond 2^53 - 1 */
  size(field: string): number {
    const start = this.take(8, field);
    const high = this.#view.getUint32(start + 4, true);
    if (high >= 2 ** 21) {
      throw this.error('range', field, `${this.#view.getBigUint64(start, true)} is beyond any file`, start);
    }
    return high * 2 ** 32 + this.#view.getUint32(start, true);
  }

  /** A count of things of at least `minBytes` bytes each: more than the file can hold is refused before any is read. */
  count(field: string, minBytes: number, max: number): number {
    const start = this.position;
    const count = this.size(field);
    if (count > max) {
      throw this.error('range', field, `the count ${count} is over the limit of ${max}`, start);
    }
    if (count * minBytes > this.remaining) {
      throw this.error(
        'truncated',
        field,
        `the count ${count} is more than the ${this.remaining} bytes left can hold`,
        start,
      );
    }
    return count;
  }

  /** A 64-bit length and that many bytes of UTF-8. */
  string(field: string, maxBytes: number): string {
    const start = this.position;
    const length = this.size(`length of ${field}`);
    if (length > maxBytes) {
      throw this.error(
        'range',
        `length of ${field}`,
        `${length} bytes are over the limit of ${maxBytes}`,
        start,
      );
    }
    const from = this.take(length, field);
    const text = decodeUtf8(this.bytes, from, from + length);
    if (text === undefined) throw this.error('utf8', field, 'the text is not UTF-8', from);
    return text;
  }

  /** Moves past `count` strings without decoding them. */
  skipStrings(count: number, field: string): void {
    for (let i = 0; i < count; i++) {
      const start = this.position;
      const length = this.size(field);
      if (length > this.remaining) {
        throw this.error(
          'truncated',
          field,
          `string ${i} claims ${length} bytes, ${this.remaining} are left`,
          start,
        );
      }
      this.take(length, field);
    }
  }

  view(): DataView {
    return this.#view;
  }
}

/**
 * Runs `parse` over the beginning of a source, with more of it each time that it runs dry. Reads and holds at most
 * `GROWTH` times the header, the whole file, or `maxBytes`, whichever is least.
 *
 * @throws UnicornError `format/header-size` when the header goes on beyond `maxBytes`; whatever `parse` throws.
 */
export async function parseHeader<T>(
  source: RandomAccessSource,
  maxBytes: number,
  parse: (cursor: HeaderCursor) => T,
): Promise<T> {
  const limit = Math.min(source.byteLength, maxBytes);
  let bytes = allocateBytes(Math.min(FIRST_READ_BYTES, limit), 'the header');
  await readFully(source, bytes, 0, 'header');
  for (;;) {
    try {
      return parse(new HeaderCursor(source.name, bytes, source.byteLength));
    } catch (error) {
      if (!(error instanceof HeaderUnderrun)) throw error;
      if (error.end > limit) {
        throw formatError(
          'header-size',
          { file: source.name, field: 'header', offset: limit },
          `the header goes on beyond the limit of ${maxBytes} bytes`,
        );
      }
      const grown = allocateBytes(
        Math.min(limit, Math.max(error.end, bytes.length * GROWTH)),
        `the header of ${quote(source.name)}`,
      );
      grown.set(bytes);
      await readFully(source, grown.subarray(bytes.length), bytes.length, 'header');
      bytes = grown;
    }
  }
}
