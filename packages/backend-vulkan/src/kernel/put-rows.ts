/** Kernel of `put-rows.comp`: rows in the place of others. Any scalar dtype. */
import { dtypeLayout } from '@unicorn-exec/tensor';
import { read, u32, write, type Place } from '../dispatch/dispatch.js';
import { opKernel } from './declaration.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import { copy } from './move.js';
import type { Faults, Operand } from './operand.js';

/** Units that one invocation of the shader moves. */
const unitsPerInvocation = 4;

export interface PutRowsCall {
  /** [n, ...] */
  readonly x: Operand;
  /** [count, ...] */
  readonly rows: Operand;
  /** i32 [count]: the row of the result that each becomes. */
  readonly at: Operand;
  /** May be x's place. */
  readonly out: Operand;
  readonly faults: Faults;
}

const isSame = (a: Place, b: Place): boolean =>
  JSON.stringify(a.storage) === JSON.stringify(b.storage) && a.byteOffset === b.byteOffset;

export const putRows = opKernel<PutRowsCall>({
  operands: 'stored',
  call: (op) => ({
    x: op.input('x'),
    rows: op.input('rows'),
    at: op.input('at'),
    out: op.out,
    faults: op.at.faults,
  }),
  dispatch({ x, rows, at, out, faults }, traits) {
    const others = isSame(x.place, out.place) ? [] : copy.dispatch({ x, out }, traits);
    const rowBytes = product(rows.shape.slice(1)) * dtypeLayout(rows.dtype).blockBytes;
    const count = product(at.shape);
    if (count === 0 || rowBytes === 0) return others;
    const unitBytes = [4, 2, 1].find((bytes) => rowBytes % bytes === 0)!;
    const units = (count * rowBytes) / unitBytes;
    return [
      ...others,
      {
        pipeline: { shader: `put-rows-${8 * unitBytes}`, constants: [workgroupSize] },
        arguments: [
          read(rows.place),
          read(at.place),
          write(out.place),
          read(faults),
          u32(units),
          u32(rowBytes / unitBytes),
          u32(out.shape[0]!),
        ],
        groups: groupsFor(units, unitsPerInvocation),
        name: 'putRows',
      },
    ];
  },
  inPlace: ['x'],
});
