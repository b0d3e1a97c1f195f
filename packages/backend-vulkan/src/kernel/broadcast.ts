/** Kernels of `broadcast.comp`: add and multiply over shapes that numpy would broadcast. */
import { read, u32, write, type Dispatch } from '../dispatch/dispatch.js';
import { opKernel } from './declaration.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import type { Operand } from './operand.js';

/** numpy broadcasting; a and b are f32 or i32 (converted), out is f32. */
export interface BinaryCall {
  readonly a: Operand;
  readonly b: Operand;
  /** May be the place of an operand of the same shape. */
  readonly out: Operand;
}

/** An axis of the result with the strides of the operands along it, in elements; 0 repeats. */
interface Axis {
  dim: number;
  readonly a: number;
  readonly b: number;
}

/** Axes that the shader's push constants hold. */
const maximumRank = 8;
const elementsPerInvocation = 4;

function strides(shape: readonly number[], rank: number): number[] {
  const result = new Array<number>(rank).fill(0);
  let stride = 1;
  for (let axis = 1; axis <= shape.length; axis++) {
    const dim = shape.at(-axis)!;
    if (dim !== 1) result[rank - axis] = stride;
    stride *= dim;
  }
  return result;
}

/**
 * Axes of the result, the innermost first, without those of one element and with neighbours merged where both operands
 * run on as if they were one axis. Never empty.
 */
export function broadcastAxes(
  a: readonly number[],
  b: readonly number[],
  out: readonly number[],
): readonly Axis[] {
  const [left, right] = [strides(a, out.length), strides(b, out.length)];
  const axes: Axis[] = [];
  for (let axis = out.length - 1; axis >= 0; axis--) {
    const next: Axis = { dim: out[axis]!, a: left[axis]!, b: right[axis]! };
    if (next.dim === 1) continue;
    const inner = axes.at(-1);
    if (inner && next.a === inner.a * inner.dim && next.b === inner.b * inner.dim) inner.dim *= next.dim;
    else axes.push(next);
  }
  return axes.length > 0 ? axes : [{ dim: 1, a: 0, b: 0 }];
}

function binary(name: 'add' | 'multiply', { a, b, out }: BinaryCall): Dispatch[] {
  const count = product(out.shape);
  if (count === 0) return [];
  const axes = broadcastAxes(a.shape, b.shape, out.shape);
  const column = (pick: (axis: Axis) => number) =>
    Array.from({ length: maximumRank }, (_, axis) => u32(axes[axis] ? pick(axes[axis]) : 0));
  return [
    {
      pipeline: {
        shader: 'broadcast',
        constants: [
          workgroupSize,
          Number(name === 'multiply'),
          axes.length,
          Number(a.dtype === 'i32'),
          Number(b.dtype === 'i32'),
        ],
      },
      arguments: [
        read(a.place),
        read(b.place),
        write(out.place),
        u32(count),
        ...column(({ dim }) => dim),
        ...column((axis) => axis.a),
        ...column((axis) => axis.b),
      ],
      groups: groupsFor(count, elementsPerInvocation),
      name,
    },
  ];
}

const binaryKernel = (name: 'add' | 'multiply') =>
  opKernel<BinaryCall>({
    call: (op) => ({ a: op.input('a'), b: op.input('b'), out: op.out }),
    dispatch: (call) => binary(name, call),
    inPlace: ['a', 'b'],
  });

/** The operands have at most 8 axes that cannot be merged. */
export const add = binaryKernel('add');
export const multiply = binaryKernel('multiply');
