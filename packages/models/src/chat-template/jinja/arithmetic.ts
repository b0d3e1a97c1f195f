/** Python's arithmetic: integers of any size, floor division, `+` and `*` of texts and lists. */
import { escaped } from './markup.js';
import { RenderFailure } from './failure.js';
import { formatPercent } from './percent-format.js';
import type { BinaryOperator } from './syntax.js';
import { entryUnits, type Work } from './work.js';
import {
  Markup,
  Tuple,
  Undefined,
  countOf,
  floatOf,
  isInteger,
  isNumber,
  isText,
  itemsOf,
  likeText,
  textOf,
  typeName,
  type Value,
} from './value.js';

/**
 * The largest integer: 2^16 bits. Python's `str` refuses at 4300 digits, and multiplying two such costs as much as
 * handling a hundred thousand characters.
 */
const maxBits = 2 ** 16;

export function binary(operator: BinaryOperator, left: Value, right: Value, work: Work): Value {
  if (typeof left === 'bigint' && typeof right === 'bigint') return integers(operator, left, right, work);
  for (const side of [left, right])
    if (side instanceof Undefined && !isFormat(operator, left)) throw new RenderFailure(side.message);
  if (isNumber(left) && isNumber(right)) {
    return isInteger(left) && isInteger(right)
      ? integers(operator, BigInt(left), BigInt(right), work)
      : floats(operator, floatOf(left), floatOf(right));
  }
  const value =
    operator === '+' ? sum(left, right, work) : operator === '*' ? product(left, right, work) : undefined;
  if (value !== undefined) return value;
  if (isFormat(operator, left)) return formatPercent(left, right, work);
  throw new RenderFailure(
    `unsupported operand type(s) for ${operator === '**' ? '** or pow()' : operator}: '${typeName(left)}' and '${typeName(right)}'`,
  );
}

const isFormat = (operator: BinaryOperator, left: Value): left is string | Markup =>
  operator === '%' && isText(left);

/** `-value` or `+value`. */
export function signed(operator: '-' | '+', value: Value): Value {
  if (value instanceof Undefined) throw new RenderFailure(value.message);
  if (isInteger(value)) return operator === '-' ? -BigInt(value) : BigInt(value);
  if (typeof value === 'number') return operator === '-' ? -value : value;
  throw new RenderFailure(`bad operand type for unary ${operator}: '${typeName(value)}'`);
}

/** Pays for one operation on integers, and bounds its result. */
function pay(bits: number, work: Work): void {
  if (bits > maxBits) throw new RenderFailure(`an integer of ${bits} bits is beyond the limit of ${maxBits}`);
  work.spend(Math.ceil((bits / 64) ** 2 / 16));
}

const bitsOf = (value: bigint): number => {
  const small = Number(value);
  if (Number.isSafeInteger(small)) return 53;
  return value.toString(16).length * 4;
};

function integers(operator: BinaryOperator, left: bigint, right: bigint, work: Work): Value {
  switch (operator) {
    case '+':
      pay(Math.max(bitsOf(left), bitsOf(right)) + 1, work);
      return left + right;
    case '-':
      pay(Math.max(bitsOf(left), bitsOf(right)) + 1, work);
      return left - right;
    case '*':
      pay(bitsOf(left) + bitsOf(right), work);
      return left * right;
    case '**':
      if (right < 0n) return floats(operator, floatOf(left), floatOf(right));
      if (left === 0n || left === 1n) return right === 0n ? 1n : left;
      if (left === -1n) return right % 2n === 0n ? 1n : -1n;
      pay(Math.ceil(Math.log2(Math.abs(Number(left))) * Number(right)), work);
      return left ** right;
    case '/':
    case '//':
    case '%':
      break;
  }
  if (right === 0n) {
    throw new RenderFailure(operator === '/' ? 'division by zero' : 'integer division or modulo by zero');
  }
  pay(bitsOf(left), work);
  if (operator === '/') return quotient(left, right);
  const remainder = left % right;
  const crosses = remainder !== 0n && remainder < 0n !== right < 0n;
  if (operator === '%') return crosses ? remainder + right : remainder;
  return crosses ? left / right - 1n : left / right;
}

/** The float nearest to a ratio of integers. */
function quotient(left: bigint, right: bigint): number {
  const [a, b] = [Number(left), Number(right)];
  if (Number.isSafeInteger(a) && Number.isSafeInteger(b)) return a / b;
  const size = (value: bigint) => (value < 0n ? -value : value);
  // 66 or more bits of quotient, and the last one says whether any are missing: enough to round once.
  const shift = BigInt(Math.max(0, 66 - (bitsOf(left) - bitsOf(right))));
  const scaled = size(left) << shift;
  const whole = scaled / size(right);
  const sticky = scaled % size(right) === 0n ? whole : whole | 1n;
  const value = Number(sticky) / 2 ** Number(shift);
  if (!Number.isFinite(value)) throw new RenderFailure('integer division result too large for a float');
  return left < 0n !== right < 0n ? -value : value;
}

function floats(operator: BinaryOperator, left: number, right: number): number {
  switch (operator) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    case '**':
      return power(left, right);
    case '/':
    case '//':
    case '%':
      break;
  }
  if (right === 0) {
    throw new RenderFailure(
      { '/': 'float division by zero', '//': 'float floor division by zero', '%': 'float modulo' }[operator],
    );
  }
  if (operator === '/') return left / right;
  let remainder = left % right;
  let whole = (left - remainder) / right;
  if (remainder === 0) remainder = right < 0 ? -0 : 0;
  else if (remainder < 0 !== right < 0) {
    remainder += right;
    whole -= 1;
  }
  if (operator === '%') return remainder;
  if (whole === 0) return left < 0 !== right < 0 ? -0 : 0;
  const floor = Math.floor(whole);
  return whole - floor > 0.5 ? floor + 1 : floor;
}

function power(left: number, right: number): number {
  if (left === 0 && right < 0) throw new RenderFailure('0.0 cannot be raised to a negative power');
  if (left < 0 && Number.isFinite(left) && !Number.isInteger(right) && Number.isFinite(right)) {
    throw new RenderFailure('the result is a complex number');
  }
  // Python follows C, where 1 to any power is 1.
  if (left === 1 || (left === -1 && !Number.isFinite(right) && !Number.isNaN(right))) return 1;
  const value = left ** right;
  if (!Number.isFinite(value) && Number.isFinite(left) && Number.isFinite(right)) {
    throw new RenderFailure('Numerical result out of range');
  }
  return value;
}

function sum(left: Value, right: Value, work: Work): Value | undefined {
  if (isText(left) && isText(right)) {
    const safe = left instanceof Markup || right instanceof Markup;
    const [a, b] = safe ? [escaped(left, work), escaped(right, work)] : [textOf(left), textOf(right)];
    work.spend(a.length + b.length);
    return safe ? new Markup(a + b) : a + b;
  }
  if (Array.isArray(left) && Array.isArray(right)) {
    work.spend(entryUnits * (left.length + right.length));
    return [...left, ...right];
  }
  if (left instanceof Tuple && right instanceof Tuple) {
    work.spend(entryUnits * (left.items.length + right.items.length));
    return new Tuple([...left.items, ...right.items]);
  }
  return undefined;
}

function product(left: Value, right: Value, work: Work): Value | undefined {
  if (isInteger(left)) [left, right] = [right, left];
  if (!isInteger(right)) return undefined;
  if (isText(left)) return likeText(left, repeated(textOf(left), right, work));
  if (!Array.isArray(left) && !(left instanceof Tuple)) return undefined;
  const items = itemsOf(left);
  const times = items.length === 0 ? 0 : Math.max(0, countOf(right));
  work.spend(entryUnits * items.length * times);
  const all = Array.from({ length: times }, () => items).flat();
  return left instanceof Tuple ? new Tuple(all) : all;
}

/** A text several times over, paid for before it is made. */
export function repeated(text: string, times: bigint | boolean | number, work: Work): string {
  const count = text === '' ? 0 : Math.max(0, Number(times));
  work.spend(text.length * count);
  return text.repeat(count);
}
