/** Kernel of `accumulate-squares.comp`, which collects an importance matrix. */
import { read, readWrite, u32 } from '../dispatch/dispatch.js';
import { opKernel } from './declaration.js';
import { groupsFor, workgroupSize } from './grid.js';
import type { Operand } from './operand.js';

export interface AccumulateSquaresCall {
  /** f32 [columns], written in place. */
  readonly state: Operand;
  /** f32 [rows, columns]. */
  readonly x: Operand;
}

export const accumulateSquares = opKernel<AccumulateSquaresCall>({
  call: (op) => ({ state: op.input('state'), x: op.input('x') }),
  dispatch({ state, x }) {
    const [rows, columns] = x.shape as [number, number];
    if (rows === 0 || columns === 0) return [];
    return [
      {
        pipeline: { shader: 'accumulate-squares', constants: [workgroupSize] },
        arguments: [readWrite(state.place), read(x.place), u32(rows), u32(columns)],
        groups: groupsFor(columns),
        name: 'accumulateSquares',
      },
    ];
  },
});
