/**
 * The reference evaluator behind the Backend contract: runs everywhere, needs no compiler, no driver and no native
 * code. It is the oracle of the conformance suite, so it is plain, not fast.
 */
import { totalmem } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { backendApiVersion, type Backend, type Completion, type CompileOptions } from '../backend/backend.js';
import type {
  Bindings,
  Device,
  DeviceBuffer,
  DeviceInfo,
  Executable,
  LoadOptions,
} from '../backend/backend.js';
import type {
  MemoryUse,
  ProfileEntry,
  Signature,
  SubmitOptions,
  Support,
  WeightEntry,
  WeightSet,
} from '../backend/backend.js';
import {
  checkWeights,
  graphSignature,
  maximumDims,
  resolveBindings,
  submissionDims,
  type ResolvedBinding,
} from '../backend/bindings.js';
import { HostBuffer, HostWeightSet, loadHostWeights } from '../backend/host-device.js';
import { blockDTypes, tensorBytes } from '../dtype.js';
import { invariant, UnicornError } from '../error.js';
import type { Graph, Node } from '../graph/graph.js';
import { printGraph } from '../graph/text.js';
import { HostTensor } from '../host-tensor.js';
import { findOp } from '../op/index.js';
import { kvDTypes } from '../op/kv-cache.js';
import { resolveShape, type DimValues } from '../shape.js';
import { evaluateGraph } from './evaluate.js';

/** How long the evaluator may hold the event loop: half a frame at 30 Hz, so that Ctrl-C and progress stay prompt. */
const turnMs = 16;

class ReferenceExecutable implements Executable {
  readonly signature: Signature;
  readonly scratchBytes: number;
  readonly #profile = new Map<string, { calls: number; seconds: number }>();

  constructor(
    private readonly device: ReferenceDevice,
    private readonly graph: Graph,
    private readonly weights: HostWeightSet,
    private readonly options: CompileOptions,
  ) {
    this.signature = graphSignature(graph);
    const dims = maximumDims(graph, options);
    // An upper bound: the evaluator lets values go after their last reader.
    this.scratchBytes = graph.nodes
      .flatMap((node) => node.outputs.filter((_, index) => findOp(node.op).aliases?.[index] === undefined))
      .reduce(
        (sum, id) => sum + tensorBytes(graph.values[id]!.dtype, resolveShape(graph.values[id]!.shape, dims)),
        0,
      );
  }

  describe(): string {
    return printGraph(this.graph);
  }

  submit(bindings: Bindings, options: SubmitOptions = {}): Completion {
    const dims = submissionDims(this.signature, this.options, bindings);
    const resolved = resolveBindings(this.signature, dims, bindings).map((binding) =>
      binding.source.kind === 'host'
        ? { ...binding, source: { kind: 'host' as const, bytes: Uint8Array.from(binding.source.bytes) } }
        : binding,
    );
    return this.device.enqueue(async () => {
      await options.after?.done;
      await this.#run(resolved, { ...dims });
    });
  }

  profile(): readonly ProfileEntry[] {
    return [...this.#profile].map(([step, { calls, seconds }]) => ({
      step,
      calls,
      seconds,
      bytes: 0,
      flops: 0,
    }));
  }

  dispose(): void {
    this.#profile.clear();
  }

  async #run(bindings: readonly ResolvedBinding[], dims: DimValues): Promise<void> {
    const bound = Object.fromEntries(bindings.map((binding) => [binding.name, boundTensor(binding)]));
    const steps = evaluateGraph(
      this.graph,
      { tensors: bound, weight: (name) => this.weights.tensor(name) },
      dims,
    );
    let turn = performance.now();
    let running: { op: string; since: number } | undefined;
    for (;;) {
      const step = steps.next();
      const now = performance.now();
      if (running && this.options.profile) this.#count(running.op, (now - running.since) / 1000);
      if (step.done) {
        for (const [name, tensor] of Object.entries(step.value))
          bound[name]!.bytes.set(denseBytes(tensor), bound[name]!.byteOffset);
        return;
      }
      if (now - turn > turnMs) {
        await nextTurn();
        turn = performance.now();
      }
      running = { op: step.value.op, since: performance.now() };
    }
  }

  #count(op: string, seconds: number): void {
    const entry = this.#profile.get(op) ?? { calls: 0, seconds: 0 };
    this.#profile.set(op, { calls: entry.calls + 1, seconds: entry.seconds + seconds });
  }
}

function boundTensor({ name, dtype, shape, source }: ResolvedBinding): HostTensor {
  if (source.kind === 'host') return new HostTensor(dtype, shape, source.bytes);
  const { host } = source.buffer;
  if (!host)
    throw new UnicornError('usage/binding', `"${name}" is bound to a buffer that the host cannot address.`);
  return new HostTensor(dtype, shape, host, source.byteOffset);
}

function denseBytes(tensor: HostTensor): Uint8Array {
  const byteLength = tensorBytes(tensor.dtype, tensor.shape);
  return tensor.bytes.subarray(tensor.byteOffset, tensor.byteOffset + byteLength);
}

class ReferenceDevice implements Device {
  #closed = false;
  #queue: Promise<void> = Promise.resolve();
  #weightBytes = 0;
  #bufferBytes = 0;

  constructor(readonly info: DeviceInfo) {}

  supports(node: Node, _graph: Graph): Support {
    findOp(node.op);
    return { ok: true };
  }

  async load(entries: readonly WeightEntry[], options: LoadOptions = {}): Promise<WeightSet> {
    this.#expectOpen();
    const set = await loadHostWeights(entries, options, (byteLength) => (this.#weightBytes -= byteLength));
    this.#weightBytes += set.byteLength;
    return set;
  }

  async compile(graph: Graph, weights: WeightSet, options: CompileOptions): Promise<Executable> {
    this.#expectOpen();
    invariant(weights instanceof HostWeightSet, 'the weights were loaded by another device');
    checkWeights(graph, (name) => weights.spec(name));
    return new ReferenceExecutable(this, graph, weights, options);
  }

  allocate(byteLength: number): DeviceBuffer {
    this.#expectOpen();
    const buffer = new HostBuffer(byteLength, (released) => (this.#bufferBytes -= released));
    this.#bufferBytes += byteLength;
    return buffer;
  }

  async write(buffer: DeviceBuffer, byteOffset: number, data: Uint8Array): Promise<void> {
    await this.#queue;
    buffer.host!.set(data, byteOffset);
  }

  async read(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    await this.#queue;
    return buffer.host!.slice(byteOffset, byteOffset + byteLength);
  }

  memory(): MemoryUse {
    return { weightBytes: this.#weightBytes, bufferBytes: this.#bufferBytes, scratchBytes: 0 };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#queue;
  }

  /** Runs after everything queued before, whether that succeeded or not. */
  enqueue(work: () => Promise<void>): Completion {
    this.#expectOpen();
    const done = this.#queue.then(work);
    this.#queue = done.catch(() => {});
    // A caller that awaits only the last of a chain must not be ended by an unhandled rejection of an earlier one.
    done.catch(() => {});
    return { done };
  }

  #expectOpen(): void {
    if (this.#closed) throw new UnicornError('device/closed', 'The reference device was closed.');
  }
}

function referenceInfo(): DeviceInfo {
  return {
    backend: 'reference',
    id: 'reference',
    name: 'reference evaluator (JavaScript)',
    dtypes: { weights: ['f32', 'f16', 'bf16', ...blockDTypes], kv: kvDTypes },
    shapes: 'dynamic',
    alignmentBytes: 4,
    maxBufferBytes: Number.MAX_SAFE_INTEGER,
    heaps: [{ name: 'host', bytes: totalmem(), hostVisible: true }],
    threads: 1,
    features: [],
  };
}

/** The backend `reference`. */
export const referenceBackend: Backend = {
  name: 'reference',
  apiVersion: backendApiVersion,
  async probe() {
    const info = referenceInfo();
    return [{ id: info.id, name: info.name, usable: true, info }];
  },
  async open() {
    return new ReferenceDevice(referenceInfo());
  },
};
