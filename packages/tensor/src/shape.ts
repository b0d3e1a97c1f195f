/** Shapes with symbolic dims: a dim is a number, or a name to which each submission binds a number. */
import { UnicornError } from './error.js';

/** A number of elements, or a symbol such as `tokens` that each submission binds. */
export type Dim = number | string;

export type Shape = readonly Dim[];

/** Values of the symbolic dims of one submission. */
export type DimValues = Readonly<Record<string, number>>;

export function formatShape(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

/** @throws UnicornError `usage/dims` when a symbol has no value or an impossible one. */
export function resolveShape(shape: Shape, dims: DimValues): number[] {
  return shape.map((dim) => {
    const value = typeof dim === 'number' ? dim : dims[dim];
    if (value === undefined || !Number.isSafeInteger(value) || value < 0) {
      throw new UnicornError('usage/dims', `The symbolic dim "${dim}" is bound to ${value}.`, {
        fields: { dim, value },
        fix: 'Bind every symbolic dim of the signature to a whole number that is not negative.',
      });
    }
    return value;
  });
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** The numpy broadcast of two shapes: aligned at the last axis, a 1 or an absent axis repeats. */
export function broadcastShapes(a: Shape, b: Shape): Dim[] | undefined {
  const rank = Math.max(a.length, b.length);
  const out: Dim[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const left = a[a.length - rank + axis] ?? 1;
    const right = b[b.length - rank + axis] ?? 1;
    if (left !== right && left !== 1 && right !== 1) return undefined;
    out.push(left === 1 ? right : left);
  }
  return out;
}
