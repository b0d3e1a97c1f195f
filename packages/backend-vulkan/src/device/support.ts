/** Which nodes this backend computes: a pure function of the graph and of the device's traits. */
import { dtypeLayout, ops, type DType, type Graph, type Node, type Support } from '@unicorn-exec/tensor';
import type { OpLowering } from '../kernel/declaration.js';
import { kernelTable } from '../kernel/kernels.js';
import { layoutDTypes } from '../weights/weight-layout.js';

/** The number of axes of a broadcast that the shaders can walk. */
const maximumRank = 8;

/** Ops that only rename storage take their operand as it is. */
const view: OpLowering = { operands: 'stored' };

const refuse = (reason: string): Support => ({ ok: false, reason });

/** Why a weight cannot be the operand; undefined when it can. */
function weightReason(
  { op }: Node,
  { operands, matrix }: OpLowering,
  operand: string,
  dtype: DType,
  rank: number,
): string | undefined {
  // Vectors are decoded when they are loaded, but some ops read them as they are stored.
  if (rank < 2 && operands !== 'stored' && dtype !== 'i64' && dtype !== 'u64') return undefined;
  const isInteger = dtype === 'i32' && matrix === operand;
  return layoutDTypes.includes(dtype) && !isInteger ? undefined : `${op} of a weight in ${dtype}`;
}

export function supportOf(node: Node, graph: Graph): Support {
  const op = ops.find(({ name }) => name === node.op);
  if (!op) return refuse(`there is no op named "${node.op}"`);
  const lowering = kernelTable[node.op] ?? (op.view ? view : undefined);
  if (!lowering) return refuse(`the op ${node.op}`);
  const values = [...Object.values(node.inputs), ...node.outputs].map((id) => graph.values[id]!);
  const deep = values.find(({ shape }) => shape.length > maximumRank);
  if (deep) {
    return refuse(
      `${node.op} on a tensor of ${deep.shape.length} axes; at most ${maximumRank} are supported`,
    );
  }
  for (const [operand, id] of Object.entries(node.inputs)) {
    const { source } = graph.values[id]!;
    if (source.kind !== 'weight') continue;
    const reason = weightReason(node, lowering, operand, source.stored.dtype, source.stored.shape.length);
    if (reason) return refuse(reason);
  }
  const { matrix } = lowering;
  if (matrix !== undefined) {
    const { source, dtype } = graph.values[node.inputs[matrix]!]!;
    // A packed operand that is not a weight has no planes.
    if (source.kind !== 'weight' && dtypeLayout(dtype).blockSize > 1) {
      return refuse(`${node.op} of ${dtype} that is not a weight`);
    }
  }
  const reason = lowering.refuses?.(node, graph);
  return reason === undefined ? { ok: true } : refuse(reason);
}
