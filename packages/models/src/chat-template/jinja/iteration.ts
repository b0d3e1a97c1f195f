/** Walking through values, their length and their truth. */
import { after, codePointLength } from './code-points.js';
import {
  Callable,
  Dict,
  DictView,
  isText,
  Markup,
  Range,
  Stream,
  textOf,
  Thing,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './value.js';
import { RenderFailure } from './failure.js';
import { entryUnits, nodeUnits, type Work } from './work.js';

/** What a value holds, one by one; undefined when it cannot be walked. */
export function iterated(value: Value, work: Work): Iterator<Value> | undefined {
  if (value instanceof Stream) return value.iterator;
  if (Array.isArray(value)) return value.values();
  if (value instanceof Tuple) return value.items.values();
  if (value instanceof Dict) return value.keys();
  if (value instanceof DictView) return value.items();
  if (isText(value)) return characters(textOf(value));
  if (value instanceof Undefined) return [].values();
  if (value instanceof Range) return numbers(value);
  void work;
  return undefined;
}

function* characters(text: string): Generator<string> {
  for (let at = 0; at < text.length;) {
    const next = after(text, at);
    yield text.slice(at, next);
    at = next;
  }
}

function* numbers(range: Range): Generator<bigint> {
  for (let i = 0; i < range.length; i++) yield range.at(i);
}

/** Each entry paid for as it comes. @throws RenderFailure for what cannot be walked */
export function* entriesOf(value: Value, work: Work, prefix = ''): Generator<Value> {
  const iterator = iterated(value, work);
  if (iterator === undefined)
    throw new RenderFailure(`${prefix}'${typeName(value)}'${prefix === '' ? ' object' : ''} is not iterable`);
  for (let next = iterator.next(); next.done !== true; next = iterator.next()) {
    work.spend(nodeUnits);
    yield next.value;
  }
}

/** All entries in a new list. @throws RenderFailure for what cannot be walked */
export function listOf(value: Value, work: Work): Value[] {
  const list: Value[] = [];
  for (const entry of entriesOf(value, work)) {
    work.spend(entryUnits);
    list.push(entry);
  }
  return list;
}

/** Python's `len`; undefined where there is none. */
export function lengthOf(value: Value, work: Work): number | undefined {
  if (isText(value)) {
    work.spend(textOf(value).length);
    return codePointLength(textOf(value));
  }
  if (Array.isArray(value) || value instanceof Range) return value.length;
  if (value instanceof Tuple) return value.items.length;
  if (value instanceof Dict) return value.size;
  if (value instanceof DictView) return value.dict.size;
  if (value instanceof Undefined) return 0;
  return value instanceof Thing ? value.length : undefined;
}

/** Whether a condition holds. */
export function truthy(value: Value): boolean {
  switch (typeof value) {
    case 'boolean':
      return value;
    case 'string':
      return value !== '';
    case 'bigint':
      return value !== 0n;
    case 'number':
      return value !== 0;
    default:
      break;
  }
  if (value === null || value instanceof Undefined) return false;
  if (Array.isArray(value) || value instanceof Range) return value.length > 0;
  if (value instanceof Tuple) return value.items.length > 0;
  if (value instanceof Dict) return value.size > 0;
  if (value instanceof DictView) return value.dict.size > 0;
  if (value instanceof Markup) return value.text !== '';
  if (value instanceof Callable || value instanceof Stream) return true;
  return value.length !== 0;
}
