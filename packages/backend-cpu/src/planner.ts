/** The planner: what a CPU device supports and what it would take, from its description alone. */
import {
  expectPlanArguments,
  expectSegment,
  graphSignature,
  isBlockDType,
  namedValues,
  nodeCost,
  ops,
  UnicornError,
  type DeviceInfo,
  type DeviceSpeed,
  type Estimate,
  type EstimateOptions,
  type Graph,
  type Node,
  type Planner,
  type PlanOptions,
  type Precision,
  type Segment,
  type Support,
} from '@unicorn-exec/tensor';
import { lower } from './lowering/lower.js';
import { graphNodes } from './lowering/plan.js';
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
  /** For each graph and precision the fused step of each node; views have none. */
  readonly #steps = new WeakMap<Graph, Map<Precision, ReadonlyMap<number, number>>>();

  constructor(private readonly info: DeviceInfo) {}

  supports(node: Node, graph: Graph, options: PlanOptions): Support {
    expectPlanArguments(node, graph, options);
    const { precision } = options;
    if (!this.info.precisions.includes(precision)) {
      return { ok: false, reason: `the precision ${String(precision)}` };
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

  /**
   * A node takes the longer of its operations and its bytes; a submission and its fused steps are paid once. Only products
   * with weights of block formats run at the rate of `fast`: the rest is computed in f32.
   *
   * @throws UnicornError `usage/dims` when a symbolic dim of the segment has no value, `unsupported/precision`,
   * `usage/graph` and `usage/option` for arguments of other kinds
   */
  estimate(segment: Segment, options: EstimateOptions): Estimate {
    expectSegment(segment, options);
    const { graph, nodes } = segment;
    const { precision, dims } = options;
    const speed = this.info.speed ?? modelledSpeed(this.info);
    let [compute, memory, bytes] = [0, 0, 0];
    for (const id of nodes) {
      const node = graph.nodes[id]!;
      const cost = nodeCost(node, graph, dims);
      const computing = cost.flops / rateOf(node, graph, speed, precision);
      const moving = cost.bytes / speed.bytesPerSecond;
      if (computing > moving) compute += computing;
      else memory += moving;
      bytes += cost.bytes;
    }
    const launch = speed.submitSeconds + this.#stepCount(graph, nodes, precision) * speed.stepSeconds;
    const longest = Math.max(compute, memory, launch);
    return {
      seconds: compute + memory + launch,
      bytes,
      limit: longest === compute ? 'compute' : longest === memory ? 'memory' : 'launch',
      basis: speed.basis,
    };
  }

  #stepCount(graph: Graph, nodes: readonly number[], precision: Precision): number {
    const known = this.#steps.get(graph) ?? new Map<Precision, ReadonlyMap<number, number>>();
    this.#steps.set(graph, known);
    const steps = known.get(precision) ?? nodeSteps(graph, precision);
    known.set(precision, steps);
    return new Set(nodes.flatMap((node) => steps.get(node) ?? [])).size;
  }
}

function rateOf(node: Node, graph: Graph, speed: DeviceSpeed, precision: Precision): number {
  const weight = node.op === 'matmul' ? graph.values[node.inputs.weight!]! : undefined;
  const isInt8 = precision === 'fast' && weight !== undefined && isBlockDType(weight.dtype);
  const rates = speed.flopsPerSecond;
  const rate = Object.hasOwn(rates, precision) ? rates[isInt8 ? 'fast' : 'f32'] : undefined;
  if (rate !== undefined) return rate;
  throw new UnicornError(
    'unsupported/precision',
    `The device has no rate for the precision ${String(precision)}.`,
    {
      fields: { precision: String(precision) },
      fix: 'Estimate at one of `info.precisions`.',
    },
  );
}

/**
 * The steps that the whole graph is lowered to: fusion does not depend on dims. Each node counts as a step in a graph that
 * this backend cannot run alone.
 */
function nodeSteps(graph: Graph, precision: Precision): ReadonlyMap<number, number> {
  if (!graph.nodes.every(({ op }) => hasKernel(op))) return new Map(graph.nodes.map(({ id }) => [id, id]));
  const signature = graphSignature(graph);
  const weights = namedValues(graph, 'weight');
  const { steps } = lower(graph, {
    signature,
    precision,
    maximumDims: Object.fromEntries(signature.dims.map((dim) => [dim, 1])),
    takesInt8: (name) => isBlockDType(weights.get(name)![0]!.dtype),
  });
  return new Map(steps.flatMap((step, index) => graphNodes(step).map((node) => [node, index] as const)));
}
