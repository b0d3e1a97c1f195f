/** What the steps of an executable took so far, and the work that their ops declare. */
import { stepNodes } from '@unicorn-exec/lowering';
import { nodeCost, type DimValues, type NodeCost, type ProfileEntry } from '@unicorn-exec/tensor';
import type { StepDispatch } from './lowering/concrete.js';
import type { Plan, Step } from './lowering/plan.js';
import { profileName } from './lowering/text.js';

interface Entry {
  calls: number;
  seconds: number;
  flops: number;
  bytes: number;
}

const nothing = (): Entry => ({ calls: 0, seconds: 0, flops: 0, bytes: 0 });

function nodesOf(step: Step): readonly number[] {
  if (step.kind !== 'op') return stepNodes(step);
  return step.node === undefined ? [] : [step.node];
}

export class StepProfile {
  readonly #entries: readonly Entry[];
  /** Under the same dims it is the same, so it is computed once for each. */
  readonly #workByDims = new Map<string, readonly NodeCost[]>();

  constructor(private readonly plan: Plan) {
    this.#entries = plan.steps.map(nothing);
  }

  /** @param nanoseconds of each dispatch */
  count(dims: DimValues, dispatches: readonly StepDispatch[], nanoseconds: ArrayLike<number>): void {
    const key = this.plan.signature.dims.map((dim) => dims[dim]).join();
    let work = this.#workByDims.get(key);
    if (!work) this.#workByDims.set(key, (work = this.plan.steps.map((step) => this.#workOf(step, dims))));
    dispatches.forEach(({ step }, index) => (this.#entries[step]!.seconds += nanoseconds[index]! / 1e9));
    this.#entries.forEach((entry, index) => {
      entry.calls++;
      entry.flops += work[index]!.flops;
      entry.bytes += work[index]!.bytes;
    });
  }

  /** By name of the step. */
  entries(): readonly ProfileEntry[] {
    const named = new Map<string, Entry>();
    this.plan.steps.forEach((step, index) => {
      const name = profileName(step);
      const sum = named.get(name) ?? nothing();
      const own = this.#entries[index]!;
      sum.calls += own.calls;
      sum.seconds += own.seconds;
      sum.flops += own.flops;
      sum.bytes += own.bytes;
      named.set(name, sum);
    });
    return [...named].filter(([, { calls }]) => calls > 0).map(([step, entry]) => ({ step, ...entry }));
  }

  #workOf(step: Step, dims: DimValues): NodeCost {
    const { graph } = this.plan;
    const costs = nodesOf(step).map((id) => nodeCost(graph.nodes[id]!, graph, dims));
    return {
      flops: costs.reduce((sum, { flops }) => sum + flops, 0),
      bytes: costs.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  }
}
