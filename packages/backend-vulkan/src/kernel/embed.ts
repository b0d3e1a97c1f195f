/** Rows of a table by id, or all rows of a stored weight in order, decoded to f32. */
import { f32, maximumGroups, optional, read, u32, write } from '../dispatch/dispatch.js';
import { opKernel } from './declaration.js';
import { matrixOf } from './matrix.js';
import type { Faults, Operand, WeightOperand } from './operand.js';

/** Columns that an invocation decodes, which lie together in memory. */
const unitColumns = { planes: 32, stored: 4 } as const;

export interface EmbedCall {
  /** i32 [tokens]. Absent: row i of the view goes to row i of `out`, which decodes a weight. */
  readonly ids?: Operand;
  /** A dense operand may have any float dtype. */
  readonly table: WeightOperand | Operand;
  /** f32 [tokens, columns]. */
  readonly out: Operand;
  readonly scale: number;
  /** An id past the table: noted as a fault, or row 0. Negative ids are faults always. */
  readonly beyond: 'error' | 'firstRow';
  readonly faults: Faults;
}

export const embed = opKernel<EmbedCall>({
  matrix: 'table',
  call(op) {
    const { at, out } = op;
    const { ids, table } = op.step.inputs as { ids?: number; table: number };
    const scale = op.attribute<number | undefined>('scale') ?? 1;
    const beyond = op.attribute<EmbedCall['beyond'] | undefined>('beyond') ?? 'error';
    const common = { scale, beyond, faults: at.faults };
    if (ids === undefined) {
      // Decodes a weight, whose rows and columns may be shaped otherwise as a value.
      const weight = at.weight(table);
      return { ...common, table: weight, out: { ...out, shape: [weight.view.rows, weight.view.columns] } };
    }
    const gathered = at.gathered(table, out.shape[0]!);
    // Gathered rows lie in the order of their ids.
    const rows = gathered ? { table: gathered } : { table: at.matrix(table), ids: at.operand(ids) };
    return { ...common, ...rows, out };
  },
  dispatch({ ids, table, out, scale, beyond, faults }, traits) {
    const matrix = matrixOf(table);
    const tokens = ids ? ids.shape.reduce((a, b) => a * b, 1) : matrix.rows;
    // In a table without rows every id is out of range: there is nothing to read, and the host notices.
    if (tokens === 0 || matrix.columns === 0 || matrix.rows === 0) return [];
    const units = Math.ceil(matrix.columns / unitColumns[matrix.planes ? 'planes' : 'stored']);
    const size = Math.min(traits.software ? 32 : 64, traits.maxInvocations);
    return [
      {
        pipeline: {
          shader: `embed-${matrix.dtype}`,
          constants: [size, beyond === 'firstRow' ? 1 : 0, ids ? 1 : 0],
        },
        arguments: [
          optional(ids?.place),
          read(matrix.place),
          write(out.place),
          ids ? read(faults) : { kind: 'null' },
          u32(tokens),
          u32(matrix.columns),
          u32(matrix.rows),
          u32(matrix.storedRows),
          u32(matrix.storedColumns),
          u32(matrix.rowStart),
          u32(matrix.columnStart),
          f32(scale),
        ],
        groups: [Math.ceil(units / size), Math.min(tokens, maximumGroups), 1],
        name: `embed ${matrix.dtype}`,
      },
    ];
  },
  emit(node, emitter) {
    const { ids, table } = node.inputs as { ids: number; table: number };
    const weight = emitter.weightOf(table);
    if (weight?.host) emitter.gather(node, weight);
    const inputs = { ids, table: weight?.host ? table : emitter.matrix(table) };
    const { id, outputs, attributes } = node;
    emitter.pushOp({ kernel: 'embed', node: id, inputs, out: outputs[0]!, attributes });
  },
});
