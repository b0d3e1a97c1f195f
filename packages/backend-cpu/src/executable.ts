/** A compiled graph: checks bindings, puts them into the addon's arrays, and reports the times of its steps. */
import { guarded } from '@unicorn-exec/native';
import {
  elementCount,
  findOp,
  hostSync,
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
  HostSync,
  ProfileEntry,
  ResolvedBinding,
  Signature,
  SubmitOptions,
} from '@unicorn-exec/tensor';
import { isUnicornError, UnicornError } from '@unicorn-exec/tensor';
import { bindingMode, type BufferHandle, type NativeAddon, type ProgramHandle } from './addon.js';
import { ImportedBuffer, memoryOf } from './buffer.js';
import { graphNodes, type Plan, type Step } from './lowering/plan.js';
import { printPlan, profileName } from './lowering/text.js';

/** A submission in the addon's terms. The arrays are not changed once made. */
export interface NativeSubmission {
  readonly program: ProgramHandle;
  readonly dims: Float64Array;
  readonly bindings: readonly (BufferHandle | Uint8Array)[];
  /** For each slot byte offset, byteLength and {@link bindingMode}. */
  readonly numbers: Float64Array;
  /** Synchronizes bound buffers that are not coherent; absent where all are. */
  readonly sync?: HostSync | undefined;
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
  /** Bound buffers that may be disposed of while their memory stays. */
  readonly imports: readonly ImportedBuffer[];
}

export interface Submitter {
  readonly info: DeviceInfo;
  readonly addon: NativeAddon;
  /** @throws UnicornError `device/closed` */
  expectOpen(): void;
  enqueue(submission: NativeSubmission, options?: SubmitOptions): Completion;
  /** Called when an executable was disposed of. */
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

  submit(bindings: Bindings, options?: SubmitOptions): Completion {
    this.#submitter.expectOpen();
    if (this.#disposed) {
      throw new UnicornError('usage/disposed', 'The executable was disposed of.', {
        fix: 'Compile the graph again, or dispose of it later.',
      });
    }
    const submission = this.#sameAsBefore(bindings) ?? this.#bindAll(bindings);
    const completion = this.#submitter.enqueue(submission, options);
    if (this.#options.profile) this.#count(bindings.dims);
    return completion;
  }

  /** Checks every binding, puts it into the addon's arrays, and remembers all for {@link #sameAsBefore}. */
  #bindAll(bindings: Bindings): NativeSubmission {
    const dims = submissionDims(this.signature, this.#options, bindings);
    const resolved = resolveBindings(this.signature, dims, bindings);
    const numbers = new Float64Array(3 * resolved.length);
    const memory = resolved.map((binding, index) => this.#bind(binding, numbers, 3 * index));
    const sources = resolved.map(({ name }) => bindings.buffers[name]!);
    const sync = hostSync(this.#graph, resolved);
    const values = Float64Array.from(this.#dims, (dim) => dims[dim]!);
    // The parts of a buffer to synchronize change with the host data.
    if (sync) {
      this.#last = undefined;
      return { program: this.#program, dims: values, bindings: memory, numbers, sync };
    }
    this.#last = {
      names: resolved.map(({ name }) => name),
      sources,
      memory,
      dims: values,
      numbers,
      imports: resolved.flatMap(({ source }) =>
        source.kind === 'buffer' && source.buffer instanceof ImportedBuffer ? [source.buffer] : [],
      ),
    };
    return { program: this.#program, dims: values, bindings: memory, numbers, sync };
  }

  /**
   * The request of a step that differs from an earlier one in its host data only: the same buffers under the same dims were
   * checked before, and checking dozens of states again would take longer than all the rest. Undefined for anything else.
   */
  #sameAsBefore(bindings: Partial<Bindings> | null | undefined): NativeSubmission | undefined {
    const last = this.#last;
    // Callers in plain JavaScript may pass anything.
    const { dims, buffers } = bindings ?? {};
    if (!last || !dims || !buffers || last.imports.some(({ isDisposed }) => isDisposed)) return undefined;
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
        // Memory of others may be gone; the addon checks our own.
        const bound = memory[i];
        if (bound instanceof Uint8Array && !(bound.byteLength > 0 && hostOf(now) === bound)) return undefined;
        continue;
      }
      if (!ArrayBuffer.isView(now) || now.constructor !== before.constructor) return undefined;
      const byteLength = last.numbers[3 * i + 1]!;
      if (now.byteLength < byteLength) return undefined;
      memory[i] = new Uint8Array(now.buffer, now.byteOffset, byteLength);
    }
    return {
      program: this.#program,
      dims: last.dims,
      bindings: memory,
      numbers: last.numbers,
      sync: undefined,
    };
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
    try {
      const memory = memoryOf(buffer);
      // What JavaScript imports may begin at any byte; the kernels read whole numbers.
      if (!(memory instanceof Uint8Array) || memory.byteOffset % 4 === 0) return memory;
      throw new UnicornError('usage/binding', 'The memory does not begin at a multiple of 4 bytes.', {
        fix: 'Copy it into memory that does.',
      });
    } catch (error) {
      if (!isUnicornError(error)) throw error;
      const fix = error.fix === undefined ? {} : { fix: error.fix };
      throw new UnicornError(error.code, `"${name}": ${error.message}`, { fields: { name }, ...fix });
    }
  }

  profile(): readonly ProfileEntry[] {
    const times = guarded(() => this.#submitter.addon.profile(this.#program));
    const entries = new Map<string, { -readonly [Field in keyof ProfileEntry]: ProfileEntry[Field] }>();
    this.#plan.steps.forEach((step, index) => {
      const name = profileName(step);
      const detail = workText(graphNodes(step), this.#graph);
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

  /** Adds the declared work of each step, which is computed once for each set of dims. */
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
    for (const id of graphNodes(step)) {
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

/** The memory of a binding that is not host data, at the time of the call. */
function hostOf(binding: Exclude<Binding, Float32Array | Int32Array>): Uint8Array | undefined {
  return 'buffer' in binding ? binding.buffer.host : binding.host;
}

/** The bindings with copies of their host data, which the caller may overwrite. */
export function detachedBindings({ bindings, numbers }: NativeSubmission): (BufferHandle | Uint8Array)[] {
  return bindings.map((memory, index) =>
    memory instanceof Uint8Array && numbers[3 * index + 2] === bindingMode.copied ? memory.slice() : memory,
  );
}
