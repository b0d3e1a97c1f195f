/**
 * The JSON that a safetensors header consists of, read byte by byte: objects of strings, and arrays of whole numbers.
 * A general parser would build what a hostile header asks for (deep nesting, huge numbers), lose duplicate keys and
 * the digits beyond 2^53, and could not say at which byte it failed.
 */
import { formatError } from '../file/format-error.js';
import { decodeUtf8 } from '../file/utf8.js';

const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const escapes: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

export class JsonCursor {
  #at = 0;

  /** @param base offset of `bytes` in the file, for errors */
  constructor(
    readonly file: string,
    readonly bytes: Uint8Array,
    readonly base: number,
  ) {}

  /** Offset in the file. */
  get offset(): number {
    return this.base + this.#at;
  }

  error(noun: string, field: string, sentence: string, offset = this.offset): Error {
    return formatError(noun, { file: this.file, field, offset }, sentence);
  }

  /** Calls `member` for each key, positioned at its value. */
  object(field: string, member: (key: string, offset: number) => void): void {
    this.#expect(OPEN_BRACE, field, 'an object');
    if (this.#skip(CLOSE_BRACE)) return;
    do {
      this.#space();
      const offset = this.offset;
      const key = this.string(`a key of ${field}`);
      this.#expect(COLON, field, '":"');
      member(key, offset);
    } while (this.#skip(COMMA));
    this.#expect(CLOSE_BRACE, field, '"," or "}"');
  }

  /** Calls `element` for each element, positioned at it. */
  array(field: string, element: (index: number) => void): void {
    this.#expect(OPEN_BRACKET, field, 'an array');
    if (this.#skip(CLOSE_BRACKET)) return;
    let index = 0;
    do element(index++);
    while (this.#skip(COMMA));
    this.#expect(CLOSE_BRACKET, field, '"," or "]"');
  }

  string(field: string): string {
    this.#expect(QUOTE, field, 'a string');
    const { bytes } = this;
    const start = this.#at;
    let text = '';
    let plain = start;
    for (;;) {
      const byte = bytes[this.#at];
      if (byte === undefined)
        throw this.error('json', field, 'the header ends inside a string', this.base + start);
      if (byte < SPACE) throw this.error('json', field, 'a control character stands unescaped in a string');
      if (byte !== QUOTE && byte !== BACKSLASH) {
        this.#at++;
        continue;
      }
      const part = decodeUtf8(bytes, plain, this.#at);
      if (part === undefined) throw this.error('utf8', field, 'a string is not UTF-8', this.base + plain);
      text += part;
      this.#at++;
      if (byte === QUOTE) break;
      text += this.#escape(field);
      plain = this.#at;
    }
    if (/\p{Surrogate}/u.test(text)) {
      throw this.error('utf8', field, 'a string holds half a surrogate pair', this.base + start);
    }
    return text;
  }

  /** A whole number from 0 to 2^53 - 1. */
  size(field: string): number {
    this.#space();
    const start = this.#at;
    let value = 0;
    for (let byte; (byte = this.bytes[this.#at]) !== undefined && byte >= ZERO && byte <= NINE; this.#at++) {
      value = value * 10 + (byte - ZERO);
    }
    const digits = this.#at - start;
    const next = this.bytes[this.#at];
    const ended = next === COMMA || next === CLOSE_BRACKET || next === SPACE || (next ?? 0) < SPACE;
    if (digits === 0 || !ended || (digits > 1 && this.bytes[start] === ZERO)) {
      throw this.error('number', field, 'this must be a whole number, not negative', this.base + start);
    }
    if (value > Number.MAX_SAFE_INTEGER) {
      throw this.error('range', field, 'this number is beyond any file', this.base + start);
    }
    return value;
  }

  /** Expects that nothing but blanks follows. */
  end(): void {
    this.#space();
    if (this.#at < this.bytes.length) {
      throw this.error('json', 'header', 'something follows the header object');
    }
  }

  #escape(field: string): string {
    const letter = String.fromCharCode(this.bytes[this.#at++] ?? 0);
    const simple = Object.hasOwn(escapes, letter) ? escapes[letter] : undefined;
    if (simple !== undefined) return simple;
    const hex = String.fromCharCode(...this.bytes.subarray(this.#at, this.#at + 4));
    if (letter !== 'u' || !/^[0-9a-fA-F]{4}$/.test(hex)) {
      throw this.error('json', field, 'a string holds an unknown escape', this.offset - 2);
    }
    this.#at += 4;
    return String.fromCharCode(parseInt(hex, 16));
  }

  #space(): void {
    for (let byte; (byte = this.bytes[this.#at]) !== undefined; this.#at++) {
      if (byte !== SPACE && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
    }
  }

  #skip(byte: number): boolean {
    this.#space();
    if (this.bytes[this.#at] !== byte) return false;
    this.#at++;
    return true;
  }

  #expect(byte: number, field: string, what: string): void {
    if (this.#skip(byte)) return;
    const end = this.#at >= this.bytes.length;
    throw this.error(
      'json',
      field,
      end ? `the header ends where ${what} is expected` : `${what} is expected here`,
    );
  }
}
