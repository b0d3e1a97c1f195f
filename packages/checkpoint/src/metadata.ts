/**
 * Typed key-value pairs of a weight file. Arrays stay packed until their values are asked for: a vocabulary of
 * 262,144 strings costs nothing to those who only want the number of layers.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import { formatError, quote } from './file/format-error.js';
import { decodeUtf8 } from './file/utf8.js';

export type MetadataNumberType = 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'u64' | 'i64' | 'f32' | 'f64';
export type MetadataScalarType = MetadataNumberType | 'bool' | 'string';

/** Integers beyond 2^53 - 1 are bigint, all other numbers number. */
export type MetadataScalar = number | bigint | boolean | string;

/** A value with its type as the file has it, as the GGUF writer takes it. */
export type MetadataEntry =
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: MetadataNumberType; readonly value: number | bigint }
  | {
      readonly type: 'array';
      readonly elementType: MetadataScalarType;
      readonly values: ArrayLike<MetadataScalar>;
    };

/** Bytes of one element; strings have none of their own. */
export const metadataElementBytes = {
  u8: 1,
  i8: 1,
  bool: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  u64: 8,
  i64: 8,
  f64: 8,
} as const satisfies Record<Exclude<MetadataScalarType, 'string'>, number>;

/**
 * Strings as the file has them, for those who need no JavaScript string of each: one after another, each with its length
 * before it as 8 bytes, little endian, of which the upper 4 are 0. Their extents are checked, their UTF-8 is not.
 */
export interface PackedStrings {
  readonly count: number;
  /** A view, not a copy: do not write to it. */
  readonly bytes: Uint8Array;
}

/** An array that decodes when asked, and keeps nothing. */
export class MetadataArray {
  readonly type = 'array';
  readonly #bytes: Uint8Array;
  readonly #file: string;
  readonly #field: string;
  readonly #offset: number;

  /** @param bytes the packed elements, validated in extent; `place.offset` is where they begin in the file. */
  constructor(
    readonly elementType: MetadataScalarType,
    readonly length: number,
    bytes: Uint8Array,
    place: { file: string; field: string; offset: number },
  ) {
    this.#bytes = bytes;
    this.#file = place.file;
    this.#field = place.field;
    this.#offset = place.offset;
  }

  /**
   * Every element. Decoded anew each time.
   *
   * @throws UnicornError `format/utf8`, `format/bool`: an element is not a legal value of its type.
   */
  get values(): MetadataScalar[] {
    if (this.elementType === 'string') return this.strings();
    if (this.elementType === 'bool') return this.booleans();
    const { elementType, length } = this;
    const step = metadataElementBytes[elementType];
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    const values = new Array<MetadataScalar>(length);
    for (let i = 0; i < length; i++) values[i] = readNumber(view, i * step, elementType);
    return values;
  }

  /** @throws UnicornError `format/metadata-type` when the elements are not strings, `format/utf8`. */
  strings(): string[] {
    if (this.elementType !== 'string') throw this.#wrongType('strings');
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    const texts = new Array<string>(this.length);
    for (let i = 0, at = 0; i < this.length; i++) {
      // The reader has checked that each length fits the array's bytes, so the low word is all of it.
      const start = at + 8;
      at = start + view.getUint32(at, true);
      const text = decodeUtf8(this.#bytes, start, at);
      if (text === undefined) throw this.#invalid('utf8', i, start, 'is not UTF-8');
      texts[i] = text;
    }
    return texts;
  }

  /** The strings undecoded. @throws UnicornError `format/metadata-type` when the elements are not strings. */
  packedStrings(): PackedStrings {
    if (this.elementType !== 'string') throw this.#wrongType('strings');
    return { count: this.length, bytes: this.#bytes };
  }

  /** @throws UnicornError `format/metadata-type` when the elements are not numbers, `format/number-range` beyond 2^53. */
  numbers(): number[] {
    const { elementType } = this;
    if (elementType === 'string' || elementType === 'bool') throw this.#wrongType('numbers');
    const values = this.values;
    const wide = values.findIndex((value) => typeof value === 'bigint');
    if (wide >= 0) {
      const offset = wide * metadataElementBytes[elementType];
      throw this.#invalid('number-range', wide, offset, 'is beyond 2^53, where numbers lose digits');
    }
    return values as number[];
  }

  /** @throws UnicornError `format/metadata-type` when the elements are not booleans, `format/bool`. */
  booleans(): boolean[] {
    if (this.elementType !== 'bool') throw this.#wrongType('booleans');
    return Array.from(this.#bytes, (byte, i) => {
      if (byte > 1) throw this.#invalid('bool', i, i, `is ${byte}, not 0 or 1`);
      return byte === 1;
    });
  }

  #wrongType(wanted: string): UnicornError {
    return metadataTypeError(
      this.#file,
      this.#field,
      `an array of ${this.elementType}`,
      `an array of ${wanted}`,
    );
  }

  #invalid(noun: string, index: number, offset: number, what: string): UnicornError {
    return formatError(
      noun,
      { file: this.#file, field: `metadata ${quote(this.#field)}`, offset: this.#offset + offset },
      `element ${index} ${what}`,
    );
  }
}

/** A scalar, or an array that is still packed. */
export type MetadataValue = MetadataScalar | MetadataArray;

/** Read-only metadata in file order. */
export class Metadata {
  readonly #file: string;
  readonly #entries: ReadonlyMap<string, MetadataEntry | MetadataArray>;

  constructor(file: string, entries: ReadonlyMap<string, MetadataEntry | MetadataArray>) {
    this.#file = file;
    this.#entries = entries;
  }

  get size(): number {
    return this.#entries.size;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  keys(): IterableIterator<string> {
    return this.#entries.keys();
  }

  /** Keys with typed values, as the GGUF writer takes them. Arrays decode when their `values` are read. */
  entries(): IterableIterator<[string, MetadataEntry]> {
    return this.#entries.entries() as IterableIterator<[string, MetadataEntry]>;
  }

  /** The type as the file has it; undefined when there is no such key. */
  type(key: string): MetadataScalarType | 'array' | undefined {
    return this.#entries.get(key)?.type;
  }

  /** The value whatever its type; undefined when there is no such key. */
  get(key: string): MetadataValue | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry instanceof MetadataArray) return entry;
    if (entry.type !== 'array') return entry.value;
    throw new UnicornError('internal/invariant', 'Metadata holds arrays packed.');
  }

  /**
   * The string at `key`. The typed getters share one rule: a missing key gives `fallback` if one is passed; a value of
   * another type is an error even then, since the file means something that the caller does not understand.
   *
   * @throws UnicornError `format/metadata-missing`, `format/metadata-type`; both name the file and the key.
   */
  string(key: string): string;
  string<T>(key: string, fallback: T): string | T;
  string(key: string, ...fallback: unknown[]): unknown {
    return this.#typed(key, fallback, 'a string', (value) => (typeof value === 'string' ? value : undefined));
  }

  /** The number at `key`; see {@link string}. @throws UnicornError `format/number-range` for integers beyond 2^53. */
  number(key: string): number;
  number<T>(key: string, fallback: T): number | T;
  number(key: string, ...fallback: unknown[]): unknown {
    return this.#typed(key, fallback, 'a number', (value) => {
      if (typeof value === 'bigint') {
        throw new UnicornError(
          'format/number-range',
          `${this.#file}: metadata ${quote(key)} is ${value}, beyond 2^53, where numbers lose digits.`,
          { fields: { file: this.#file, field: key, value: String(value) } },
        );
      }
      return typeof value === 'number' ? value : undefined;
    });
  }

  /** The boolean at `key`; see {@link string}. */
  boolean(key: string): boolean;
  boolean<T>(key: string, fallback: T): boolean | T;
  boolean(key: string, ...fallback: unknown[]): unknown {
    return this.#typed(key, fallback, 'a boolean', (value) =>
      typeof value === 'boolean' ? value : undefined,
    );
  }

  /** The strings of the array at `key`, decoded now; see {@link string}. */
  strings(key: string): string[];
  strings<T>(key: string, fallback: T): string[] | T;
  strings(key: string, ...fallback: unknown[]): unknown {
    return this.#typed(key, fallback, 'an array of strings', (value) => arrayOf(value)?.strings());
  }

  /** The strings of the array at `key`, undecoded; see {@link string}. */
  packedStrings(key: string): PackedStrings;
  packedStrings<T>(key: string, fallback: T): PackedStrings | T;
  packedStrings(key: string, ...fallback: unknown[]): unknown {
    return this.#typed(key, fallback, 'an array of strings', (value) => arrayOf(value)?.packedStrings());
  }

  /** The numbers of the array at `key`, decoded now; see {@link string}. */
  numbers(key: string): number[];
  numbers<T>(key: string, fallback: T): number[] | T;
  numbers(key: string, ...fallback: unknown[]): unknown {
    return this.#typed(key, fallback, 'an array of numbers', (value) => arrayOf(value)?.numbers());
  }

  /** The booleans of the array at `key`, decoded now; see {@link string}. */
  booleans(key: string): boolean[];
  booleans<T>(key: string, fallback: T): boolean[] | T;
  booleans(key: string, ...fallback: unknown[]): unknown {
    return this.#typed(key, fallback, 'an array of booleans', (value) => arrayOf(value)?.booleans());
  }

  #typed<T>(
    key: string,
    fallback: unknown[],
    wanted: string,
    narrow: (value: MetadataValue) => T | undefined,
  ): unknown {
    const value = this.get(key);
    if (value === undefined) {
      if (fallback.length > 0) return fallback[0];
      throw new UnicornError(
        'format/metadata-missing',
        `${this.#file}: the metadata has no ${quote(key)}, where ${wanted} is needed.`,
        {
          fields: { file: this.#file, field: key },
          fix: 'Convert or download the model again; the file was made without it.',
        },
      );
    }
    const narrowed = narrow(value);
    if (narrowed === undefined) {
      throw metadataTypeError(this.#file, key, `of type ${this.type(key)}`, wanted);
    }
    return narrowed;
  }
}

function arrayOf(value: MetadataValue): MetadataArray | undefined {
  return value instanceof MetadataArray ? value : undefined;
}

function metadataTypeError(file: string, key: string, found: string, wanted: string): UnicornError {
  return new UnicornError(
    'format/metadata-type',
    `${file}: metadata ${quote(key)} is ${found}, not ${wanted}.`,
    { fields: { file, field: key } },
  );
}

/** One little-endian number; integers that a double cannot hold stay bigint. */
export function readNumber(view: DataView, at: number, type: MetadataNumberType): number | bigint {
  switch (type) {
    case 'u8':
      return view.getUint8(at);
    case 'i8':
      return view.getInt8(at);
    case 'u16':
      return view.getUint16(at, true);
    case 'i16':
      return view.getInt16(at, true);
    case 'u32':
      return view.getUint32(at, true);
    case 'i32':
      return view.getInt32(at, true);
    case 'f32':
      return view.getFloat32(at, true);
    case 'f64':
      return view.getFloat64(at, true);
    case 'u64':
      return narrow(view.getBigUint64(at, true));
    case 'i64':
      return narrow(view.getBigInt64(at, true));
  }
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
