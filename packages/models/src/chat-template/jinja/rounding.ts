/** Python's `round`, which rounds halves to the even digit, by the float's exact value. */
import { roundedRatio, scaledInteger } from './decimal.js';
import { RenderFailure } from './failure.js';
import { Undefined, countOf, isNumber, typeName, type Value } from './value.js';
import type { Work } from './work.js';

/** Python's `round`. */
export function rounded(value: Value, digits: bigint | boolean | null, work: Work): Value {
  if (value instanceof Undefined || !isNumber(value)) {
    throw new RenderFailure(
      value instanceof Undefined ? value.message : `type ${typeName(value)} doesn't define __round__ method`,
    );
  }
  const places = digits === null ? 0 : countOf(digits);
  if (typeof value !== 'number') {
    const whole = BigInt(value);
    if (places >= 0) return whole;
    if (-places > whole.toString().length) return 0n;
    const unit = 10n ** BigInt(-places);
    return roundedRatio(whole, unit) * unit;
  }
  if (!Number.isFinite(value)) {
    if (digits === null) throw new RenderFailure('cannot convert float infinity or NaN to integer');
    return value;
  }
  if (places > 330 || (places < -310 && digits !== null)) return places > 0 ? value : value * 0;
  work.spend(64);
  const scaled = scaledInteger(value, places);
  if (digits === null) return scaled;
  const size = Number(`${scaled}e${-places}`);
  return size === 0 && value < 0 ? -0 : size;
}
