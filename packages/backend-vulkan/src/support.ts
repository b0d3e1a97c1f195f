/** Which nodes this backend computes. A pure function of the graph and of what a device is. */
import { dtypeLayout, ops, type DType, type Graph, type Node, type Support } from '@unicorn-exec/tensor';
import { maximumHeadDim } from './kernel/attention.js';
import { layoutDTypes } from './weight-layout.js';

/** Axes of a broadcast that the shaders walk. */
const maximumRank = 8;

/** Ops that hand elements on as they are, of any type. */
const movers: readonly string[] = ['reshape', 'slice', 'concat', 'takeRows'];

/** Ops whose operand of that name is read as it is stored. */
const storedOperands: Readonly<Record<string, string>> = { matmul: 'weight', embed: 'table' };

const refuse = (reason: string): Support => ({ ok: false, reason });

/** Why a weight cannot be the operand; undefined when it can. */
function weightReason(node: Node, operand: string, dtype: DType, rank: number): string | undefined {
  // Vectors are decoded when they are loaded, but movers want them as they are.
  if (rank < 2 && !movers.includes(node.op) && dtype !== 'i64' && dtype !== 'u64') return undefined;
  const isInteger = dtype === 'i32' && storedOperands[node.op] === operand;
  if (layoutDTypes.includes(dtype) && !isInteger) return undefined;
  return `${node.op} of a weight in ${dtype}`;
}

export function supportOf(node: Node, graph: Graph): Support {
  if (!ops.some(({ name }) => name === node.op)) return refuse(`there is no op named "${node.op}"`);
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
    const reason = weightReason(node, operand, source.stored.dtype, source.stored.shape.length);
    if (reason) return refuse(reason);
  }
  if (node.op === 'attention') {
    const headDim = graph.values[node.inputs.state!]!.shape[4];
    if (typeof headDim === 'number' && headDim > maximumHeadDim) {
      return refuse(`attention over heads of ${headDim}; at most ${maximumHeadDim} are supported`);
    }
  }
  if (storedOperands[node.op] !== undefined) {
    const { source, dtype } = graph.values[node.inputs[storedOperands[node.op]!]!]!;
    // A packed operand that is no weight has no planes.
    if (source.kind !== 'weight' && dtypeLayout(dtype).blockSize > 1) {
      return refuse(`${node.op} of ${dtype} that is no weight`);
    }
  }
  return { ok: true };
}
