/** What a caller gives, as values of a template: JavaScript's, or JSON text, whose numbers and order of keys are kept. */
import { UnicornError } from '@unicorn-exec/tensor';
import { Callable, Dict, Markup, Range, Stream, Thing, Tuple, Undefined, type Value } from './value.js';

/** Python's `json` and its `repr` give up at about a thousand levels. */
const maxDepth = 300;

/**
 * JavaScript's values: whole numbers are integers, others floats; objects print their own fields in JavaScript's order,
 * without those that are undefined. What is not data (bytes of an image, functions) becomes a placeholder with its name,
 * as in transformers: templates ask only whether it is there.
 *
 * @throws UnicornError `usage/conversation` for what is nested deeper than 300 levels, or holds itself
 */
export function valueFrom(given: unknown, depth = 0): Value {
  if (
    given === null ||
    typeof given === 'string' ||
    typeof given === 'boolean' ||
    typeof given === 'bigint'
  ) {
    return given;
  }
  // From 1e21 on JavaScript itself writes whole numbers with an exponent.
  if (typeof given === 'number') {
    return Number.isInteger(given) && Math.abs(given) < 1e21 ? BigInt(given) : given;
  }
  if (given === undefined) return null;
  if (isValue(given)) return given;
  if (depth > maxDepth) {
    throw new UnicornError(
      'usage/conversation',
      `The conversation is nested deeper than ${maxDepth} levels.`,
      {
        fields: { limit: maxDepth },
      },
    );
  }
  if (Array.isArray(given)) return given.map((item) => valueFrom(item, depth + 1));
  if (given instanceof Map) {
    return new Dict([...given].map(([key, item]) => [valueFrom(key), valueFrom(item, depth + 1)] as const));
  }
  if (typeof given === 'object' && isPlain(given)) {
    return new Dict(fields(given, depth));
  }
  return `<${typeof given === 'object' ? given.constructor.name : typeof given}>`;
}

function* fields(given: object, depth: number): Generator<readonly [string, Value]> {
  for (const [key, item] of Object.entries(given) as [string, unknown][]) {
    if (item !== undefined) yield [key, valueFrom(item, depth + 1)];
  }
}

/** Whether it is an object with fields, and not bytes, a date or the like. */
function isPlain(given: object): boolean {
  return !ArrayBuffer.isView(given) && !(given instanceof ArrayBuffer) && !(given instanceof Date);
}

function isValue(given: unknown): given is Value {
  return [Dict, Tuple, Range, Stream, Undefined, Markup, Callable, Thing].some(
    (type) => given instanceof type,
  );
}
