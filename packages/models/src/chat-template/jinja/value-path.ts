/** What filters call an attribute: `'function.name'`, or a number; several with commas between them for `sort`. */
import { itemOf } from './attribute.js';
import type { Run } from './run.js';
import { Undefined, isText, textOf, type Value } from './value.js';

/** @param missing given for an undefined part, null for none */
export function pathGetter(attribute: Value, run: Run, missing: Value = null): (item: Value) => Value {
  const parts = partsOf(attribute);
  return (item) => {
    let value = item;
    for (const part of parts) {
      value = itemOf(value, part, run);
      if (missing !== null && value instanceof Undefined) value = missing;
    }
    return value;
  };
}

/** All the values that a list of attributes names. */
export function pathsGetter(attribute: Value, run: Run): (item: Value) => Value[] {
  const paths = isText(attribute) ? textOf(attribute).split(',') : [attribute];
  const getters = paths.map((path) => pathGetter(path, run));
  return (item) => getters.map((get) => get(item));
}

function partsOf(attribute: Value): Value[] {
  if (attribute === null) return [];
  if (!isText(attribute)) return [attribute];
  return textOf(attribute)
    .split('.')
    .map((part) => (/^\d+$/.test(part) ? BigInt(part) : part));
}
