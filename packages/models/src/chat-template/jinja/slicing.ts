/** Python's slices: places may count from the end, and steps may go backwards. */
import { RenderFailure } from './failure.js';
import { Undefined, isInteger, typeName, type Value } from './value.js';

export interface SliceBounds {
  from: number;
  count: number;
  by: number;
}

/** @throws RenderFailure for what is no integer, and for a step of 0 */
export function sliceBounds(length: number, start: Value, stop: Value, step: Value): SliceBounds {
  const by = place(step) ?? 1;
  if (by === 0) throw new RenderFailure('slice step cannot be zero');
  const [least, most] = by > 0 ? [0, length] : [-1, length - 1];
  const clamped = (value: Value, missing: number) => {
    const index = place(value);
    if (index === undefined) return missing;
    return Math.min(Math.max(index < 0 ? index + length : index, least), most);
  };
  const from = clamped(start, by > 0 ? least : most);
  const to = clamped(stop, by > 0 ? most : least);
  return { from, count: Math.max(0, Math.ceil((to - from) / by)), by };
}

function place(value: Value): number | undefined {
  if (value === null) return undefined;
  if (isInteger(value)) return Number(value);
  throw new RenderFailure(
    value instanceof Undefined
      ? value.message
      : `slice indices must be integers or None, not ${typeName(value)}`,
  );
}
