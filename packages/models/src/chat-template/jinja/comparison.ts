/** Python's equality, order and `in`. */
import {
  Callable,
  Dict,
  DictView,
  isNumber,
  isText,
  Range,
  textOf,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './value.js';
import { RenderFailure } from './failure.js';
import type { Comparison } from './syntax.js';
import { entriesOf } from './iteration.js';
import { searchUnits } from './text-split.js';
import { nodeUnits, type Work } from './work.js';

export function compare(operator: Comparison, left: Value, right: Value, work: Work): boolean {
  switch (operator) {
    case '==':
      return equal(left, right, work);
    case '!=':
      return !equal(left, right, work);
    case 'in':
      return contains(right, left, work);
    case 'not in':
      return !contains(right, left, work);
    case '<':
      return ordered(left, right, '<', work) < 0;
    case '<=':
      return ordered(left, right, '<=', work) <= 0;
    case '>':
      return ordered(left, right, '>', work) > 0;
    case '>=':
      return ordered(left, right, '>=', work) >= 0;
  }
}

export function equal(left: Value, right: Value, work: Work): boolean {
  work.spend(nodeUnits);
  if (isText(left) && isText(right)) {
    work.spend(Math.min(textOf(left).length, textOf(right).length));
    return textOf(left) === textOf(right);
  }
  if (isNumber(left) && isNumber(right)) {
    // Two integers, two floats, or one of each, which JavaScript compares exactly.
    return sameNumber(comparable(left), comparable(right));
  }
  if (left === right) return true;
  if (left instanceof Undefined) return right instanceof Undefined;
  if (Array.isArray(left)) return Array.isArray(right) && sameItems(left, right, work);
  if (left instanceof Tuple) return right instanceof Tuple && sameItems(left.items, right.items, work);
  if (left instanceof Range && right instanceof Range) {
    if (left.length !== right.length || left.length === 0) return left.length === right.length;
    return left.start === right.start && (left.length === 1 || left.step === right.step);
  }
  if (left instanceof DictView && right instanceof DictView) {
    if (left.kind === 'dict_values' || right.kind === 'dict_values') return false;
    return (
      left.dict.size === right.dict.size &&
      work.nested(() => [...left.items()].every((item) => contains(right, item, work)))
    );
  }
  if (!(left instanceof Dict) || !(right instanceof Dict) || left.size !== right.size) return false;
  return work.nested(() => {
    for (const [key, value] of left.entries()) {
      const other = right.get(key);
      if (other === undefined || !same(value, other, work)) return false;
    }
    return true;
  });
}

/** Equal, or one and the same: containers of NaN are equal to themselves. */
function same(left: Value, right: Value, work: Work): boolean {
  return Object.is(left, right) || equal(left, right, work);
}

function sameItems(left: readonly Value[], right: readonly Value[], work: Work): boolean {
  return (
    left.length === right.length && work.nested(() => left.every((item, i) => same(item, right[i]!, work)))
  );
}

/** Whether neither is above the other; NaN is not equal to anything. */
const sameNumber = (a: bigint | number, b: bigint | number): boolean => a <= b && a >= b;

const comparable = (value: bigint | boolean | number): bigint | number =>
  typeof value === 'boolean' ? BigInt(value) : value;

/** Below, equal or above: negative, 0 or positive; NaN when neither. @throws RenderFailure for what has no order */
export function ordered(left: Value, right: Value, operator: string, work: Work): number {
  work.spend(nodeUnits);
  for (const side of [left, right]) if (side instanceof Undefined) throw new RenderFailure(side.message);
  if (isNumber(left) && isNumber(right)) {
    const [a, b] = [comparable(left), comparable(right)];
    return a < b ? -1 : a > b ? 1 : sameNumber(a, b) ? 0 : NaN;
  }
  if (isText(left) && isText(right)) return compareTexts(textOf(left), textOf(right), work);
  const lists = Array.isArray(left) && Array.isArray(right) ? ([left, right] as const) : undefined;
  const pairs =
    left instanceof Tuple && right instanceof Tuple ? ([left.items, right.items] as const) : lists;
  if (pairs === undefined) {
    throw new RenderFailure(
      `'${operator}' not supported between instances of '${typeName(left)}' and '${typeName(right)}'`,
    );
  }
  const [a, b] = pairs;
  return work.nested(() => {
    for (let i = 0; i < a.length && i < b.length; i++) {
      if (!same(a[i]!, b[i]!, work)) return ordered(a[i]!, b[i]!, operator, work);
    }
    return a.length - b.length;
  });
}

/** By code points: JavaScript's own order is of UTF-16 units, where surrogates stand before U+E000. */
function compareTexts(left: string, right: string, work: Work): number {
  const length = Math.min(left.length, right.length);
  work.spend(length);
  for (let i = 0; i < length; i++) {
    const [a, b] = [left.charCodeAt(i), right.charCodeAt(i)];
    if (a === b) continue;
    const isPair = (unit: number) => unit >= 0xd800 && unit <= 0xdfff;
    return isPair(a) === isPair(b) ? a - b : isPair(a) ? 1 : -1;
  }
  return left.length - right.length;
}

/** Python's `value in container`. */
export function contains(container: Value, value: Value, work: Work): boolean {
  if (isText(container)) {
    if (!isText(value)) {
      throw new RenderFailure(`'in <string>' requires string as left operand, not ${typeName(value)}`);
    }
    work.spend(searchUnits(textOf(container), textOf(value)));
    return textOf(container).includes(textOf(value));
  }
  payForKey(value, work);
  if (container instanceof Dict) return container.has(value);
  if (container instanceof DictView && container.kind === 'dict_keys') return container.dict.has(value);
  if (container instanceof Range && isNumber(value)) {
    const number = comparable(value);
    return typeof number === 'bigint'
      ? container.indexOf(number) >= 0
      : Number.isInteger(number) && container.indexOf(BigInt(number)) >= 0;
  }
  if (container instanceof Callable)
    throw new RenderFailure(`argument of type '${typeName(container)}' is not iterable`);
  for (const item of entriesOf(container, work, 'argument of type '))
    if (same(item, value, work)) return true;
  return false;
}

/** Looking a key up costs as much as comparing it once. */
export function payForKey(key: Value, work: Work): void {
  if (isText(key)) work.spend(textOf(key).length);
  else if (key instanceof Tuple) {
    work.spend(nodeUnits * key.items.length);
    work.nested(() => key.items.forEach((item) => payForKey(item, work)));
  }
}

/** A sorted copy; equal values keep their order, and with `reverse` too. */
export function sorted(
  items: readonly Value[],
  key: (item: Value) => Value,
  reverse: boolean,
  work: Work,
): Value[] {
  const decorated = items.map((item) => ({ item, key: key(item) }));
  const order = reverse ? -1 : 1;
  decorated.sort((a, b) => {
    const difference = ordered(a.key, b.key, '<', work);
    return Number.isNaN(difference) ? 0 : order * difference;
  });
  return decorated.map(({ item }) => item);
}
