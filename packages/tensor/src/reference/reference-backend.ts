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
import { UnicornError } from '../error.js';
import type { Graph, Node } from '../graph/graph.js';
import { nodeCost } from '../graph/cost.js';
import { printGraph } from '../graph/text.js';
import { HostTensor } from '../host-tensor.js';
import { findOp, ops } from '../op/index.js';
import { kvDTypes } from '../op/kv-cache.js';
import { resolveShape, type DimValues } from '../shape.js';
import { evaluateGraph } from './evaluate.js';

/** How long the evaluator may hold the event loop: half a frame at 30 Hz, so that Ctrl-C and progress stay prompt. */
const turnMs = 16;

class ReferenceExecutable implements Executable {
  readonly signature: Signature;
  readonly scratchBytes: number;
  readonly #profile = new Map<string, ProfileEntry>();
  #disposed = false;

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
    if (this.#disposed) throw new UnicornError('usage/disposed', 'The executable was disposed of.');
    // The caller may change what it gave as soon as this has returned.
    const dims = { ...submissionDims(this.signature, this.options, bindings) };
    const resolved = resolveBindings(this.signature, dims, bindings).map((binding) =>
      binding.source.kind === 'host'
        ? { ...binding, source: { kind: 'host' as const, bytes: Uint8Array.from(binding.source.bytes) } }
        : binding,
    );
    return this.device.enqueue(async () => {
      await options.after?.done;
      await this.#run(resolved, dims);
    });
  }

  profile(): readonly ProfileEntry[] {
    return [...this.#profile.values()];
  }

  dispose(): void {
    this.#disposed = true;
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
    let running: { node: number; since: number } | undefined;
    for (;;) {
      const step = steps.next();
      const now = performance.now();
      if (running && this.options.profile) this.#count(running.node, dims, (now - running.since) / 1000);
      if (step.done) {
        for (const [name, tensor] of Object.entries(step.value))
          bound[name]!.bytes.set(tensor.denseBytes(), bound[name]!.byteOffset);
        return;
      }
      if (now - turn > turnMs) {
        await nextTurn();
        turn = performance.now();
      }
      running = { node: step.value.node, since: performance.now() };
    }
  }

  #count(id: number, dims: DimValues, seconds: number): void {
    const node = this.graph.nodes[id]!;
    const { flops, bytes } = nodeCost(node, this.graph, dims);
    const entry = this.#profile.get(node.op);
    this.#profile.set(node.op, {
      step: node.op,
      calls: (entry?.calls ?? 0) + 1,
      seconds: (entry?.seconds ?? 0) + seconds,
      bytes: (entry?.bytes ?? 0) + bytes,
      flops: (entry?.flops ?? 0) + flops,
    });
  }
}

function boundTensor({ name, dtype, shape, source }: ResolvedBinding): HostTensor {
  if (source.kind === 'host') return new HostTensor(dtype, shape, source.bytes);
  const { host } = source.buffer;
  if (!host)
    throw new UnicornError('usage/binding', `"${name}" is bound to a buffer that the host cannot address.`);
  return new HostTensor(dtype, shape, host, source.byteOffset);
}

function hostBuffer(buffer: DeviceBuffer): HostBuffer {
  if (buffer instanceof HostBuffer) return buffer;
  throw new UnicornError('usage/binding', 'The buffer was allocated by another kind of device.');
}

class ReferenceDevice implements Device {
  #closed = false;
  #queue: Promise<void> = Promise.resolve();
  #weightBytes = 0;
  #bufferBytes = 0;

  constructor(readonly info: DeviceInfo) {}

  supports(node: Node, _graph: Graph): Support {
    const known = ops.some(({ name }) => name === node.op);
    return known ? { ok: true } : { ok: false, reason: `there is no op named "${node.op}"` };
  }

  async load(entries: readonly WeightEntry[], options: LoadOptions = {}): Promise<WeightSet> {
    this.#expectOpen();
    const set = await loadHostWeights(entries, options, (byteLength) => (this.#weightBytes -= byteLength));
    this.#weightBytes += set.byteLength;
    return set;
  }

  async compile(graph: Graph, weights: WeightSet, options: CompileOptions): Promise<Executable> {
    this.#expectOpen();
    if (!(weights instanceof HostWeightSet)) {
      throw new UnicornError('usage/weight', 'The weights were loaded by another kind of device.');
    }
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
    const copy = data.slice();
    await this.enqueue(async () => hostBuffer(buffer).range(byteOffset, copy.byteLength).set(copy)).done;
  }

  async read(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    let bytes = new Uint8Array(0);
    await this.enqueue(async () => {
      bytes = hostBuffer(buffer).range(byteOffset, byteLength).slice();
    }).done;
    return bytes;
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
  async open(id) {
    const info = referenceInfo();
    if (id === undefined || id === info.id) return new ReferenceDevice(info);
    throw new UnicornError('device/unavailable', `There is no reference device "${id}".`, {
      fields: { id },
      fix: `Open "${info.id}", the only one.`,
    });
  },
};
