/**
 * The null backend: the whole contract and no arithmetic. Copy it to begin a new backend, then replace what says
 * "Yours:". It accepts every graph, checks every binding, leaves outputs as they are (zero, when freshly allocated), and
 * can report what was submitted, so that a scheduler is tested without kernels. It is not a stand-in for a real device:
 * no answer that it gives means anything. The oracle is `../reference`.
 */
import { totalmem } from 'node:os';
import { backendApiVersion, type Backend, type Device, type MemoryUse } from '../backend/backend.js';
import {
  checkWeights,
  expectWeightEntries,
  graphSignature,
  maximumDims,
  ownWeightSets,
  resolveBindings,
  submissionDims,
  type ResolvedBinding,
} from '../backend/bindings.js';
import type { AllocateOptions, BufferView, DeviceBuffer } from '../backend/buffer.js';
import { SubmissionQueue } from '../backend/completion.js';
import { expectCompileArguments, expectPlanArguments, expectSegment } from '../backend/expect-arguments.js';
import { hostPool, type DeviceInfo, type DeviceSpeed } from '../backend/device-info.js';
import type {
  Bindings,
  CompileOptions,
  Completion,
  Executable,
  Signature,
  SubmitOptions,
} from '../backend/executable.js';
import { checkHostCopy, copiedBytes, copyOnHost, HostBuffer, hostRange } from '../backend/host-device.js';
import type { Phase, Planner, PlanOptions, Support } from '../backend/planner.js';
import { rooflineEstimate } from '../backend/roofline.js';
import { hostSync } from '../backend/touched.js';
import type { LoadOptions, WeightEntry, WeightSet } from '../backend/weights.js';
import { tensorBytes } from '../dtype.js';
import { throwIfCancelled } from '../cancellation.js';
import { UnicornError } from '../error.js';
import type { Graph, Node, TensorSpec } from '../graph/graph.js';
import { printGraph } from '../graph/text.js';
import { kvDTypes } from '../op/kv-cache.js';

/** One checked submission. Host inputs are copies; buffers are the caller's own. */
export interface NullSubmission {
  readonly graph: Graph;
  readonly dims: Readonly<Record<string, number>>;
  readonly bindings: readonly ResolvedBinding[];
  /** Phase of the executable. */
  readonly phase: Phase;
}

export interface NullBackendOptions {
  /** Called for each submission in the order of execution. What it throws or rejects with fails the submission. */
  readonly onSubmit?: (submission: NullSubmission) => void | Promise<void>;
  /** What the device says of itself beside what the null device does: a described machine for planners and schedulers. */
  readonly info?: Partial<DeviceInfo>;
}

/** Weights: only their specs are kept. Yours: map or read the bytes, repack them once, and let the originals go. */
class NullWeightSet implements WeightSet {
  readonly byteLength = 0;
  readonly names: readonly string[];

  constructor(private readonly entries: readonly WeightEntry[]) {
    this.names = entries.map(({ name }) => name);
  }

  spec(name: string): TensorSpec | undefined {
    return this.entries.find((entry) => entry.name === name);
  }

  dispose(): void {}
}

class NullExecutable implements Executable {
  // Yours: what intermediate values need. Plan it at compilation; allocate nothing while submissions run.
  readonly scratchBytes = 0;
  readonly signature: Signature;
  #disposed = false;

  constructor(
    private readonly device: NullDevice,
    private readonly graph: Graph,
    private readonly options: CompileOptions,
  ) {
    this.signature = graphSignature(graph);
  }

  describe(): string {
    return printGraph(this.graph);
  }

  submit(bindings: Bindings, options: SubmitOptions = {}): Completion {
    // Mistakes of the caller are thrown here and now; what goes wrong on the device rejects the completion.
    if (this.#disposed) throw new UnicornError('usage/disposed', 'The executable was disposed of.');
    const dims = { ...submissionDims(this.signature, this.options, bindings) };
    const resolved = resolveBindings(this.signature, dims, bindings).map((binding): ResolvedBinding => {
      const { source, byteLength } = binding;
      // The caller may overwrite host data as soon as this call has returned.
      if (source.kind === 'host') {
        return { ...binding, source: { kind: 'host', bytes: source.bytes.slice() } };
      }
      // Refuses what the host cannot address. Yours: what is neither your own nor has `host`.
      hostRange(source.buffer, source.byteOffset, byteLength);
      return binding;
    });
    // Buffers of other devices are bound like one's own when they have `host`. Yours: import or map them, or copy what is
    // touched and count it.
    const sync = hostSync(this.graph, resolved);
    // Submissions run one after the other, in the order of these calls, and not before `options.after` have ended.
    return this.device.enqueue(async () => {
      sync?.before();
      // Yours: run the compiled steps.
      await this.device.options.onSubmit?.({
        graph: this.graph,
        dims,
        bindings: resolved,
        phase: this.options.phase ?? 'token',
      });
      sync?.after();
    }, options);
  }

  // Yours: one entry for each kind of step, when compiled with `options.profile`.
  profile(): readonly [] {
    return [];
  }

  dispose(): void {
    this.#disposed = true;
  }
}

/** Answers from the info alone. Yours: refuse with a reason what you cannot run, and estimate what you can. */
class NullPlanner implements Planner {
  constructor(private readonly info: DeviceInfo) {}

  supports(node: Node, graph: Graph, options: PlanOptions): Support {
    expectPlanArguments(node, graph, options);
    const { precision } = options;
    if (this.info.precisions.includes(precision)) return { ok: true };
    return { ok: false, reason: `there is no precision ${String(precision)}` };
  }

  estimate(...[segment, options]: Parameters<Planner['estimate']>): ReturnType<Planner['estimate']> {
    expectSegment(segment, options);
    return rooflineEstimate(segment, this.info.speed ?? speed, options);
  }
}

class NullDevice implements Device {
  readonly #planner: Planner;
  readonly #queue: SubmissionQueue;
  #closed = false;
  #bufferBytes = 0;

  constructor(
    readonly info: DeviceInfo,
    readonly options: NullBackendOptions,
  ) {
    this.#planner = new NullPlanner(info);
    this.#queue = new SubmissionQueue(info.id);
  }

  supports(node: Node, graph: Graph, options: PlanOptions): Support {
    return this.#planner.supports(node, graph, options);
  }

  async load(entries: readonly WeightEntry[], { signal, onProgress }: LoadOptions = {}): Promise<WeightSet> {
    this.#expectOpen();
    expectWeightEntries(entries);
    const totalBytes = entries.reduce((sum, { dtype, shape }) => sum + tensorBytes(dtype, shape), 0);
    // Yours: look at the signal and report progress as bytes arrive, not only once.
    throwIfCancelled(signal, 'Loading');
    onProgress?.({ loadedBytes: totalBytes, totalBytes });
    return new NullWeightSet(entries);
  }

  async compile(
    graph: Graph,
    weights: WeightSet | readonly WeightSet[],
    options: CompileOptions,
  ): Promise<Executable> {
    this.#expectOpen();
    expectCompileArguments(graph, options);
    const { holder } = ownWeightSets(weights, (set) => set instanceof NullWeightSet);
    checkWeights(graph, (name) => holder(name)?.spec(name));
    // Every symbolic dim needs a value or a maximum. Yours: size the scratch memory by them.
    maximumDims(graph, options);
    const { precision = this.info.precisions.at(-1)! } = options;
    if (!this.info.precisions.includes(precision)) {
      throw new UnicornError(
        'unsupported/precision',
        `The null device does not compute at precision ${String(precision)}.`,
        { fields: { precision: String(precision) } },
      );
    }
    for (const node of graph.nodes) {
      const support = this.supports(node, graph, { precision });
      if (!support.ok) throw new UnicornError('unsupported/op', `${node.op}: ${support.reason}`);
    }
    return new NullExecutable(this, graph, options);
  }

  allocate(byteLength: number, _options: AllocateOptions = {}): DeviceBuffer {
    this.#expectOpen();
    // Yours: device memory, zero-filled; with `host` where it is required or costs nothing.
    const buffer = HostBuffer.allocate(byteLength, () => (this.#bufferBytes -= byteLength));
    this.#bufferBytes += byteLength;
    return buffer;
  }

  importBuffer(memory: Uint8Array | DeviceBuffer): DeviceBuffer {
    this.#expectOpen();
    // Yours: the same memory under an address of your device, or `unsupported/import`.
    return HostBuffer.over(memory);
  }

  async write(buffer: DeviceBuffer, byteOffset: number, data: Uint8Array): Promise<void> {
    this.#expectOpen();
    // Transfers keep the order of the queue: a write must not overtake a submission that still reads the buffer.
    const copy = copiedBytes(data);
    await this.#queue.enqueue(() => hostRange(buffer, byteOffset, copy.byteLength).set(copy)).done;
  }

  async read(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    this.#expectOpen();
    let bytes = new Uint8Array(0);
    await this.#queue.enqueue(() => void (bytes = hostRange(buffer, byteOffset, byteLength).slice())).done;
    return bytes;
  }

  copy(from: BufferView, to: BufferView, byteLength: number, options?: SubmitOptions): Completion {
    // A wrong call is refused at once, not through the completion.
    checkHostCopy(from, to, byteLength);
    return this.enqueue(() => copyOnHost(from, to, byteLength), options);
  }

  memory(): MemoryUse {
    return { weightBytes: 0, bufferBytes: this.#bufferBytes, scratchBytes: 0, copiedBytes: 0 };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#queue.idle();
  }

  /** Runs `work` after everything before it, whether that succeeded or not. Yours: your queue or your thread. */
  enqueue(work: () => Promise<void> | void, options?: SubmitOptions): Completion {
    this.#expectOpen();
    return this.#queue.enqueue(work, options);
  }

  #expectOpen(): void {
    if (!this.#closed) return;
    throw new UnicornError('device/closed', 'The null device was closed.', {
      fields: { device: this.info.id },
      fix: 'Open it again, or close it later.',
    });
  }
}

/** The rates of a device that takes almost no time. Yours: what was measured, or what is known of such devices. */
const speed: DeviceSpeed = {
  bytesPerSecond: Infinity,
  flopsPerSecond: { f32: Infinity, fast: Infinity },
  submitSeconds: 0,
  stepSeconds: 0,
  basis: 'modelled',
};

const info: DeviceInfo = {
  backend: 'null',
  id: 'null',
  name: 'null device (computes nothing)',
  dtypes: { weights: ['f32'], kv: kvDTypes },
  precisions: ['f32', 'fast'],
  activations: { f32: { kind: 'float', dtype: 'f32' }, fast: { kind: 'float', dtype: 'f32' } },
  numerics: { prompt: 'null', token: 'null' },
  shapes: 'dynamic',
  rows: { kind: 'any' },
  alignmentBytes: 4,
  maxBufferBytes: Number.MAX_SAFE_INTEGER,
  heaps: [{ name: 'host', bytes: totalmem(), pool: hostPool, hostVisible: true }],
  features: [],
};

export function createNullBackend(options: NullBackendOptions = {}): Backend {
  const own = { ...info, ...options.info };
  return {
    name: own.backend,
    apiVersion: backendApiVersion,
    // Yours: list what is there. Absent hardware or drivers are a description with a reason and a fix, never a throw.
    async probe() {
      return [{ id: own.id, name: own.name, usable: true, info: own }];
    },
    async open(id = own.id) {
      if (id === own.id) return new NullDevice(own, options);
      throw new UnicornError('device/unavailable', `There is no null device "${id}".`, {
        fields: { device: id },
        fix: `Open "${own.id}", the only one.`,
      });
    },
    planner: (described) => new NullPlanner(described),
  };
}

export const nullBackend: Backend = createNullBackend();
