/** The attributes and methods of Python's numbers. */
import { fractionOf } from './decimal.js';
import { NotSupported, RenderFailure } from './failure.js';
import { Callable, Tuple, type Value } from './value.js';

const method = (name: string, value: () => Value): Callable =>
  new Callable(name, ({ positional, named }) => {
    if (positional.length > 0 || named.size > 0) throw new RenderFailure(`${name}() takes no arguments`);
    return value();
  });

/** Undefined where there is none. */
export function numberAttribute(value: bigint | boolean | number, name: string): Value | undefined {
  const whole = typeof value === 'number' ? undefined : BigInt(value);
  switch (name) {
    case 'real':
      return whole ?? value;
    case 'imag':
      return whole === undefined ? 0 : 0n;
    case 'conjugate':
      return method(name, () => whole ?? value);
    case 'as_integer_ratio':
      return method(name, () => {
        if (whole !== undefined) return new Tuple([whole, 1n]);
        if (!Number.isFinite(value)) throw new RenderFailure('cannot convert to an integer ratio');
        return new Tuple(reduced(...fractionOf(value as number)));
      });
  }
  if (whole === undefined) {
    if (name === 'is_integer') return method(name, () => Number.isInteger(value));
    if (name === 'hex' || name === 'fromhex') throw new NotSupported(`The method '${name}' of floats`);
    return undefined;
  }
  switch (name) {
    case 'numerator':
      return whole;
    case 'denominator':
      return 1n;
    case 'bit_length':
      return method(name, () => BigInt(whole === 0n ? 0 : magnitude(whole).toString(2).length));
    case 'bit_count':
      return method(name, () => BigInt(magnitude(whole).toString(2).replaceAll('0', '').length));
    case 'to_bytes':
    case 'from_bytes':
      throw new NotSupported(`The method '${name}' of integers`);
  }
  return undefined;
}

const magnitude = (value: bigint): bigint => (value < 0n ? -value : value);

function reduced(numerator: bigint, denominator: bigint): [bigint, bigint] {
  while (denominator > 1n && numerator % 2n === 0n) {
    numerator /= 2n;
    denominator /= 2n;
  }
  return [numerator, denominator];
}
