/** Floats as Python writes them, exactly: JavaScript's own functions choose other exponents and round halves up. */

/** Python's `repr`: the shortest digits that read back, with an exponent below 1e-4 and from 1e16. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  const [mantissa, exponentText] = value.toExponential().split('e') as [string, string];
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const digits = mantissa.replace(/[-.]/g, '');
  return sign + placed(digits, Number(exponentText), -4, 16, true);
}

/** Digits of a number between 10^exponent and ten times that, with an exponent where it is outside of [least, most). */
function placed(digits: string, exponent: number, least: number, most: number, withPoint: boolean): string {
  if (exponent < least || exponent >= most) {
    const point = digits.length > 1 ? `${digits[0]}.${digits.slice(1)}` : digits;
    return `${point}${exponentPart(exponent)}`;
  }
  if (exponent < 0) return `0.${'0'.repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0');
  const fraction = digits.slice(exponent + 1);
  if (fraction !== '') return `${whole}.${fraction}`;
  return withPoint ? `${whole}.0` : whole;
}

const exponentPart = (exponent: number): string =>
  `e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;

/** A finite float as a fraction of two integers. */
export function fractionOf(value: number): [numerator: bigint, denominator: bigint] {
  let denominator = 1n;
  let scaled = value;
  // What has digits behind the point is below 2^53, so the product is exact.
  for (; !Number.isInteger(scaled); scaled *= 2 ** 53) denominator <<= 53n;
  return [BigInt(scaled), denominator];
}

/** numerator / denominator rounded to the nearest integer, halves to the even one. The denominator is positive. */
export function roundedRatio(numerator: bigint, denominator: bigint): bigint {
  const negative = numerator < 0n;
  const size = negative ? -numerator : numerator;
  const floor = size / denominator;
  const twice = 2n * (size % denominator);
  const up = twice > denominator || (twice === denominator && floor % 2n === 1n);
  const rounded = up ? floor + 1n : floor;
  return negative ? -rounded : rounded;
}

/** The float times 10^digits, rounded to an integer. */
export function scaledInteger(value: number, digits: number): bigint {
  const [numerator, denominator] = fractionOf(value);
  const ten = 10n ** BigInt(Math.abs(digits));
  return digits >= 0
    ? roundedRatio(numerator * ten, denominator)
    : roundedRatio(numerator, denominator * ten);
}

/** As `%.{digits}f` writes the size of a finite number, without its sign. */
export function fixed(size: number, digits: number): string {
  const text = String(scaledInteger(Math.abs(size), digits)).padStart(digits + 1, '0');
  return digits === 0 ? text : `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/** `count` digits of a finite number above 0, rounded, and its decimal exponent. */
function significant(size: number, count: number): [digits: string, exponent: number] {
  if (size === 0) return ['0'.repeat(count), 0];
  let exponent = Number(size.toExponential().split('e')[1]);
  let digits = String(scaledInteger(size, count - 1 - exponent));
  if (digits.length > count) {
    exponent++;
    digits = digits.slice(0, count);
  }
  return [digits, exponent];
}

/** As `%.{digits}e`. */
export function exponential(size: number, digits: number): string {
  const [all, exponent] = significant(Math.abs(size), digits + 1);
  return `${all[0]}${digits > 0 ? `.${all.slice(1)}` : ''}${exponentPart(exponent)}`;
}

/** As `%.{precision}g`; with a point in every number when `withPoint`, as a format without a letter writes. */
export function general(size: number, precision: number, withPoint = false): string {
  const count = Math.max(1, precision);
  const [all, exponent] = significant(Math.abs(size), count);
  const digits = all.replace(/0+$/, '') || '0';
  return placed(digits, exponent, -4, withPoint ? count - 1 : count, withPoint);
}
