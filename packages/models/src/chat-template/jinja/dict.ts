/** Python's dict: entries in the order in which they came, and 1, 1.0 and True are one key. */
import { RenderFailure } from './failure.js';
import { Tuple, Undefined, Markup, isSequence, typeName, type Value } from './value.js';

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
