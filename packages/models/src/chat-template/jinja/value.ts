/**
 * The values of a template: Python's, as few as templates have.
 *
 * | Python       | here                                                                     |
 * | ------------ | ------------------------------------------------------------------------ |
 * | int          | bigint                                                                   |
 * | float        | number                                                                   |
 * | bool, None   | boolean, null                                                            |
 * | str          | string (UTF-16 inside; lengths and places are counted in code points)    |
 * | list, tuple  | array, {@link Tuple}                                                     |
 * | dict         | {@link Dict}                                                             |
 * | an iterator  | {@link Stream}, which can be walked once                                 |
 *
 * A template cannot change a list or a dict (the sandbox of transformers is the immutable one), so values are shared.
 */
import { RenderFailure } from './failure.js';

export type Value =
  | null
  | boolean
  | bigint
  | number
  | string
  | Value[]
  | Tuple
  | Dict
  | DictView
  | Range
  | Stream
  | Undefined
  | Markup
  | Callable
  | Thing;

/** What a call is given. */
export interface Arguments {
  positional: Value[];
  named: Map<string, Value>;
}

/** What a name or a field is that does not exist: prints as nothing, and most other uses fail with its message. */
export class Undefined {
  constructor(readonly message: string) {}
}

export class Tuple {
  /** @param fields names of the entries, for the groups of `groupby` */
  constructor(
    readonly items: readonly Value[],
    readonly fields: readonly string[] = [],
  ) {}
}

/** Text that is HTML already (`escape`, `safe`). It prints as it is, and escapes what is added to it. */
export class Markup {
  constructor(readonly text: string) {}
}

/** An iterator: can be walked once, has no length and no entries. */
export class Stream {
  /** @param kind Python's name of the type, for error messages */
  constructor(
    readonly kind: string,
    readonly iterator: Iterator<Value>,
  ) {}
}

/** Python's `range`. */
export class Range {
  readonly length: number;

  constructor(
    readonly start: bigint,
    readonly stop: bigint,
    readonly step: bigint,
  ) {
    const span = step > 0n ? stop - start + step - 1n : stop - start + step + 1n;
    const length = span / step;
    this.length = length > 0n ? Number(length) : 0;
  }

  at(index: number): bigint {
    return this.start + BigInt(index) * this.step;
  }

  indexOf(value: bigint): number {
    const from = value - this.start;
    const index = from % this.step === 0n ? from / this.step : -1n;
    return index >= 0n && index < BigInt(this.length) ? Number(index) : -1;
  }
}

/** A function, a bound method, or a macro. */
export class Callable {
  constructor(
    readonly name: string,
    readonly call: (args: Arguments) => Value,
    /** Python's name of the type. */
    readonly kind = 'builtin_function_or_method',
    /** How it prints; where Python would print an address it is undefined. */
    readonly printed?: string,
  ) {}
}

/** An object with attributes of its own: a namespace, the loop. */
export abstract class Thing {
  /** Python's name of the type. */
  abstract readonly kind: string;
  /** The value of an attribute; undefined where there is none. */
  abstract attribute(name: string): Value | undefined;
  /**
   * How it prints; undefined where Python would print an address.
   *
   * @param show writes a value that is part of it; what is returned comes after all that was written
   */
  print(_show: (value: Value) => void, _write: (text: string) => void): string | undefined {
    return undefined;
  }
  /** Calls it, where it can be called. */
  readonly call?: (args: Arguments) => Value;
  get length(): number | undefined {
    return undefined;
  }
}

/** Python's dict: entries in the order in which they came, and 1, 1.0 and True are one key. */
export class Dict {
  readonly kind = 'dict';
  readonly #entries = new Map<Hash, { key: Value; value: Value }>();

  constructor(entries: Iterable<readonly [Value, Value]> = []) {
    for (const [key, value] of entries) this.#set(key, value);
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: Value): Value | undefined {
    return this.#entries.get(hashOf(key))?.value;
  }

  has(key: Value): boolean {
    return this.#entries.has(hashOf(key));
  }

  *keys(): Generator<Value> {
    for (const { key } of this.#entries.values()) yield key;
  }

  *values(): Generator<Value> {
    for (const { value } of this.#entries.values()) yield value;
  }

  *entries(): Generator<readonly [Value, Value]> {
    for (const { key, value } of this.#entries.values()) yield [key, value];
  }

  /** The first key stays where equal keys differ, as in Python. */
  #set(key: Value, value: Value): void {
    const hash = hashOf(key);
    const known = this.#entries.get(hash);
    if (known === undefined) this.#entries.set(hash, { key, value });
    else known.value = value;
  }
}

/** What `keys`, `values` and `items` of a dict give. */
export class DictView {
  constructor(
    readonly kind: 'dict_keys' | 'dict_values' | 'dict_items',
    readonly dict: Dict,
  ) {}

  *items(): Generator<Value> {
    if (this.kind === 'dict_keys') yield* this.dict.keys();
    else if (this.kind === 'dict_values') yield* this.dict.values();
    else for (const entry of this.dict.entries()) yield new Tuple(entry);
  }
}

/** Python's name of a value's type. */
export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  switch (typeof value) {
    case 'boolean':
      return 'bool';
    case 'bigint':
      return 'int';
    case 'number':
      return 'float';
    case 'string':
      return 'str';
    default:
      break;
  }
  if (Array.isArray(value)) return 'list';
  if (value instanceof Tuple) return 'tuple';
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Markup) return 'Markup';
  if (value instanceof Range) return 'range';
  return value.kind;
}

export const isInteger = (value: Value): value is bigint | boolean =>
  typeof value === 'bigint' || typeof value === 'boolean';

export const isNumber = (value: Value): value is bigint | boolean | number =>
  isInteger(value) || typeof value === 'number';

export const isText = (value: Value): value is string | Markup =>
  typeof value === 'string' || value instanceof Markup;

/** The characters of a text, HTML or not. */
export const textOf = (text: string | Markup): string => (typeof text === 'string' ? text : text.text);

/** A text of the same sort as another. */
export const likeText = (model: string | Markup, text: string): string | Markup =>
  typeof model === 'string' ? text : new Markup(text);

export const isSequence = (value: Value): value is Value[] | Tuple =>
  Array.isArray(value) || value instanceof Tuple;

export const itemsOf = (sequence: readonly Value[] | Tuple): readonly Value[] =>
  sequence instanceof Tuple ? sequence.items : sequence;

/** The value, or another where there is none: `??` would also replace Python's None, which is null here. */
export function orElse(value: Value | undefined, other: () => Value): Value {
  return value === undefined ? other() : value;
}

/** An integer as a JavaScript number, for counts and places. @throws RenderFailure when it is none, or is huge */
export function countOf(value: Value, what = 'a count'): number {
  if (!isInteger(value)) {
    if (value instanceof Undefined) throw new RenderFailure(value.message);
    throw new RenderFailure(`'${typeName(value)}' object cannot be interpreted as an integer`);
  }
  const count = Number(value);
  if (!Number.isSafeInteger(count)) throw new RenderFailure(`${what} is too large`);
  return count;
}

type Hash = string | bigint | number | object | null;

/** What two equal values have in common, as a key of a JavaScript map. @throws RenderFailure for lists and dicts */
export function hashOf(value: Value): Hash {
  if (value === null) return null;
  switch (typeof value) {
    case 'string':
      return hashOfText(value);
    case 'bigint':
      return value;
    case 'boolean':
      return value ? 1n : 0n;
    case 'number':
      return Number.isInteger(value) ? BigInt(value) : value;
    default:
      break;
  }
  if (value instanceof Markup) return hashOfText(value.text);
  if (value instanceof Undefined) return Undefined;
  if (value instanceof Tuple) {
    return `\0t${value.items
      .map((item) => {
        const hash = hashOf(item);
        if (typeof hash === 'object' && hash !== null) throw unhashable(item);
        const text = `${typeof hash === 'string' ? hash : `${typeof hash}${String(hash)}`}`;
        return `${text.length}:${text}`;
      })
      .join('')}`;
  }
  if (isSequence(value) || value instanceof Dict) throw unhashable(value);
  return value;
}

/** The text itself, so that V8 hashes it once; a zero in front is doubled, since tuples begin with one. */
const hashOfText = (text: string): string => (text.startsWith('\0') ? `\0${text}` : text);

function unhashable(value: Value): RenderFailure {
  return new RenderFailure(`unhashable type: '${typeName(value)}'`);
}

/** @throws RenderFailure when the integer is beyond the floats */
export function floatOf(value: bigint | boolean | number): number {
  const float = Number(value);
  if (typeof value === 'bigint' && !Number.isFinite(float)) {
    throw new RenderFailure('int too large to convert to float');
  }
  return float;
}
