/** What a CPU device can do and what it takes, from its description alone. */
import {
  ops,
  rooflineEstimate,
  type DeviceInfo,
  type DeviceSpeed,
  type Estimate,
  type EstimateOptions,
  type Graph,
  type Node,
  type Planner,
  type PlanOptions,
  type Segment,
  type Support,
} from '@unicorn-exec/tensor';
import { hasRowLink } from './lowering/row-link.js';

/** `maxRank` of native/runtime/tensor.h. */
const maximumRank = 8;

/**
 * Rates of one core of a desktop processor of 2020 or later: 32 f32 operations a cycle (two AVX2 multiply-adds) and four
 * times as many of int8 at 3 GHz, of which products reach about half; memory of two DDR channels.
 */
function modelledSpeed({ threads = 1 }: DeviceInfo): DeviceSpeed {
  return {
    bytesPerSecond: Math.min(threads * 15e9, 50e9),
    flopsPerSecond: { f32: threads * 5e10, fast: threads * 2e11 },
    submitSeconds: 1e-5,
    stepSeconds: 2e-6,
    basis: 'modelled',
  };
}

/** Ops with steps of their own kind; all others are row kernels. */
const ownSteps: readonly string[] = ['matmul', 'attention', 'sample'];

function hasKernel(op: string): boolean {
  return ownSteps.includes(op) || hasRowLink(op);
}

export class CpuPlanner implements Planner {
  constructor(private readonly info: DeviceInfo) {}

  supports(node: Node, graph: Graph, { precision }: PlanOptions): Support {
    if (!this.info.precisions.includes(precision)) {
      return { ok: false, reason: `the precision ${precision}` };
    }
    if (!ops.some(({ name }) => name === node.op)) {
      return { ok: false, reason: `there is no op named "${node.op}"` };
    }
    if (!hasKernel(node.op)) return { ok: false, reason: `the op ${node.op}` };
    const ids = [...Object.values(node.inputs), ...node.outputs];
    const deep = ids.map((id) => graph.values[id]!.shape.length).find((rank) => rank > maximumRank);
    if (deep === undefined) return { ok: true };
    return {
      ok: false,
      reason: `${node.op} on a tensor of ${deep} axes; at most ${maximumRank} are supported`,
    };
  }

  estimate(segment: Segment, options: EstimateOptions): Estimate {
    return rooflineEstimate(segment, this.info.speed ?? modelledSpeed(this.info), options);
  }
}
