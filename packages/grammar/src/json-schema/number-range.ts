/** Decimal numbers between bounds, digit by digit. */
import {
  character,
  choice,
  empty,
  optional,
  repeat,
  sequence,
  text,
  type Expression,
} from '../expression.js';

export interface NumberBounds {
  readonly minimum?: number | undefined;
  readonly maximum?: number | undefined;
  readonly exclusiveMinimum?: number | undefined;
  readonly exclusiveMaximum?: number | undefined;
}

/** A bound that is not negative: the digits before and behind the point. */
interface Bound {
  readonly whole: bigint;
  readonly fraction: string;
  readonly isExclusive: boolean;
}

const nothing: Expression = choice();
const digits = (first: number, last: number): Expression =>
  first > last ? nothing : character([0x30 + first, 0x30 + last]);
const anyDigits = repeat(digits(0, 9));
const zeros = repeat(text('0'));
const anyFraction = optional(sequence(text('.'), repeat(digits(0, 9), 1)));

/**
 * Integers between bounds, without exponent, leading zeros or `-0`.
 *
 * @param isInteger false: a fraction may follow
 * @returns what matches nothing when no number lies between them
 */
export function numberRange(bounds: NumberBounds, isInteger: boolean): Expression {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = bounds;
  const lower = tighter(minimum, exclusiveMinimum, Math.max);
  const upper = tighter(maximum, exclusiveMaximum, Math.min);
  const write = isInteger ? wholeNumbers : decimals;
  // Mirrored, what is below zero is a range above it.
  const parts: Expression[] = [];
  if (!upper || upper.value >= 0) {
    const from = lower && lower.value >= 0 ? bound(lower) : { whole: 0n, fraction: '', isExclusive: false };
    parts.push(write(from, upper && bound(upper)));
  }
  if (!lower || lower.value < 0) {
    const from = upper && upper.value < 0 ? bound(upper) : { whole: 0n, fraction: '', isExclusive: true };
    parts.push(sequence(text('-'), write(from, lower && bound(lower))));
  }
  return choice(...parts);
}

interface Limit {
  readonly value: number;
  readonly isExclusive: boolean;
}

function tighter(
  inclusive: number | undefined,
  exclusive: number | undefined,
  pick: (a: number, b: number) => number,
): Limit | undefined {
  if (inclusive === undefined && exclusive === undefined) return undefined;
  const value = pick(inclusive ?? exclusive!, exclusive ?? inclusive!);
  return { value, isExclusive: value === exclusive };
}

/** The magnitude of a limit, digit by digit as JavaScript prints it. */
function bound({ value, isExclusive }: Limit): Bound {
  const [mantissa, exponent] = Math.abs(value).toString().split('e') as [string, string | undefined];
  const [whole, fraction = ''] = mantissa.split('.') as [string, string | undefined];
  const shift = Number(exponent ?? 0);
  const all = whole + fraction;
  const point = whole.length + shift;
  const padded = point <= 0 ? '0'.repeat(1 - point) + all : all.padEnd(point, '0');
  const at = point <= 0 ? 1 : point;
  return {
    whole: BigInt(padded.slice(0, at)),
    fraction: padded.slice(at).replace(/0+$/, ''),
    isExclusive,
  };
}

function wholeNumbers(from: Bound, to: Bound | undefined): Expression {
  const first = from.whole + (from.fraction !== '' || from.isExclusive ? 1n : 0n);
  const last = to && to.whole - (to.fraction === '' && to.isExclusive ? 1n : 0n);
  return wholesBetween(first, last);
}

/** Whole numbers from `first` on, up to `last` where there is one. */
function wholesBetween(first: bigint, last: bigint | undefined): Expression {
  const low = first.toString();
  if (last === undefined) {
    const longer = sequence(digits(1, 9), repeat(digits(0, 9), low.length));
    return choice(sameLength(low, '9'.repeat(low.length)), longer);
  }
  if (last < first) return nothing;
  const high = last.toString();
  if (low.length === high.length) return sameLength(low, high);
  const between =
    high.length - low.length < 2
      ? nothing
      : sequence(digits(1, 9), repeat(digits(0, 9), low.length, high.length - 2));
  return choice(
    sameLength(low, '9'.repeat(low.length)),
    between,
    sameLength(`1${'0'.repeat(high.length - 1)}`, high),
  );
}

/** Digits between two numbers of one length, in order. */
function sameLength(low: string, high: string): Expression {
  if (low === '') return empty;
  if (/^0*$/.test(low) && /^9*$/.test(high)) return repeat(digits(0, 9), low.length, low.length);
  const [a, b] = [Number(low[0]), Number(high[0])];
  const rest = low.length - 1;
  if (a === b) return sequence(digits(a, a), sameLength(low.slice(1), high.slice(1)));
  const inside = a + 1 > b - 1 ? nothing : sequence(digits(a + 1, b - 1), repeat(digits(0, 9), rest, rest));
  return choice(
    sequence(digits(a, a), sameLength(low.slice(1), '9'.repeat(rest))),
    inside,
    sequence(digits(b, b), sameLength('0'.repeat(rest), high.slice(1))),
  );
}

function decimals(from: Bound, to: Bound | undefined): Expression {
  const wholeOf = (value: bigint): Expression => text(value.toString());
  if (to && to.whole === from.whole) return sequence(wholeOf(from.whole), fractionBetween(from, to));
  if (to && to.whole < from.whole) return nothing;
  const inside = wholesBetween(from.whole + 1n, to && to.whole - 1n);
  return choice(
    sequence(wholeOf(from.whole), fractionBetween(from, undefined)),
    sequence(inside, anyFraction),
    ...(to ? [sequence(wholeOf(to.whole), fractionBetween(undefined, to))] : []),
  );
}

/** The part behind a whole number, the point included, or nothing. */
function fractionBetween(from: Bound | undefined, to: Bound | undefined): Expression {
  const lowest = from ?? { fraction: '', isExclusive: false };
  const isZeroIn = lowest.fraction === '' && !lowest.isExclusive;
  const mayBeNone = isZeroIn && !(to && to.fraction === '' && to.isExclusive);
  const written = sequence(text('.'), fractionDigits(lowest, to, true));
  return mayBeNone ? choice(empty, written) : written;
}

type Fraction = Pick<Bound, 'fraction' | 'isExclusive'>;

/** Digits behind a point. @param isFirst a digit must follow */
function fractionDigits(from: Fraction | undefined, to: Fraction | undefined, isFirst: boolean): Expression {
  if (!from && !to) return isFirst ? repeat(digits(0, 9), 1) : anyDigits;
  if (from && to && from.fraction === '' && to.fraction === '') {
    // Both are what was read so far: nothing but zeros may follow.
    if (from.isExclusive || to.isExclusive) return nothing;
    return isFirst ? repeat(text('0'), 1) : zeros;
  }
  const low = from ? Number(from.fraction[0] ?? 0) : 0;
  const high = to ? Number(to.fraction[0] ?? 0) : 9;
  const isAtLow = (digit: number): boolean => from !== undefined && digit === low;
  const isAtHigh = (digit: number): boolean => to !== undefined && digit === high;
  // A lower bound without digits left asks for anything more than zeros at most.
  if (from?.fraction === '' && !to) {
    const more = sequence(zeros, digits(1, 9), anyDigits);
    return from.isExclusive ? more : isFirst ? repeat(digits(0, 9), 1) : anyDigits;
  }
  if (to?.fraction === '' && !from) {
    if (to.isExclusive) return nothing;
    return isFirst ? repeat(text('0'), 1) : zeros;
  }
  const next = (fraction: Fraction): Fraction => ({ ...fraction, fraction: fraction.fraction.slice(1) });
  const ways: Expression[] = [];
  for (let digit = low; digit <= high; digit++) {
    const rest = fractionDigits(
      isAtLow(digit) ? next(from!) : undefined,
      isAtHigh(digit) ? next(to!) : undefined,
      false,
    );
    ways.push(sequence(digits(digit, digit), rest));
  }
  // The number may end here when zeros behind it would do.
  const mayEnd = !isFirst && (!from || (from.fraction === '' && !from.isExclusive));
  return mayEnd ? choice(empty, ...ways) : choice(...ways);
}
