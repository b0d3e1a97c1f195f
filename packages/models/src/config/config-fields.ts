/**
 * Reads numbers, words and lists out of a checkpoint's configuration, whether JSON or GGUF metadata, and refuses what
 * has the wrong type or lies outside its bounds, naming the file and the key.
 *
 * Checked by hand and not with zod: importing zod takes 60 to 85 ms, more than opening a model.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import type { Range } from './limits.js';

/** A plain value, a list, or a nested object, as JSON has them. */
export type FieldLookup = (key: string) => unknown;

export class ConfigFields {
  /**
   * @param file for messages
   * @param prefix written before every key in messages: `text_config.` or `llama.`
   */
  constructor(
    readonly file: string,
    private readonly lookup: FieldLookup,
    private readonly prefix = '',
    private readonly defaults: FieldLookup = () => undefined,
  ) {}

  /** The same, with values for keys that are absent. `null` is a value, which says that there is none. */
  withDefaults(defaults: ConfigFields | Readonly<Record<string, unknown>>): ConfigFields {
    const more = defaults instanceof ConfigFields ? defaults : ConfigFields.fromJson(this.file, defaults);
    return new ConfigFields(
      this.file,
      this.lookup,
      this.prefix,
      (key) => this.defaults(key) ?? more.raw(key),
    );
  }

  static fromJson(file: string, json: object, prefix = ''): ConfigFields {
    return new ConfigFields(
      file,
      (key) => (Object.hasOwn(json, key) ? json[key as never] : undefined),
      prefix,
    );
  }

  /** The same, with other values for some keys. */
  with(values: Readonly<Record<string, unknown>>): ConfigFields {
    const lookup: FieldLookup = (key) => (Object.hasOwn(values, key) ? values[key] : this.lookup(key));
    return new ConfigFields(this.file, lookup, this.prefix, this.defaults);
  }

  /** Whether there is a value, be it a default. JSON's `null` is none. */
  has(key: string): boolean {
    return this.#raw(key) !== undefined;
  }

  integer(key: string, range: Range): number;
  integer<T>(key: string, range: Range, fallback: T): number | T;
  integer(key: string, range: Range, ...fallback: unknown[]): unknown {
    return this.#read(key, fallback, (value) => this.#checkInteger(key, value, range));
  }

  number(key: string, range: Range): number;
  number<T>(key: string, range: Range, fallback: T): number | T;
  number(key: string, range: Range, ...fallback: unknown[]): unknown {
    return this.#read(key, fallback, (value) => this.#checkNumber(key, value, range));
  }

  /** A number that the file may switch off with `null`; undefined too where it says nothing and there is no default. */
  nullableNumber(key: string, range: Range): number | undefined {
    return this.lookup(key) === null ? undefined : this.number(key, range, undefined);
  }

  string(key: string): string;
  string<T>(key: string, fallback: T): string | T;
  string(key: string, ...fallback: unknown[]): unknown {
    return this.#read(key, fallback, (value) =>
      typeof value === 'string' ? value : this.fail(key, `must be a string, not ${show(value)}`),
    );
  }

  boolean(key: string): boolean;
  boolean<T>(key: string, fallback: T): boolean | T;
  boolean(key: string, ...fallback: unknown[]): unknown {
    return this.#read(key, fallback, (value) =>
      typeof value === 'boolean' ? value : this.fail(key, `must be true or false, not ${show(value)}`),
    );
  }

  /** A list of exactly `length` entries where a length is given. */
  list(key: string, length?: number): readonly unknown[] {
    const value = this.#raw(key);
    if (!Array.isArray(value)) this.fail(key, `must be a list, not ${show(value)}`);
    if (length !== undefined && value.length !== length) {
      this.fail(key, `must have ${length} entries, not ${value.length}`);
    }
    return value;
  }

  /** One integer for each of `length` layers: a list, or one number that counts for all. */
  integerPerLayer(key: string, length: number, range: Range): number[] {
    if (!Array.isArray(this.#raw(key))) return new Array<number>(length).fill(this.integer(key, range));
    return this.list(key, length).map((value, index) => this.#checkInteger(`${key}[${index}]`, value, range));
  }

  numbers(key: string, length: number, range: Range): number[] {
    return this.list(key, length).map((value, index) => this.#checkNumber(`${key}[${index}]`, value, range));
  }

  strings(key: string, length?: number): string[] {
    return this.list(key, length).map((value, index) =>
      typeof value === 'string'
        ? value
        : this.fail(`${key}[${index}]`, `must be a string, not ${show(value)}`),
    );
  }

  /** A nested object, or undefined. */
  object(key: string): ConfigFields | undefined {
    const value = this.#raw(key);
    if (value === undefined) return undefined;
    if (typeof value !== 'object' || Array.isArray(value))
      this.fail(key, `must be an object, not ${show(value)}`);
    return ConfigFields.fromJson(this.file, value as object, `${this.prefix}${key}.`);
  }

  /** The value whatever its type. */
  raw(key: string): unknown {
    return this.#raw(key);
  }

  /** @throws UnicornError `format/config`, always. */
  fail(key: string, sentence: string): never {
    throw new UnicornError('format/config', `${this.file}: "${this.prefix}${key}" ${sentence}.`, {
      fields: { file: this.file, field: `${this.prefix}${key}` },
      fix: 'Check that the file is complete and is the configuration of a language model.',
    });
  }

  /** @throws UnicornError `unsupported/config`, always: a legal value that the engine has no meaning for. */
  unsupported(key: string, supported: string): never {
    const value = show(this.#raw(key));
    throw new UnicornError(
      'unsupported/config',
      `${this.file}: "${this.prefix}${key}" is ${value}, which is not supported.`,
      {
        fields: { file: this.file, field: `${this.prefix}${key}`, value },
        fix: `Supported: ${supported}.`,
      },
    );
  }

  #raw(key: string): unknown {
    const value = this.lookup(key);
    return (value === undefined ? this.defaults(key) : value) ?? undefined;
  }

  #read<T>(key: string, fallback: unknown[], check: (value: unknown) => T): T {
    const value = this.#raw(key);
    if (value !== undefined) return check(value);
    if (fallback.length > 0) return fallback[0] as T;
    return this.fail(key, 'is missing');
  }

  #checkInteger(key: string, value: unknown, range: Range): number {
    const number = typeof value === 'bigint' ? Number(value) : value;
    if (!Number.isSafeInteger(number)) this.fail(key, `must be a whole number, not ${show(value)}`);
    return this.#checkNumber(key, number, range);
  }

  #checkNumber(key: string, value: unknown, { min, max }: Range): number {
    if (typeof value !== 'number' || Number.isNaN(value))
      return this.fail(key, `must be a number, not ${show(value)}`);
    if (value < min || value > max) return this.fail(key, `must be ${min} to ${max}, not ${value}`);
    return value;
  }
}

/** A value fit for a message. */
export function show(value: unknown): string {
  if (value === undefined) return 'absent';
  const text = typeof value === 'bigint' ? String(value) : (JSON.stringify(value) ?? typeof value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
