/** What `value.name` and `value[index]` are, with the limits of the sandbox: nothing private, nothing that changes a value. */
import { payForKey } from './comparison.js';
import { unitOf, after, isPlain, codePointLength } from './code-points.js';
import {
  Dict,
  isInteger,
  isSequence,
  isText,
  itemsOf,
  likeText,
  Markup,
  orElse,
  Range,
  textOf,
  Thing,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './value.js';
import { NotSupported, RenderFailure } from './failure.js';
import { markupMethod } from './markup-methods.js';
import { dictMethods, sequenceMethods } from './container-methods.js';
import { numberAttribute } from './number-attributes.js';
import { boundMethod } from './signature.js';
import { slicedText, missingStringMethods, stringMethods } from './string-methods.js';
import { sliceBounds } from './slicing.js';
import type { Run } from './run.js';
import { entryUnits } from './work.js';

/** The attribute, else the entry of that name, else Undefined. @throws RenderFailure for one of an undefined value */
export function attributeOf(value: Value, name: string, run: Run): Value {
  if (value instanceof Undefined) throw new RenderFailure(value.message);
  const member = memberOf(value, name, run);
  if (member !== undefined) return member;
  return orElse(entryOf(value, name, run), () => noAttribute(value, name));
}

/** The entry, else the attribute of that name, else Undefined. @throws RenderFailure for one of an undefined value */
export function itemOf(value: Value, index: Value, run: Run): Value {
  if (value instanceof Undefined) throw new RenderFailure(value.message);
  const entry = entryOf(value, index, run);
  if (entry !== undefined) return entry;
  if (isText(index)) {
    const name = textOf(index);
    return orElse(memberOf(value, name, run), () => noAttribute(value, name));
  }
  return new Undefined(
    `${described(value)} has no element ${typeof index === 'bigint' ? index : typeName(index)}`,
  );
}

function noAttribute(value: Value, name: string): Undefined {
  return new Undefined(`'${described(value)}' has no attribute '${name}'`);
}

const described = (value: Value): string => (value === null ? 'None' : `${typeName(value)} object`);

/** A method or another attribute; undefined where Python has none. */
function memberOf(value: Value, name: string, run: Run): Value | undefined {
  if (name.startsWith('__'))
    return new Undefined(`access to attribute '${name}' of '${typeName(value)}' object is unsafe.`);
  if (isText(value)) {
    const method = stringMethods.get(name);
    if (method !== undefined) {
      return value instanceof Markup
        ? markupMethod(name, method, value, run)
        : boundMethod(name, method, value, run);
    }
    if (missingStringMethods.has(name)) throw new NotSupported(`The method '${name}' of strings`);
    return undefined;
  }
  if (value instanceof Dict) return methodOf(dictMethods, value, name, run);
  if (isSequence(value)) {
    const field = value instanceof Tuple ? value.fields.indexOf(name) : -1;
    return field >= 0 ? itemsOf(value)[field] : methodOf(sequenceMethods, value, name, run);
  }
  if (typeof value === 'bigint' || typeof value === 'number' || typeof value === 'boolean') {
    return numberAttribute(value, name);
  }
  if (value instanceof Thing) return value.attribute(name);
  if (value instanceof Range && (name === 'start' || name === 'stop' || name === 'step')) return value[name];
  return undefined;
}

function methodOf<Self extends Value>(
  methods: ReadonlyMap<string, Parameters<typeof boundMethod<Self>>[1] | 'changes'>,
  value: Self,
  name: string,
  run: Run,
): Value | undefined {
  const method = methods.get(name);
  if (method === undefined || (name === 'copy' && value instanceof Tuple)) return undefined;
  if (method === 'changes') {
    if (value instanceof Tuple) return undefined;
    return new Undefined(`access to attribute '${name}' of '${typeName(value)}' object is unsafe.`);
  }
  return boundMethod(name, method, value, run);
}

/** What stands at a place or under a key; undefined when there is nothing, or nothing can. */
function entryOf(value: Value, index: Value, run: Run): Value | undefined {
  if (value instanceof Dict) {
    payForKey(index, run.work);
    try {
      return value.get(index);
    } catch (error) {
      if (error instanceof RenderFailure) return undefined; // a list as a key
      throw error;
    }
  }
  if (!isInteger(index)) return undefined;
  if (isText(value)) {
    const character = characterAt(textOf(value), Number(index), run);
    return character === undefined ? undefined : likeText(value, character);
  }
  if (isSequence(value)) return itemsOf(value).at(Number(index));
  if (value instanceof Range) {
    const place = Number(index) < 0 ? Number(index) + value.length : Number(index);
    return place >= 0 && place < value.length ? value.at(place) : undefined;
  }
  return undefined;
}

function characterAt(text: string, index: number, run: Run): string | undefined {
  run.work.spend(text.length / 8);
  if (isPlain(text)) return text.at(index);
  run.work.spend(text.length);
  const length = codePointLength(text);
  const place = index < 0 ? index + length : index;
  if (place < 0 || place >= length) return undefined;
  const unit = unitOf(text, place);
  return text.slice(unit, after(text, unit));
}

/** `value[start:stop:step]`. @throws RenderFailure for what cannot be sliced */
export function sliceOf(value: Value, start: Value, stop: Value, step: Value, run: Run): Value {
  const { work } = run;
  if (isText(value)) return likeText(value, slicedText(textOf(value), start, stop, step, work));
  if (isSequence(value)) {
    const items = itemsOf(value);
    const { from, count, by } = sliceBounds(items.length, start, stop, step);
    work.spend(entryUnits * count);
    const taken = Array.from({ length: count }, (_, i) => items[from + i * by]!);
    return value instanceof Tuple ? new Tuple(taken) : taken;
  }
  if (value instanceof Range) {
    const { from, count, by } = sliceBounds(value.length, start, stop, step);
    const first = value.at(from);
    const stride = value.step * BigInt(by);
    return new Range(first, first + stride * BigInt(count), stride);
  }
  throw new RenderFailure(
    value instanceof Undefined
      ? value.message
      : `'${typeName(value)}' object is not subscriptable by a slice`,
  );
}
