/** A compiled graph: checks bindings, words them for the addon, and reports what the steps took. */
import {
  elementCount,
  findOp,
  resolveBindings,
  resolveShape,
  specBytes,
  submissionDims,
} from '@unicorn-exec/tensor';
import type {
  Bindings,
  CompileOptions,
  Completion,
  ConcreteSpec,
  DimValues,
  Executable,
  Graph,
  ProfileEntry,
  ResolvedBinding,
  Signature,
  SubmitOptions,
} from '@unicorn-exec/tensor';
import { UnicornError } from '@unicorn-exec/tensor';
import { bindingMode, guarded, type BufferHandle, type NativeAddon, type ProgramHandle } from './addon.js';
import { CpuBuffer } from './buffer.js';
import type { Plan, Step } from './lowering/plan.js';
import { printPlan, stepName } from './lowering/text.js';

/** One submission in the addon's terms. */
export interface NativeSubmission {
  readonly program: ProgramHandle;
  readonly dims: Float64Array;
  readonly bindings: readonly (BufferHandle | Uint8Array)[];
  readonly numbers: Float64Array;
}

export interface Submitter {
  readonly addon: NativeAddon;
  /** @throws UnicornError `device/closed` */
  expectOpen(): void;
  enqueue(submission: NativeSubmission, after: Completion | undefined): Completion;
  /** An executable was disposed of. */
  forget(executable: Executable): void;
}

export class CpuExecutable implements Executable {
  readonly #submitter: Submitter;
  readonly #program: ProgramHandle;
  readonly #graph: Graph;
  readonly #plan: Plan;
  readonly #options: CompileOptions;
  readonly #dims: readonly string[];
  /** Flops and bytes of each step so far, when profiled. */
  readonly #work: { flops: number; bytes: number }[];
  #disposed = false;

  constructor(
    submitter: Submitter,
    program: ProgramHandle,
    readonly scratchBytes: number,
    readonly signature: Signature,
    graph: Graph,
    plan: Plan,
    options: CompileOptions,
  ) {
    this.#submitter = submitter;
    this.#program = program;
    this.#graph = graph;
    this.#plan = plan;
    this.#options = options;
    this.#dims = signature.dims;
    this.#work = plan.steps.map(() => ({ flops: 0, bytes: 0 }));
  }

  describe(): string {
    return printPlan(this.#plan);
  }

  submit(bindings: Bindings, options: SubmitOptions = {}): Completion {
    this.#submitter.expectOpen();
    if (this.#disposed) throw new UnicornError('usage/disposed', 'The executable was disposed of.');
    const dims = submissionDims(this.signature, this.#options, bindings);
    const resolved = resolveBindings(this.signature, dims, bindings);
    const numbers = new Float64Array(3 * resolved.length);
    const memory = resolved.map((binding, index) => this.#bind(binding, numbers, 3 * index));
    const submission = {
      program: this.#program,
      dims: Float64Array.from(this.#dims, (dim) => dims[dim]!),
      bindings: memory,
      numbers,
    };
    const completion = this.#submitter.enqueue(submission, options.after);
    if (this.#options.profile) this.#count(dims);
    return completion;
  }

  /** Writes offset, length and mode; returns the memory. */
  #bind(binding: ResolvedBinding, numbers: Float64Array, at: number): BufferHandle | Uint8Array {
    const { source, role, byteLength, name } = binding;
    if (source.kind === 'host') {
      numbers.set([0, byteLength, bindingMode.copied], at);
      return source.bytes;
    }
    const { buffer, byteOffset } = source;
    numbers.set([byteOffset, byteLength, role === 'input' ? bindingMode.read : bindingMode.written], at);
    if (buffer instanceof CpuBuffer) return buffer.handle;
    if (buffer.host) return buffer.host;
    throw new UnicornError('usage/binding', `"${name}" is bound to a buffer that the host cannot address.`, {
      fields: { name },
    });
  }

  profile(): readonly ProfileEntry[] {
    const times = guarded(() => this.#submitter.addon.profile(this.#program));
    const entries = new Map<string, { calls: number; seconds: number; bytes: number; flops: number }>();
    this.#plan.steps.forEach((step, index) => {
      const name = stepName(step);
      const entry = entries.get(name) ?? { calls: 0, seconds: 0, bytes: 0, flops: 0 };
      entry.seconds += times[2 * index]!;
      entry.calls += times[2 * index + 1]!;
      entry.flops += this.#work[index]!.flops;
      entry.bytes += this.#work[index]!.bytes;
      entries.set(name, entry);
    });
    return [...entries].filter(([, { calls }]) => calls > 0).map(([step, entry]) => ({ step, ...entry }));
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    guarded(() => this.#submitter.addon.dispose(this.#program));
    this.#submitter.forget(this);
  }

  /** Adds the declared work of each node to its step. */
  #count(dims: DimValues): void {
    const concrete = (id: number): ConcreteSpec => {
      const { dtype, shape } = this.#graph.values[id]!;
      return { dtype, shape: resolveShape(shape, dims) };
    };
    this.#plan.steps.forEach((step, index) => {
      for (const id of stepNodes(step)) {
        const node = this.#graph.nodes[id]!;
        const op = findOp(node.op);
        const inputs = Object.fromEntries(
          Object.entries(node.inputs).map(([name, value]) => [name, concrete(value)]),
        );
        const specs = [...Object.values(inputs), ...node.outputs.map(concrete)];
        if (specs.some(({ shape }) => elementCount(shape) === 0)) continue;
        this.#work[index]!.flops += op.flops(inputs, node.attributes);
        this.#work[index]!.bytes +=
          op.bytes?.(inputs, node.attributes) ?? specs.reduce((sum, spec) => sum + specBytes(spec), 0);
      }
    });
  }
}

/** Graph nodes that a step computes. */
function stepNodes(step: Step): number[] {
  switch (step.kind) {
    case 'rows':
      return step.links.flatMap(({ node }) => node ?? []);
    case 'matmul':
      return [...(step.norm ? [step.norm.node] : []), ...step.products.flatMap(({ nodes }) => nodes)];
    case 'attention':
    case 'sample':
      return [step.node];
  }
}
