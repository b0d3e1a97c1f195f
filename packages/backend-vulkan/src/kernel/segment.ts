/** Kernel of `segment-mean.comp`: the mean of each sequence's rows. */
import { read, u32, write } from '../dispatch/dispatch.js';
import { opKernel } from './declaration.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import type { Faults, Operand } from './operand.js';

export interface SegmentMeanCall {
  /** f32 [rows, columns]. */
  readonly x: Operand;
  /** i32 [segments]: the first row of each. */
  readonly starts: Operand;
  /** f32 [segments, columns]. */
  readonly out: Operand;
  readonly faults: Faults;
}

export const segmentMean = opKernel<SegmentMeanCall>({
  call: (op) => ({ x: op.input('x'), starts: op.input('starts'), out: op.out, faults: op.at.faults }),
  dispatch({ x, starts, out, faults }) {
    const [rows, columns] = x.shape as [number, number];
    const [segments] = starts.shape as [number];
    const count = product(out.shape);
    if (count === 0) return [];
    return [
      {
        pipeline: { shader: 'segment-mean', constants: [workgroupSize] },
        arguments: [
          read(x.place),
          read(starts.place),
          write(out.place),
          read(faults),
          u32(count),
          u32(rows),
          u32(columns),
          u32(segments),
        ],
        groups: groupsFor(count),
        name: 'segmentMean',
      },
    ];
  },
});
