/**
 * The reference evaluator behind the Backend contract. It runs everywhere, without compiler, driver or native code. It is
 * the oracle of the conformance suite, so it is plain, not fast.
 */
import { totalmem } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { backendApiVersion, type Backend, type Device, type MemoryUse } from '../backend/backend.js';
import {
  checkWeights,
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
  ProfileEntry,
  Signature,
  SubmitOptions,
} from '../backend/executable.js';
import {
  checkHostCopy,
  copiedBytes,
  copyOnHost,
  HostBuffer,
  hostRange,
  HostWeightSet,
  loadHostWeights,
} from '../backend/host-device.js';
import type {
  Estimate,
  EstimateOptions,
  Planner,
  PlanOptions,
  Segment,
  Support,
} from '../backend/planner.js';
import { rooflineEstimate } from '../backend/roofline.js';
import { hostSync } from '../backend/touched.js';
import type { LoadOptions, WeightEntry, WeightSet } from '../backend/weights.js';
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
    private readonly weights: (name: string) => HostTensor,
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
    const resolved = resolveBindings(this.signature, dims, bindings).map((binding) => {
      const { source, byteLength } = binding;
      if (source.kind === 'host') {
        return { ...binding, source: { kind: 'host' as const, bytes: Uint8Array.from(source.bytes) } };
      }
      // What the host cannot address is refused before anything runs.
      hostRange(source.buffer, source.byteOffset, byteLength);
      return binding;
    });
    const sync = hostSync(this.graph, resolved);
    return this.device.enqueue(async () => {
      sync?.before();
      await this.#run(resolved, dims);
      sync?.after();
    }, options);
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
    const steps = evaluateGraph(this.graph, { tensors: bound, weight: this.weights }, dims);
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
      device: this.device.info.id,
      step: node.op,
      calls: (entry?.calls ?? 0) + 1,
      seconds: (entry?.seconds ?? 0) + seconds,
      bytes: (entry?.bytes ?? 0) + bytes,
      flops: (entry?.flops ?? 0) + flops,
    });
  }
}

function boundTensor({ dtype, shape, byteLength, source }: ResolvedBinding): HostTensor {
  if (source.kind === 'host') return new HostTensor(dtype, shape, source.bytes);
  return new HostTensor(dtype, shape, hostRange(source.buffer, source.byteOffset, byteLength));
}

/** Rates of plain JavaScript on one core of a desktop processor, by order of magnitude. */
const modelledSpeed: DeviceSpeed = {
  bytesPerSecond: 1e9,
  flopsPerSecond: { f32: 2e8, fast: 2e8 },
  submitSeconds: 2e-5,
  stepSeconds: 2e-6,
  basis: 'modelled',
};

class ReferencePlanner implements Planner {
  constructor(private readonly info: DeviceInfo) {}

  supports(node: Node, graph: Graph, options: PlanOptions): Support {
    expectPlanArguments(node, graph, options);
    const { precision } = options;
    if (!this.info.precisions.includes(precision)) {
      return { ok: false, reason: `there is no precision ${String(precision)}` };
    }
    const known = ops.some(({ name }) => name === node.op);
    return known ? { ok: true } : { ok: false, reason: `there is no op named "${node.op}"` };
  }

  estimate(segment: Segment, options: EstimateOptions): Estimate {
    expectSegment(segment, options);
    return rooflineEstimate(segment, this.info.speed ?? modelledSpeed, options);
  }
}

class ReferenceDevice implements Device {
  readonly #planner: Planner;
  readonly #queue: SubmissionQueue;
  #closed = false;
  #weightBytes = 0;
  #bufferBytes = 0;

  constructor(readonly info: DeviceInfo) {
    this.#planner = new ReferencePlanner(info);
    this.#queue = new SubmissionQueue(info.id);
  }

  supports(node: Node, graph: Graph, options: PlanOptions): Support {
    return this.#planner.supports(node, graph, options);
  }

  async load(entries: readonly WeightEntry[], options: LoadOptions = {}): Promise<WeightSet> {
    this.#expectOpen();
    const set = await loadHostWeights(entries, options, (byteLength) => (this.#weightBytes -= byteLength));
    this.#weightBytes += set.byteLength;
    return set;
  }

  async compile(
    graph: Graph,
    weights: WeightSet | readonly WeightSet[],
    options: CompileOptions,
  ): Promise<Executable> {
    this.#expectOpen();
    expectCompileArguments(graph, options);
    const { holder } = ownWeightSets(weights, (set) => set instanceof HostWeightSet);
    checkWeights(graph, (name) => holder(name)?.spec(name));
    maximumDims(graph, options);
    const { precision = 'fast' } = options;
    for (const node of graph.nodes) {
      const support = this.supports(node, graph, { precision });
      if (support.ok) continue;
      const isKnown = this.info.precisions.includes(precision);
      throw new UnicornError(
        isKnown ? 'unsupported/op' : 'unsupported/precision',
        `${node.op}: ${support.reason}`,
        {
          fields: { node: node.id, op: node.op },
        },
      );
    }
    return new ReferenceExecutable(this, graph, (name) => holder(name)!.tensor(name), options);
  }

  allocate(byteLength: number, _options: AllocateOptions = {}): DeviceBuffer {
    this.#expectOpen();
    const buffer = HostBuffer.allocate(byteLength, () => (this.#bufferBytes -= byteLength));
    this.#bufferBytes += byteLength;
    return buffer;
  }

  importBuffer(memory: Uint8Array | DeviceBuffer): DeviceBuffer {
    this.#expectOpen();
    return HostBuffer.over(memory);
  }

  async write(buffer: DeviceBuffer, byteOffset: number, data: Uint8Array): Promise<void> {
    const copy = copiedBytes(data);
    await this.enqueue(() => hostRange(buffer, byteOffset, copy.byteLength).set(copy)).done;
  }

  async read(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    let bytes = new Uint8Array(0);
    await this.enqueue(() => void (bytes = hostRange(buffer, byteOffset, byteLength).slice())).done;
    return bytes;
  }

  copy(from: BufferView, to: BufferView, byteLength: number, options?: SubmitOptions): Completion {
    checkHostCopy(from, to, byteLength);
    return this.enqueue(() => copyOnHost(from, to, byteLength), options);
  }

  memory(): MemoryUse {
    return {
      weightBytes: this.#weightBytes,
      bufferBytes: this.#bufferBytes,
      scratchBytes: 0,
      copiedBytes: 0,
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#queue.idle();
  }

  /** Runs after everything queued before, whether that succeeded or not. */
  enqueue(work: () => Promise<void> | void, options?: SubmitOptions): Completion {
    this.#expectOpen();
    const completion = this.#queue.enqueue(work, options);
    // A caller that awaits only the last of several must not be ended by an unhandled rejection of an earlier one.
    completion.done.catch(() => {});
    return completion;
  }

  #expectOpen(): void {
    if (!this.#closed) return;
    throw new UnicornError('device/closed', 'The reference device was closed.', {
      fields: { device: this.info.id },
      fix: 'Open it again, or close it later.',
    });
  }
}

function referenceInfo(): DeviceInfo {
  return {
    backend: 'reference',
    id: 'reference',
    name: 'reference evaluator (JavaScript)',
    dtypes: { weights: ['f32', 'f16', 'bf16', ...blockDTypes], kv: kvDTypes },
    precisions: ['f32', 'fast'],
    activations: { f32: { kind: 'float', dtype: 'f32' }, fast: { kind: 'float', dtype: 'f32' } },
    numerics: { prompt: 'reference', token: 'reference' },
    shapes: 'dynamic',
    rows: { kind: 'any' },
    alignmentBytes: 4,
    maxBufferBytes: Number.MAX_SAFE_INTEGER,
    heaps: [{ name: 'host', bytes: totalmem(), pool: hostPool, hostVisible: true }],
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
      fields: { device: id },
      fix: `Open "${info.id}", the only one.`,
    });
  },
  planner: (info) => new ReferencePlanner(info),
};
