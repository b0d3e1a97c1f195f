/** A CPU device: one thread pool of the addon behind the Device contract. */
import { guarded } from '@unicorn-exec/native';
import {
  copiedBytes,
  checkWeights,
  expectApart,
  expectByteLength,
  expectBytes,
  expectCompileArguments,
  expectRange,
  graphSignature,
  maximumDims,
  ownWeightSets,
  throwIfCancelled,
  UnicornError,
} from '@unicorn-exec/tensor';
import type {
  AllocateOptions,
  BufferView,
  CompileOptions,
  Completion,
  Device,
  DeviceBuffer,
  DeviceInfo,
  Executable,
  Graph,
  HostSync,
  LoadOptions,
  MemoryUse,
  Node,
  PlanOptions,
  Precision,
  SubmitOptions,
  Support,
  WeightEntry,
  WeightSet,
} from '@unicorn-exec/tensor';
import type { DeviceHandle, NativeAddon } from './addon.js';
import { CpuBuffer, ImportedBuffer, memoryOf, mostHostBytes } from './buffer.js';
import { CpuExecutable, detachedBindings, type NativeSubmission, type Submitter } from './executable.js';
import { encodePlan } from './lowering/encode.js';
import { lower } from './lowering/lower.js';
import { CpuPlanner } from './planner.js';
import { CpuQueue, type Work } from './queue.js';
import { CpuWeightSet, loadRequest, weightPlacements, type WeightPlacement } from './weight-set.js';

/** The most bytes that are copied on the event loop, in about 50 us: the way through the queue and back takes as long. */
const mostBytesNow = 512 * 1024;

export class CpuDevice implements Device, Submitter {
  readonly #queue: CpuQueue;
  readonly #planner: CpuPlanner;
  readonly #placement: number;
  readonly #buffers = new Set<CpuBuffer>();
  readonly #executables = new Set<Executable>();
  #weightBytes = 0;
  #bufferBytes = 0;
  #closed = false;
  #closing: Promise<void> | undefined;

  constructor(
    readonly addon: NativeAddon,
    readonly info: DeviceInfo,
    threads: number,
    level: string,
    weights: WeightPlacement,
  ) {
    this.#planner = new CpuPlanner(info);
    this.#placement = weightPlacements.indexOf(weights);
    this.#queue = new CpuQueue(addon, info.id, threads, level);
  }

  supports(node: Node, graph: Graph, options: PlanOptions): Support {
    return this.#planner.supports(node, graph, options);
  }

  async load(entries: readonly WeightEntry[], options: LoadOptions = {}): Promise<WeightSet> {
    this.expectOpen();
    const { signal } = options;
    throwIfCancelled(signal, 'Loading');
    const { paths, names, numbers, bytes } = loadRequest(entries);
    const totalBytes = entries.reduce((sum, _, index) => sum + numbers[7 * index + 6]!, 0);
    const { job, load } = guarded(() =>
      this.addon.loadWeights(this.#queue.handle, this.#placement, paths, names, numbers, bytes),
    );
    const abort = (): void => this.addon.abortLoad(load);
    const discard = (): void => this.addon.dispose(load);
    await this.#queue.jobs.loaded({ job, totalBytes, abort, discard }, options);
    const set = new CpuWeightSet(
      this.addon,
      load,
      entries,
      (byteLength) => (this.#weightBytes -= byteLength),
    );
    this.#weightBytes += set.byteLength;
    return set;
  }

  async compile(
    graph: Graph,
    weights: WeightSet | readonly WeightSet[],
    options: CompileOptions,
  ): Promise<Executable> {
    this.expectOpen();
    expectCompileArguments(graph, options);
    const { precision = 'fast' } = options;
    const { sets, holder } = ownWeightSets(weights, (set) => set instanceof CpuWeightSet);
    checkWeights(graph, (name) => holder(name)?.spec(name));
    this.#expectSupported(graph, precision);
    const signature = graphSignature(graph);
    const plan = lower(graph, {
      signature,
      precision,
      maximumDims: maximumDims(graph, options),
      takesInt8: (name) => holder(name)!.takesInt8(name),
    });
    // The addon counts the weights of all sets as one list.
    const starts = new Map<CpuWeightSet, number>();
    let count = 0;
    for (const set of sets) {
      starts.set(set, count);
      count += set.names.length;
    }
    const weightIndex = (name: string): number => {
      const set = holder(name)!;
      return starts.get(set)! + set.index(name);
    };
    const { words, names, constants } = encodePlan(plan, weightIndex, options.profile ?? false);
    const { handle, scratchBytes } = guarded(() =>
      this.addon.compile(
        this.#queue.handle,
        sets.map((set) => set.handle),
        words,
        names,
        constants,
      ),
    );
    const executable = new CpuExecutable(this, handle, scratchBytes, signature, graph, plan, options);
    this.#executables.add(executable);
    return executable;
  }

  #expectSupported(graph: Graph, precision: Precision): void {
    if (!this.info.precisions.includes(precision)) {
      throw new UnicornError(
        'unsupported/precision',
        `The CPU backend does not compute at precision ${String(precision)}.`,
        {
          fields: { precision: String(precision), known: [...this.info.precisions] },
          fix: `Use one of ${this.info.precisions.join(', ')}.`,
        },
      );
    }
    for (const node of graph.nodes) {
      const support = this.supports(node, graph, { precision });
      if (support.ok) continue;
      throw new UnicornError('unsupported/op', `The CPU backend does not support ${support.reason}.`, {
        fields: { node: node.id, op: node.op, reason: support.reason },
        fix: 'Compile the graph for another backend, or place the node on another device.',
      });
    }
  }

  allocate(byteLength: number, { host = 'any' }: AllocateOptions = {}): DeviceBuffer {
    this.expectOpen();
    expectByteLength(byteLength);
    const left = this.info.maxBufferBytes - this.#bufferBytes;
    if (byteLength > left) {
      throw new UnicornError(
        'resource/memory',
        `A buffer of ${byteLength} bytes was asked for; ${Math.max(0, left)} bytes are left.`,
        { fields: { byteLength, left }, fix: 'Ask for a smaller context.' },
      );
    }
    if (host === 'required' && byteLength > mostHostBytes) {
      throw new UnicornError(
        'unsupported/host-memory',
        `A buffer of ${byteLength} bytes is larger than an ArrayBuffer can be here (${mostHostBytes} bytes).`,
        { fields: { byteLength, mostHostBytes }, fix: 'Use a newer version of Node, or smaller buffers.' },
      );
    }
    const buffer: CpuBuffer = new CpuBuffer(this.addon, byteLength, (released) => {
      this.#bufferBytes -= released;
      this.#buffers.delete(buffer);
    });
    this.#buffers.add(buffer);
    this.#bufferBytes += byteLength;
    return buffer;
  }

  importBuffer(memory: Uint8Array | DeviceBuffer): DeviceBuffer {
    this.expectOpen();
    return new ImportedBuffer(memory);
  }

  copy(from: BufferView, to: BufferView, byteLength: number, options: SubmitOptions = {}): Completion {
    this.expectOpen();
    expectApart(from, to, byteLength);
    for (const { buffer, byteOffset } of [from, to]) expectRange(buffer, byteOffset, byteLength);
    return this.#copy(from, to, byteLength, options);
  }

  async write(buffer: DeviceBuffer, byteOffset: number, data: Uint8Array): Promise<void> {
    this.expectOpen();
    expectBytes(data);
    const { byteLength } = data;
    expectRange(buffer, byteOffset, byteLength);
    if (this.#copiesNow(byteLength)) {
      const memory = memoryOf(buffer);
      if (memory instanceof Uint8Array) memory.set(data, byteOffset);
      else guarded(() => this.addon.copyBuffer(memory, byteOffset, data, true));
      buffer.sync?.('toDevice', [{ byteOffset, byteLength }]);
      return;
    }
    const from = { buffer: new ImportedBuffer(copiedBytes(data)), byteOffset: 0 };
    await this.#copy(from, { buffer, byteOffset }, byteLength).done;
  }

  async read(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    this.expectOpen();
    expectRange(buffer, byteOffset, byteLength);
    const data = new Uint8Array(byteLength);
    if (this.#copiesNow(byteLength)) {
      const memory = memoryOf(buffer);
      buffer.sync?.('toHost', [{ byteOffset, byteLength }]);
      if (memory instanceof Uint8Array) data.set(memory.subarray(byteOffset, byteOffset + byteLength));
      else guarded(() => this.addon.copyBuffer(memory, byteOffset, data, false));
      return data;
    }
    const to = { buffer: new ImportedBuffer(data), byteOffset: 0 };
    await this.#copy({ buffer, byteOffset }, to, byteLength).done;
    return data;
  }

  /** Whether a copy may go beside the queue: nothing is queued, and it is so small that it ends sooner there. */
  #copiesNow(byteLength: number): boolean {
    return byteLength <= mostBytesNow && this.#queue.isIdle;
  }

  #copy(from: BufferView, to: BufferView, byteLength: number, options?: SubmitOptions): Completion {
    const [source, target] = [memoryOf(from.buffer), memoryOf(to.buffer)];
    const isCoherent = !from.buffer.sync && !to.buffer.sync;
    const work: Work = {
      begin: (after) =>
        this.addon.copy(
          this.#queue.handle,
          source,
          from.byteOffset,
          target,
          to.byteOffset,
          byteLength,
          after,
        ),
      holds: [source, target],
      sync: isCoherent
        ? undefined
        : {
            before: () => from.buffer.sync?.('toHost', [{ byteOffset: from.byteOffset, byteLength }]),
            after: () => to.buffer.sync?.('toDevice', [{ byteOffset: to.byteOffset, byteLength }]),
          },
    };
    return this.#queue.enqueue(work, options);
  }

  memory(): MemoryUse {
    return {
      weightBytes: this.#weightBytes,
      bufferBytes: this.#bufferBytes,
      // Executables of one device run one after the other, over the same memory.
      scratchBytes: Math.max(0, ...[...this.#executables].map(({ scratchBytes }) => scratchBytes)),
      // Whatever has a `host` is bound where it lies.
      copiedBytes: 0,
    };
  }

  forget(executable: Executable): void {
    this.#executables.delete(executable);
    if (this.#executables.size === 0 && !this.#closed) this.addon.trimScratch(this.#queue.handle);
  }

  close(): Promise<void> {
    this.#closed = true;
    return (this.#closing ??= this.#finish());
  }

  async #finish(): Promise<void> {
    await this.#queue.idle();
    this.addon.closeDevice(this.#queue.handle);
    for (const buffer of [...this.#buffers]) buffer.dispose();
  }

  enqueue(submission: NativeSubmission, options?: SubmitOptions): Completion {
    return this.#queue.enqueue(new SubmissionWork(this.addon, this.#queue.handle, submission), options);
  }

  expectOpen(): void {
    if (!this.#closed) return;
    throw new UnicornError('device/closed', 'The CPU device was closed.', {
      fields: { device: this.info.id },
      fix: 'Open it again, or close it later.',
    });
  }
}

/** The work of one submission. */
class SubmissionWork implements Work {
  constructor(
    private readonly addon: NativeAddon,
    private readonly device: DeviceHandle,
    private readonly submission: NativeSubmission,
  ) {}

  get holds(): readonly unknown[] {
    return this.submission.bindings;
  }

  get sync(): HostSync | undefined {
    return this.submission.sync;
  }

  begin(after: readonly number[] | undefined): number {
    const { program, dims, bindings, numbers } = this.submission;
    return this.addon.submit(this.device, program, dims, bindings, numbers, after);
  }

  detached(): Work {
    const submission = { ...this.submission, bindings: detachedBindings(this.submission) };
    return new SubmissionWork(this.addon, this.device, submission);
  }
}
