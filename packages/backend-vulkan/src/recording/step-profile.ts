/** The times of an executable's steps so far, kernel by kernel, and the work that their ops declare. */
import { nodeCost, workText } from '@unicorn-exec/tensor';
import type { DimValues, NodeCost, ProfiledKernel, ProfileEntry } from '@unicorn-exec/tensor';
import { kernelOf, kernelTable } from '../kernel/kernels.js';
import type { StepDispatch } from '../lowering/dispatches.js';
import type { Plan, Step } from '../lowering/plan.js';

type Mutable<T> = { -readonly [Field in keyof T]: T[Field] };

interface Entry extends Mutable<Omit<ProfileEntry, 'kernels'>> {
  readonly kernels: Map<string, Mutable<ProfiledKernel>>;
}

const nodesOf = (step: Step): readonly number[] => kernelOf(step, kernelTable).nodes(step);

export class StepProfile {
  /** In the order of the plan; steps of one name that work on the same share one. */
  readonly #entries: readonly Entry[];
  /** For each step its entry. */
  readonly #entryOf: readonly Entry[];
  /** The work of each step by dims, computed once for each. */
  readonly #workByDims = new Map<string, readonly NodeCost[]>();

  constructor(
    private readonly plan: Plan,
    device: string,
  ) {
    const entries = new Map<string, Entry>();
    this.#entryOf = plan.steps.map((given) => {
      const step = kernelOf(given, kernelTable).title(given);
      const detail = workText(nodesOf(given), plan.graph);
      const key = `${step} ${detail}`;
      const known = entries.get(key);
      if (known) return known;
      const made = { device, step, detail, calls: 0, seconds: 0, flops: 0, bytes: 0, kernels: new Map() };
      entries.set(key, made);
      return made;
    });
    this.#entries = [...entries.values()];
  }

  /** @param nanoseconds of each dispatch */
  count(dims: DimValues, dispatches: readonly StepDispatch[], nanoseconds: ArrayLike<number>): void {
    const key = this.plan.signature.dims.map((dim) => dims[dim]).join();
    let work = this.#workByDims.get(key);
    if (!work) this.#workByDims.set(key, (work = this.plan.steps.map((step) => this.#workOf(step, dims))));
    dispatches.forEach(({ step, name, groups }, index) => {
      const { kernels } = this.#entryOf[step]!;
      const kernel = kernels.get(name) ?? { name, launches: 0, seconds: 0, workgroups: 0 };
      kernel.launches++;
      kernel.seconds += nanoseconds[index]! / 1e9;
      kernel.workgroups += groups[0] * groups[1] * groups[2];
      kernels.set(name, kernel);
    });
    this.#entryOf.forEach((entry, index) => {
      entry.calls++;
      entry.flops += work[index]!.flops;
      entry.bytes += work[index]!.bytes;
    });
  }

  entries(): readonly ProfileEntry[] {
    return this.#entries
      .filter(({ calls }) => calls > 0)
      .map((entry) => {
        const kernels = [...entry.kernels.values()].map((kernel) => ({ ...kernel }));
        const seconds = kernels.reduce((sum, kernel) => sum + kernel.seconds, 0);
        return { ...entry, seconds, kernels };
      });
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
