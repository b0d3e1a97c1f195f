/** A compiled graph: checks bindings, words them for the addon, and reports what the steps took. */
import { stepNodes } from '@unicorn-exec/lowering';
import { guarded } from '@unicorn-exec/native';
import {
  elementCount,
  findOp,
  resolveBindings,
  resolveShape,
  specBytes,
  submissionDims,
  workText,
} from '@unicorn-exec/tensor';
import type {
  Binding,
  Bindings,
  CompileOptions,
  Completion,
  ConcreteSpec,
  DeviceInfo,
  DimValues,
  Executable,
  Graph,
  ProfileEntry,
  ResolvedBinding,
  Signature,
  SubmitOptions,
} from '@unicorn-exec/tensor';
import { UnicornError } from '@unicorn-exec/tensor';
import { bindingMode, type BufferHandle, type NativeAddon, type ProgramHandle } from './addon.js';
import { CpuBuffer } from './buffer.js';
import type { Plan, Step } from './lowering/plan.js';
import { printPlan, profileName } from './lowering/text.js';

/** What a submission binds, in the addon's terms. The arrays are not changed once made. */
export interface BoundMemory {
  readonly dims: Float64Array;
  readonly bindings: readonly (BufferHandle | Uint8Array)[];
  readonly numbers: Float64Array;
}

export interface NativeSubmission extends BoundMemory {
  readonly program: ProgramHandle;
}

interface Work {
  flops: number;
  bytes: number;
}

/** A submission that passed every check, by slot. */
interface Remembered {
  readonly names: readonly string[];
  readonly sources: readonly Binding[];
  readonly memory: readonly (BufferHandle | Uint8Array)[];
  readonly dims: Float64Array;
  readonly numbers: Float64Array;
}

export interface Submitter {
  readonly info: DeviceInfo;
  readonly addon: NativeAddon;
  /** @throws UnicornError `device/closed` */
  expectOpen(): void;
  enqueue(submission: NativeSubmission, options: SubmitOptions): Completion;
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
  readonly #work: Work[];
  readonly #workByDims = new Map<string, readonly Work[]>();
  #last: Remembered | undefined;
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
    const bound = this.#sameAsBefore(bindings) ?? this.#bindAll(bindings);
    const completion = this.#submitter.enqueue({ program: this.#program, ...bound }, options);
    if (this.#options.profile) this.#count(bindings.dims);
    return completion;
  }

  /** Checks and words every binding, and remembers them for {@link #sameAsBefore}. */
  #bindAll(bindings: Bindings): BoundMemory {
    const dims = submissionDims(this.signature, this.#options, bindings);
    const resolved = resolveBindings(this.signature, dims, bindings);
    const numbers = new Float64Array(3 * resolved.length);
    const memory = resolved.map((binding, index) => this.#bind(binding, numbers, 3 * index));
    const sources = resolved.map(({ name }) => bindings.buffers[name]!);
    this.#last = {
      names: resolved.map(({ name }) => name),
      sources,
      memory,
      dims: Float64Array.from(this.#dims, (dim) => dims[dim]!),
      numbers,
    };
    return { bindings: memory, dims: this.#last.dims, numbers };
  }

  /**
   * The step after a step differs in its host data only, and the check of dozens of states would cost more than they
   * change: what is bound to the very same buffers under the same dims was checked before. Undefined for anything else.
   */
  #sameAsBefore({ dims, buffers }: Bindings): BoundMemory | undefined {
    const last = this.#last;
    if (!last) return undefined;
    for (let i = 0; i < this.#dims.length; i++) {
      if (dims[this.#dims[i]!] !== last.dims[i]) return undefined;
    }
    let given = 0;
    for (const _ in buffers) given++;
    if (given !== last.names.length) return undefined;
    const memory = last.memory.slice();
    for (let i = 0; i < memory.length; i++) {
      const before = last.sources[i]!;
      const now = buffers[last.names[i]!];
      if (now === before && !ArrayBuffer.isView(now)) {
        // A buffer of JavaScript may have been detached; one of ours is checked by the addon.
        if (memory[i] instanceof Uint8Array) return undefined;
        continue;
      }
      if (!ArrayBuffer.isView(now) || now.constructor !== before.constructor) return undefined;
      const byteLength = last.numbers[3 * i + 1]!;
      if (now.byteLength < byteLength) return undefined;
      memory[i] = new Uint8Array(now.buffer, now.byteOffset, byteLength);
    }
    return { bindings: memory, dims: last.dims, numbers: last.numbers };
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
    const entries = new Map<string, { -readonly [Field in keyof ProfileEntry]: ProfileEntry[Field] }>();
    this.#plan.steps.forEach((step, index) => {
      const name = profileName(step);
      const detail = workText(nodesOf(step), this.#graph);
      const key = `${name} ${detail}`;
      const none = {
        device: this.#submitter.info.id,
        step: name,
        detail,
        calls: 0,
        seconds: 0,
        bytes: 0,
        flops: 0,
      };
      const entry = entries.get(key) ?? none;
      entry.seconds += times[2 * index]!;
      entry.calls += times[2 * index + 1]!;
      entry.flops += this.#work[index]!.flops;
      entry.bytes += this.#work[index]!.bytes;
      entries.set(key, entry);
    });
    return [...entries.values()].filter(({ calls }) => calls > 0);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    guarded(() => this.#submitter.addon.dispose(this.#program));
    this.#submitter.forget(this);
  }

  /** Adds the declared work of each step. Under the same dims it is the same, so it is computed once for each. */
  #count(dims: DimValues): void {
    const key = this.#dims.map((dim) => dims[dim]).join();
    let work = this.#workByDims.get(key);
    if (!work) {
      work = this.#plan.steps.map((step) => this.#workOf(step, dims));
      this.#workByDims.set(key, work);
    }
    work.forEach(({ flops, bytes }, index) => {
      this.#work[index]!.flops += flops;
      this.#work[index]!.bytes += bytes;
    });
  }

  #workOf(step: Step, dims: DimValues): Work {
    const concrete = (id: number): ConcreteSpec => {
      const { dtype, shape } = this.#graph.values[id]!;
      return { dtype, shape: resolveShape(shape, dims) };
    };
    const work = { flops: 0, bytes: 0 };
    for (const id of nodesOf(step)) {
      const node = this.#graph.nodes[id]!;
      const op = findOp(node.op);
      const inputs = Object.fromEntries(
        Object.entries(node.inputs).map(([name, value]) => [name, concrete(value)]),
      );
      const specs = [...Object.values(inputs), ...node.outputs.map(concrete)];
      if (specs.some(({ shape }) => elementCount(shape) === 0)) continue;
      work.flops += op.flops(inputs, node.attributes);
      work.bytes +=
        op.bytes?.(inputs, node.attributes) ?? specs.reduce((sum, spec) => sum + specBytes(spec), 0);
    }
    return work;
  }
}

/** Graph nodes that a step computes. */
function nodesOf(step: Step): number[] {
  return step.kind === 'rows' ? step.links.flatMap(({ node }) => node ?? []) : stepNodes(step);
}
