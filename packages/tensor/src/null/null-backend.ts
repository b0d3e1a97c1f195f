/**
 * The null backend: the whole contract and no arithmetic. Copy it to begin a new backend, then replace what says
 * "Yours:". It accepts every graph, checks every binding, leaves outputs as they are (zero, when freshly allocated), and
 * can report what was submitted, so that a scheduler is tested without kernels. It is no stand-in for a real device:
 * no answer that it gives means anything. The oracle is `../reference`.
 */
import { backendApiVersion, type Backend, type Device, type DeviceInfo } from '../backend/backend.js';
import type { Bindings, CompileOptions, Completion, DeviceBuffer, Executable } from '../backend/backend.js';
import type { LoadOptions, MemoryUse, Signature, SubmitOptions } from '../backend/backend.js';
import type { Support, WeightEntry, WeightSet } from '../backend/backend.js';
import { checkWeights, graphSignature, maximumDims } from '../backend/bindings.js';
import { resolveBindings, submissionDims, type ResolvedBinding } from '../backend/bindings.js';
import { HostBuffer } from '../backend/host-device.js';
import { tensorBytes } from '../dtype.js';
import { invariant, UnicornError } from '../error.js';
import type { Graph, Node, TensorSpec } from '../graph/graph.js';
import { printGraph } from '../graph/text.js';
import { kvDTypes } from '../op/kv-cache.js';

/** One checked submission. Host inputs are copies; buffers are the caller's own. */
export interface NullSubmission {
  readonly graph: Graph;
  readonly dims: Readonly<Record<string, number>>;
  readonly bindings: readonly ResolvedBinding[];
}

export interface NullBackendOptions {
  /** Called for each submission in the order of execution. What it throws or rejects with fails the submission. */
  readonly onSubmit?: (submission: NullSubmission) => void | Promise<void>;
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

  constructor(
    private readonly device: NullDevice,
    private readonly graph: Graph,
    private readonly options: CompileOptions,
  ) {
    this.signature = graphSignature(graph);
    // Every symbolic dim needs a value or a maximum. Yours: size the scratch memory by them.
    maximumDims(graph, options);
  }

  describe(): string {
    return printGraph(this.graph);
  }

  submit(bindings: Bindings, { after }: SubmitOptions = {}): Completion {
    // Mistakes of the caller are thrown here and now; what goes wrong on the device rejects the completion.
    const dims = { ...submissionDims(this.signature, this.options, bindings) };
    const resolved = resolveBindings(this.signature, dims, bindings).map((binding): ResolvedBinding => {
      const { source } = binding;
      // The caller may overwrite host data as soon as this call has returned.
      return source.kind === 'host'
        ? { ...binding, source: { kind: 'host', bytes: source.bytes.slice() } }
        : binding;
    });
    // Submissions run one after the other, in the order of these calls, and not before `after` has ended.
    return this.device.enqueue(async () => {
      await after?.done;
      // Yours: run the compiled steps.
      await this.device.options.onSubmit?.({ graph: this.graph, dims, bindings: resolved });
    });
  }

  profile(): readonly [] {
    return [];
  }

  dispose(): void {}
}

class NullDevice implements Device {
  #closed = false;
  #bufferBytes = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(
    readonly info: DeviceInfo,
    readonly options: NullBackendOptions,
  ) {}

  // Yours: refuse with a reason what you cannot run. It must follow from `info` alone, so that a planner may ask about
  // a device that is not there.
  supports(_node: Node, _graph: Graph): Support {
    return { ok: true, cost: { seconds: 0 } };
  }

  async load(entries: readonly WeightEntry[], { signal, onProgress }: LoadOptions = {}): Promise<WeightSet> {
    this.#expectOpen();
    const totalBytes = entries.reduce((sum, { dtype, shape }) => sum + tensorBytes(dtype, shape), 0);
    // Yours: look at the signal and report progress as bytes arrive, not only once.
    if (signal?.aborted) throw new UnicornError('usage/cancelled', 'Loading was cancelled.');
    onProgress?.({ loadedBytes: totalBytes, totalBytes });
    return new NullWeightSet(entries);
  }

  async compile(graph: Graph, weights: WeightSet, options: CompileOptions): Promise<Executable> {
    this.#expectOpen();
    invariant(weights instanceof NullWeightSet, 'the weights were loaded by another device');
    checkWeights(graph, (name) => weights.spec(name));
    for (const node of graph.nodes) {
      const support = this.supports(node, graph);
      if (!support.ok) throw new UnicornError('unsupported/op', `${node.op}: ${support.reason}`);
    }
    return new NullExecutable(this, graph, options);
  }

  allocate(byteLength: number): DeviceBuffer {
    this.#expectOpen();
    // Yours: device memory, zero-filled; `host` only where the host can address it.
    const buffer = new HostBuffer(byteLength, (released) => (this.#bufferBytes -= released));
    this.#bufferBytes += byteLength;
    return buffer;
  }

  async write(buffer: DeviceBuffer, byteOffset: number, data: Uint8Array): Promise<void> {
    this.#expectOpen();
    // Transfers keep the order of the queue: a write must not overtake a submission that still reads the buffer.
    await this.#last;
    buffer.host!.set(data, byteOffset);
  }

  async read(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    this.#expectOpen();
    await this.#last;
    return buffer.host!.slice(byteOffset, byteOffset + byteLength);
  }

  memory(): MemoryUse {
    return { weightBytes: 0, bufferBytes: this.#bufferBytes, scratchBytes: 0 };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
  }

  /** Runs `work` after everything before it, whether that succeeded or not. Yours: your queue or your thread. */
  enqueue(work: () => Promise<void>): Completion {
    this.#expectOpen();
    const done = this.#last.then(work);
    // A failure belongs to its own completion; the queue goes on, and an unawaited rejection must not end the process.
    this.#last = done.catch(() => {});
    return { done };
  }

  #expectOpen(): void {
    if (this.#closed) throw new UnicornError('device/closed', 'The null device was closed.');
  }
}

const info: DeviceInfo = {
  backend: 'null',
  id: 'null',
  name: 'null device (computes nothing)',
  dtypes: { weights: ['f32'], kv: kvDTypes },
  shapes: 'dynamic',
  alignmentBytes: 4,
  maxBufferBytes: Number.MAX_SAFE_INTEGER,
  heaps: [],
  features: [],
};

export function createNullBackend(options: NullBackendOptions = {}): Backend {
  return {
    name: info.backend,
    apiVersion: backendApiVersion,
    // Yours: list what is there. Absent hardware or drivers are a description with a reason and a fix, never a throw.
    async probe() {
      return [{ id: info.id, name: info.name, usable: true, info }];
    },
    async open(id = info.id) {
      if (id === info.id) return new NullDevice(info, options);
      throw new UnicornError('device/unavailable', `There is no null device "${id}"; open "${info.id}".`);
    },
  };
}

export const nullBackend: Backend = createNullBackend();
