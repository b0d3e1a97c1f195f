/** Jinja2's filters of numbers, and Python's conversions from texts. */
import { binary, signed } from './arithmetic.js';
import {
  countOf,
  floatOf,
  isInteger,
  isNumber,
  isText,
  textOf,
  typeName,
  Undefined,
  type Value,
} from './value.js';
import { fixed } from './decimal.js';
import { NotSupported, RenderFailure } from './failure.js';
import { rounded } from './rounding.js';
import { operation, type Operation } from './signature.js';
import { stripped } from './text-split.js';
import { truthy } from './iteration.js';

type Filter = Operation<Value>;

const prefixes: Readonly<Record<number, string>> = { 2: 'b', 8: 'o', 16: 'x' };

/** Python's `int(text, base)`; undefined when it is none. */
function integerFrom(text: string, base: number): bigint | undefined {
  const found = /^([+-]?)(.*)$/s.exec(stripped(text, undefined, true, true))!;
  let digits = decimalDigits(found[2]!).toLowerCase();
  if (base === 0 || prefixes[base] !== undefined) {
    const prefix = /^0([box])_?/.exec(digits);
    if (prefix !== null && (base === 0 || prefix[1] === prefixes[base])) {
      base = { b: 2, o: 8, x: 16 }[prefix[1] as 'b' | 'o' | 'x'];
      digits = digits.slice(prefix[0].length);
    } else if (base === 0) {
      if (/^0[\d_]*[1-9]/.test(digits)) return undefined;
      base = 10;
    }
  }
  if (!/^[\da-z]+(_[\da-z]+)*$/.test(digits)) return undefined;
  const plain = digits.replaceAll('_', '');
  if (plain.length > 4300 && ![2, 4, 8, 16, 32].includes(base)) return undefined;
  let value = 0n;
  for (const digit of plain) {
    const figure = parseInt(digit, 36);
    if (figure >= base) return undefined;
    value = value * BigInt(base) + BigInt(figure);
  }
  return found[1] === '-' ? -value : value;
}

/** Digits of other scripts as ours. */
function decimalDigits(text: string): string {
  return text.replace(/[^\x00-\x7f]/gu, (character) => {
    if (!/\p{Nd}/u.test(character)) return character;
    // The digits of a script stand together, from 0 to 9.
    let zero = character.codePointAt(0)!;
    while (/\p{Nd}/u.test(String.fromCodePoint(zero - 1)) && character.codePointAt(0)! - zero < 9) zero--;
    return String(character.codePointAt(0)! - zero);
  });
}

/** Python's `float(text)`; undefined when it is none. */
function floatFrom(text: string): number | undefined {
  const trimmed = decimalDigits(stripped(text, undefined, true, true));
  const word = /^([+-]?)(inf|infinity|nan)$/i.exec(trimmed);
  if (word !== null) return word[2]!.toLowerCase() === 'nan' ? NaN : word[1] === '-' ? -Infinity : Infinity;
  const digits = '\\d+(?:_\\d+)*';
  if (!new RegExp(`^[+-]?(?:${digits}\\.?(?:${digits})?|\\.${digits})(?:[eE][+-]?${digits})?$`).test(trimmed))
    return undefined;
  return Number(trimmed.replaceAll('_', ''));
}

function failIfUndefined(value: Value): void {
  if (value instanceof Undefined) throw new RenderFailure(value.message);
}

const int: Filter = operation('default? base?', (run, self, missing = 0n, base = 10n) => {
  failIfUndefined(self);
  if (isText(self)) {
    const text = textOf(self);
    run.work.spend(4 * text.length);
    const radix = countOf(base);
    if (radix !== 0 && (radix < 2 || radix > 36)) return fromFloat(floatFrom(text), missing);
    return integerFrom(text, radix) ?? fromFloat(floatFrom(text), missing);
  }
  if (isInteger(self)) return BigInt(self);
  if (typeof self !== 'number') return missing;
  if (!Number.isFinite(self)) {
    if (Number.isNaN(self)) return missing;
    throw new RenderFailure('cannot convert float infinity to integer');
  }
  return BigInt(Math.trunc(self));
});

function fromFloat(value: number | undefined, missing: Value): Value {
  return value === undefined || !Number.isFinite(value) ? missing : BigInt(Math.trunc(value));
}

const float: Filter = operation('default?', (run, self, missing = 0) => {
  failIfUndefined(self);
  if (isText(self)) {
    run.work.spend(4 * textOf(self).length);
    return floatFrom(textOf(self)) ?? missing;
  }
  return isNumber(self) ? floatOf(self) : missing;
});

const abs: Filter = operation('', (_run, self) => {
  failIfUndefined(self);
  if (typeof self === 'number') return Math.abs(self);
  if (!isInteger(self)) throw new RenderFailure(`bad operand type for abs(): '${typeName(self)}'`);
  return BigInt(self) < 0n ? signed('-', self) : BigInt(self);
});

const round: Filter = operation('precision? method?', (run, self, precision = 0n, method = 'common') => {
  if (method === 'common')
    return rounded(
      self,
      precision === null || isInteger(precision) ? precision : notAnInteger(precision),
      run.work,
    );
  if (method !== 'ceil' && method !== 'floor')
    throw new RenderFailure('method must be common, ceil or floor');
  const scale = binary('**', 10n, precision, run.work);
  const scaled = binary('*', self, scale, run.work);
  if (!isNumber(scaled)) throw new RenderFailure(`must be real number, not ${typeName(scaled)}`);
  if (isInteger(scaled)) return binary('/', BigInt(scaled), scale, run.work);
  if (!Number.isFinite(scaled)) throw new RenderFailure('cannot convert float infinity or NaN to integer');
  return binary('/', BigInt(method === 'ceil' ? Math.ceil(scaled) : Math.floor(scaled)), scale, run.work);
});

function notAnInteger(value: Value): never {
  throw new RenderFailure(`'${typeName(value)}' object cannot be interpreted as an integer`);
}

const filesizeformat: Filter = operation('binary?', (_run, self, binaryUnits = false) => {
  failIfUndefined(self);
  const bytes = isText(self) ? floatFrom(textOf(self)) : isNumber(self) ? floatOf(self) : undefined;
  if (bytes === undefined) throw new RenderFailure(`could not convert ${typeName(self)} to float`);
  if (!Number.isFinite(bytes)) throw new NotSupported("The filter 'filesizeformat' on infinity");
  const isBinary = truthy(binaryUnits);
  const base = isBinary ? 1024 : 1000;
  if (bytes === 1) return '1 Byte';
  if (bytes < base) return `${Math.trunc(bytes)} Bytes`;
  const units = [...'kMGTPEZY'].map((letter) => (isBinary ? `${letter.toUpperCase()}iB` : `${letter}B`));
  const place = units.findIndex((_, i) => bytes < base ** (i + 2));
  const power = place < 0 ? units.length - 1 : place;
  return `${fixed((base * bytes) / base ** (power + 2), 1)} ${units[power]}`;
});

export const numberFilters: ReadonlyMap<string, Filter> = new Map([
  ['int', int],
  ['float', float],
  ['abs', abs],
  ['round', round],
  ['filesizeformat', filesizeformat],
]);
