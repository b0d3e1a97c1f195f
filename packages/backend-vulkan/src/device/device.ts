/** A Vulkan device: one queue of the addon behind the Device contract. */
import { constants } from 'node:buffer';
import { guarded } from '@unicorn-exec/native';
import {
  checkWeights,
  expectCompileArguments,
  expectRange,
  copiedBytes,
  expectApart,
  expectBuffer,
  expectByteLength,
  expectBytes,
  graphSignature,
  maximumDims,
  ownWeightSets,
  throwIfCancelled,
  UnicornError,
} from '@unicorn-exec/tensor';
import type {
  AllocateOptions,
  BufferView,
  ByteRange,
  Completion,
  CompileOptions,
  Device,
  DeviceBuffer,
  DeviceInfo,
  Executable,
  Graph,
  LoadOptions,
  MemoryUse,
  Node,
  PlanOptions,
  SubmissionTime,
  SubmitOptions,
  Support,
  SyncDirection,
  WeightEntry,
  WeightSet,
} from '@unicorn-exec/tensor';
import type { DeviceHandle, MemoryKind, NativeAddon, PhysicalDevice } from '../addon.js';
import { BufferCopy, SyncedTransfer } from './buffer-copy.js';
import { VulkanBuffer } from './buffer.js';
import { chainsOn } from '../dispatch/chain.js';
import type { PipelineSpec } from '../dispatch/dispatch.js';
import { VulkanExecutable, type ExecutableHost } from '../recording/executable.js';
import { FaultRecords } from './faults.js';
import { ForeignBuffers } from './foreign-buffers.js';
import { defaultTiler, type MatmulTiler } from '../kernel/tiler.js';
import { tiledKernels } from '../kernel/kernels.js';
import type { Target } from '../lowering/target.js';
import { lower } from '../lowering/lower.js';
import type { Plan } from '../lowering/plan.js';
import { PipelineCacheFile } from './pipeline-cache.js';
import { Pipelines } from './pipelines.js';
import { prefetchOf } from '../dispatch/prefetch.js';
import { JobQueue } from './queue.js';
import { inputsBlocks, inputsBytes, type ExecutableMemory } from '../recording/submission-layouts.js';
import { ShaderLibrary } from './shader-library.js';
import { VulkanPlanner } from './planner.js';
import { deviceTraits } from './traits.js';
import { tunedTiler } from '../tuning/tuning.js';
import { shippedTunings } from '../tuning/shipped-tunings.js';
import { tunedShadersHash, TuningFile } from '../tuning/tuning-file.js';
import { loadRequest, VulkanWeightSet } from '../weights/weight-set.js';
import { WeightSets } from '../weights/weight-sets.js';

/**
 * Buffers up to this size live in host memory, so that the results of a step (ids, probabilities) are read without another
 * transfer. The pools of keys and values and other operands of kernels are larger.
 */
const hostBufferBytes = 256 * 1024;

/** Values of a symbolic dim for which pipelines are made when a graph is compiled: batches of decoding, and prefill. */
const foreseenDims = [1, 2, 4, 8, 16, 64, 256];

export class VulkanDevice implements Device, ExecutableHost {
  readonly handle: DeviceHandle;
  readonly queue: JobQueue;
  readonly pipelines: Pipelines;
  readonly faults: FaultRecords;
  readonly foreign: ForeignBuffers;
  readonly sharesHostMemory: boolean;
  target: Target;
  /** Free bytes of the heap that weights and caches lie in. Absent on a device that computes on the CPU, in the host's memory. */
  readonly availableBytes?: () => number;
  readonly #planner: VulkanPlanner;
  readonly #cache: PipelineCacheFile;
  readonly #buffers = new Set<VulkanBuffer>();
  readonly #executables = new Set<VulkanExecutable>();
  #arena: VulkanBuffer | undefined;
  #weightBytes = 0;
  #bufferBytes = 0;
  #closed = false;
  #isHandleGone = false;
  #closing: Promise<void> | undefined;

  constructor(
    readonly addon: NativeAddon,
    readonly info: DeviceInfo,
    physical: PhysicalDevice,
  ) {
    this.#planner = new VulkanPlanner(info);
    const shaders = new ShaderLibrary();
    this.#cache = new PipelineCacheFile(physical);
    this.queue = new JobQueue((job) => this.#timesOf(job));
    this.handle = guarded(() =>
      addon.openDevice(physical.index, this.#cache.read(), this.queue.listener, info.id),
    );
    this.foreign = new ForeignBuffers(addon, this.handle, (buffer) => this.#releaseRecorded(buffer));
    this.sharesHostMemory = physical.kind === 'integrated' || physical.kind === 'cpu';
    this.pipelines = new Pipelines(addon, this.handle, this.queue, shaders);
    this.faults = new FaultRecords(addon, this.handle, info.id);
    this.target = {
      traits: deviceTraits(physical),
      table: tiledKernels(tilerOf(physical, shaders)),
      prefetch: prefetchOf(physical),
      chains: chainsOn(physical),
    };
    if (!this.target.traits.software) this.availableBytes = () => this.#budgetLeft(physical);
  }

  /** Times of a job that has ended; the addon counts by the clock of `process.hrtime`. */
  #timesOf(job: number): readonly SubmissionTime[] {
    // The addon knows no times any more when the device was closed meanwhile.
    if (this.#isHandleGone) return [];
    const [begin, end] = guarded(() => this.addon.times(this.handle, job));
    const offset = performance.now() - Number(process.hrtime.bigint()) / 1e6;
    return end === 0 ? [] : [{ device: this.info.id, beginMs: begin! + offset, endMs: end! + offset }];
  }

  supports(node: Node, graph: Graph, options: PlanOptions): Support {
    return this.#planner.supports(node, graph, options);
  }

  // ---------------------------------------------------------------- weights

  async load(entries: readonly WeightEntry[], options: LoadOptions = {}): Promise<WeightSet> {
    this.expectOpen();
    const { signal } = options;
    throwIfCancelled(signal, 'Loading');
    const { paths, names, numbers, bytes, weights, totalBytes } = await loadRequest(entries);
    throwIfCancelled(signal, 'Loading');
    this.expectOpen();
    const { job, load } = guarded(() => this.addon.loadWeights(this.handle, paths, names, numbers, bytes));
    const abort = (): void => this.addon.abortLoad(load);
    const discard = (): void => this.addon.dispose(load);
    await this.queue.loaded({ job, totalBytes, abort, discard }, options);
    const set = new VulkanWeightSet(
      this.addon,
      this.handle,
      load,
      entries,
      weights,
      (byteLength) => (this.#weightBytes -= byteLength),
    );
    this.#weightBytes += set.byteLength;
    return set;
  }

  #isOwnSet(set: WeightSet): set is VulkanWeightSet {
    return set instanceof VulkanWeightSet && set.device === this.handle;
  }

  // ---------------------------------------------------------------- executables

  async compile(
    graph: Graph,
    given: WeightSet | readonly WeightSet[],
    options: CompileOptions,
  ): Promise<Executable> {
    this.expectOpen();
    expectCompileArguments(graph, options);
    const { precision = 'fast' } = options;
    const { sets, holder } = ownWeightSets(given, (set) => this.#isOwnSet(set));
    const weights = new WeightSets(sets);
    checkWeights(graph, (name) => holder(name)?.spec(name));
    for (const node of graph.nodes) {
      const support = this.supports(node, graph, { precision });
      if (!support.ok) {
        throw new UnicornError('unsupported/op', `The Vulkan backend does not support ${support.reason}.`, {
          fields: { node: node.id, op: node.op, reason: support.reason },
          fix: 'Compile the graph for another backend, or place the node on another device.',
        });
      }
    }
    const plan = lower(graph, {
      signature: graphSignature(graph),
      precision,
      maximumDims: maximumDims(graph, options),
      weights,
      target: this.target,
    });
    this.#reserveArena(plan.arenaBytes);
    const executable = new VulkanExecutable(this, plan, weights, await this.#memoryFor(plan), options);
    this.#executables.add(executable);
    try {
      await this.pipelines.ensure(this.#foreseen(executable, plan, options));
    } catch (error) {
      executable.dispose();
      throw error;
    }
    return executable;
  }

  async #memoryFor({ constants, counterBytes, ...plan }: Plan): Promise<ExecutableMemory> {
    const memory = {
      constants: this.#internal(constants.byteLength),
      counters: this.#internal(counterBytes),
      // An executable that gathers rows takes its ids from the host, so it is never submitted ahead. Those rows are large.
      inputs: Array.from({ length: plan.gathers.length > 0 ? 1 : inputsBlocks }, () =>
        this.#internal(inputsBytes({ constants, counterBytes, ...plan }), 'mapped'),
      ),
    };
    if (constants.byteLength > 0) {
      await this.queue.inOrder(() =>
        guarded(() => this.addon.write(this.handle, memory.constants.handle, 0, constants)),
      );
    }
    return memory;
  }

  #internal(byteLength: number, kind: MemoryKind = 'device'): VulkanBuffer {
    // Empty memory too must have an address.
    return VulkanBuffer.allocate(this.addon, this.handle, Math.max(16, byteLength), kind);
  }

  /** Pipelines of the largest dims and, where pipelines are quickly made, of the dims that steps usually have. */
  #foreseen(
    executable: VulkanExecutable,
    { maximumDims: maximum }: Plan,
    { dims }: CompileOptions,
  ): PipelineSpec[] {
    const specs = executable.pipelinesFor(maximum);
    if (this.target.traits.software) return specs;
    const variable = Object.keys(maximum).filter((dim) => typeof dims[dim] === 'object');
    for (const value of foreseenDims) {
      const at = (dim: string): number => Math.min(value, maximum[dim]!);
      const all = Object.fromEntries(variable.map((dim) => [dim, at(dim)]));
      specs.push(...executable.pipelinesFor({ ...maximum, ...all }));
      for (const dim of variable) specs.push(...executable.pipelinesFor({ ...maximum, [dim]: at(dim) }));
    }
    return specs;
  }

  /** Executables of one device run one after the other, over the same memory. */
  get arena(): VulkanBuffer {
    return (this.#arena ??= this.#internal(0));
  }

  #reserveArena(byteLength: number): void {
    if (this.#arena && this.#arena.byteLength >= byteLength) return;
    const larger = this.#internal(byteLength);
    this.#dropArena();
    this.#arena = larger;
  }

  #dropArena(): void {
    if (!this.#arena) return;
    for (const executable of this.#executables) executable.release(this.#arena);
    this.#arena.dispose();
    this.#arena = undefined;
  }

  forget(executable: Executable): void {
    this.#executables.delete(executable as VulkanExecutable);
    if (this.#executables.size > 0) return;
    this.#dropArena();
    this.foreign.clear();
  }

  /** From now on barriers lie between all dispatches, also between those that were recorded without. */
  stopChaining(): void {
    if (!this.target.chains) return;
    this.target = { ...this.target, chains: false };
    for (const executable of this.#executables) executable.forgetLayouts();
  }

  // ---------------------------------------------------------------- buffers

  allocate(byteLength: number, { host = 'any' }: AllocateOptions = {}): DeviceBuffer {
    this.expectOpen();
    expectByteLength(byteLength);
    if (byteLength > this.info.maxBufferBytes) {
      throw new UnicornError(
        'resource/memory',
        `A buffer of ${byteLength} bytes was asked for; this device has buffers of up to ${this.info.maxBufferBytes}.`,
        { fields: { byteLength, left: this.info.maxBufferBytes }, fix: 'Ask for a smaller context.' },
      );
    }
    const isRequired = host === 'required';
    if (isRequired && byteLength > constants.MAX_LENGTH) {
      throw new UnicornError(
        'unsupported/host-memory',
        `JavaScript cannot address a buffer of ${byteLength} bytes.`,
        {
          fields: { device: this.info.id, byteLength, maximum: constants.MAX_LENGTH },
          fix: 'Ask for a smaller context.',
        },
      );
    }
    const kind = byteLength <= hostBufferBytes ? 'host' : isRequired ? 'shared' : 'device';
    const buffer = VulkanBuffer.allocate(this.addon, this.handle, byteLength, kind, (released) => {
      this.#bufferBytes -= byteLength;
      this.#release(released);
    });
    this.#buffers.add(buffer);
    this.#bufferBytes += byteLength;
    return buffer;
  }

  importBuffer(memory: Uint8Array | DeviceBuffer): DeviceBuffer {
    this.expectOpen();
    if (!(memory instanceof Uint8Array)) expectBuffer(memory);
    const buffer = VulkanBuffer.import(this.addon, this.handle, memory, (gone) => this.#release(gone));
    if (!buffer) {
      const host = memory instanceof Uint8Array ? memory : memory.host;
      throw new UnicornError(
        'unsupported/import',
        host
          ? `${this.info.name} cannot address that memory of the host's.`
          : 'The host cannot address the memory of that buffer.',
        { fields: { device: this.info.id }, fix: 'Bind it as it is: it is copied then.' },
      );
    }
    this.#buffers.add(buffer);
    return buffer;
  }

  #release(buffer: VulkanBuffer): void {
    this.#buffers.delete(buffer);
    this.#releaseRecorded(buffer);
  }

  /** What was recorded with a buffer that is gone is forgotten. */
  #releaseRecorded(buffer: VulkanBuffer): void {
    for (const executable of this.#executables) executable.release(buffer);
  }

  copy(from: BufferView, to: BufferView, byteLength: number, options: SubmitOptions = {}): Completion {
    this.expectOpen();
    expectApart(from, to, byteLength);
    for (const { buffer, byteOffset } of [from, to]) expectRange(buffer, byteOffset, byteLength);
    if (!this.#isOwn(from.buffer) && !this.#isOwn(to.buffer)) {
      throw new UnicornError('usage/binding', 'Neither buffer of the copy is of this device.', {
        fix: 'Copy on a device that one of the buffers belongs to.',
      });
    }
    return this.queue.enqueue(new BufferCopy(this, from, to, byteLength), options);
  }

  async write(buffer: DeviceBuffer, byteOffset: number, data: Uint8Array): Promise<void> {
    this.expectOpen();
    const own = this.#own(buffer);
    expectBytes(data);
    expectRange(own, byteOffset, data.byteLength);
    if (data.byteLength === 0) return;
    // The addon copies when it is called, which may be later.
    const bytes = this.queue.isWaiting || own.owner ? copiedBytes(data) : data;
    const start = (): number => guarded(() => this.addon.write(this.handle, own.handle, byteOffset, bytes));
    await this.#transfer(own, 'toDevice', { byteOffset, byteLength: data.byteLength }, start);
  }

  async read(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    this.expectOpen();
    const own = this.#own(buffer);
    expectRange(own, byteOffset, byteLength);
    const into = new Uint8Array(byteLength);
    if (byteLength === 0) return into;
    const start = (): number => guarded(() => this.addon.read(this.handle, own.handle, byteOffset, into));
    await this.#transfer(own, 'toHost', { byteOffset, byteLength }, start);
    return into;
  }

  /** Runs a transfer in its place in the queue, and synchronizes imported memory that is not coherent. */
  async #transfer(
    { owner }: VulkanBuffer,
    direction: SyncDirection,
    range: ByteRange,
    start: () => number,
  ): Promise<void> {
    if (!owner) return this.queue.inOrder(start);
    await this.queue.enqueue(new SyncedTransfer(this.foreign, owner, direction, range, start), {}).done;
  }

  #isOwn(buffer: DeviceBuffer): buffer is VulkanBuffer {
    return buffer instanceof VulkanBuffer && buffer.device === this.handle;
  }

  /** @throws UnicornError `usage/binding` for a buffer of another device, `usage/disposed` */
  #own(buffer: DeviceBuffer): VulkanBuffer {
    if (!this.#isOwn(buffer)) {
      throw new UnicornError('usage/binding', 'The buffer was allocated by another device.', {
        fix: 'Read and write it on its own device, or copy it to a buffer of this one.',
      });
    }
    buffer.expectAlive();
    return buffer;
  }

  memory(): MemoryUse {
    return {
      weightBytes: this.#weightBytes,
      bufferBytes: this.#bufferBytes,
      scratchBytes: (this.#arena?.byteLength ?? 0) + this.foreign.shadowBytes,
      copiedBytes: this.foreign.copiedBytes,
    };
  }

  /** vkAllocateMemory calls so far: generating must not add any. */
  get allocations(): number {
    return guarded(() => this.addon.allocations(this.handle));
  }

  #budgetLeft({ heaps }: PhysicalDevice): number {
    const left = guarded(() => this.addon.budgets(this.handle)).map(({ budgetBytes, usedBytes }) =>
      Math.max(0, budgetBytes - usedBytes),
    );
    return Math.max(0, ...left.filter((_, index) => heaps[index]!.deviceLocal));
  }

  // ---------------------------------------------------------------- end

  close(): Promise<void> {
    this.#closed = true;
    return (this.#closing ??= this.#finish());
  }

  async #finish(): Promise<void> {
    await this.queue.idle();
    if (this.pipelines.count > 0) {
      await this.#cache.write(guarded(() => this.addon.pipelineCache(this.handle)));
    }
    for (const executable of [...this.#executables]) executable.dispose();
    for (const buffer of [...this.#buffers]) buffer.dispose();
    this.foreign.clear();
    this.#dropArena();
    this.faults.dispose();
    this.#isHandleGone = true;
    guarded(() => this.addon.closeDevice(this.handle));
  }

  expectOpen(): void {
    if (this.#closed) {
      throw new UnicornError('device/closed', 'The Vulkan device was closed.', {
        fields: { device: this.info.id },
        fix: 'Open it again, or close it later.',
      });
    }
  }
}

/** How products are cut: by what was measured on this machine, else by what is known of such devices, else by rules. */
function tilerOf(physical: PhysicalDevice, shaders: ShaderLibrary): MatmulTiler {
  const own = new TuningFile(physical, tunedShadersHash(shaders)).read();
  return tunedTiler([own, ...shippedTunings(physical)], defaultTiler);
}
