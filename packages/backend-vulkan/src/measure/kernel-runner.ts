/**
 * Runs single kernels on a device that is opened for them: puts tensors into memory, records dispatches over them, runs
 * them, and reads results. It is for measuring and testing kernels; graphs run on the device of the backend.
 */
import { guarded } from '@unicorn-exec/native';
import { dtypes, elementCount, tensorBytes, type DType } from '@unicorn-exec/tensor';
import type { NativeAddon, PhysicalDevice } from '../addon.js';
import { VulkanBuffer } from '../device/buffer.js';
import { chainLinks } from '../dispatch/chain.js';
import type { DeviceTraits, Dispatch, PipelineSpec, Place } from '../dispatch/dispatch.js';
import type { Operand, WeightOperand } from '../kernel/operand.js';
import { Pipelines } from '../device/pipelines.js';
import { JobQueue } from '../device/queue.js';
import { encodeRecording } from '../recording/recording-words.js';
import { ShaderLibrary } from '../device/shader-library.js';
import { deviceTraits } from '../device/traits.js';
import { weightLayout } from '../weights/weight-layout.js';

interface LoadedWeight {
  readonly address: bigint;
}

export class KernelRunner {
  readonly traits: DeviceTraits;
  readonly #queue: JobQueue;
  readonly #handle;
  readonly #pipelines: Pipelines;
  readonly #buffers: VulkanBuffer[] = [];
  readonly #weights: LoadedWeight[] = [];
  readonly #loads: ReturnType<NativeAddon['loadWeights']>['load'][] = [];

  constructor(
    readonly addon: NativeAddon,
    readonly physical: PhysicalDevice,
    shaders = new ShaderLibrary(),
  ) {
    this.traits = deviceTraits(physical);
    this.#queue = new JobQueue();
    this.#handle = guarded(() =>
      addon.openDevice(physical.index, undefined, this.#queue.listener, physical.name),
    );
    this.#pipelines = new Pipelines(addon, this.#handle, this.#queue, shaders);
  }

  /** The first device, or one of that index. */
  static open(addon: NativeAddon, index = 0, shaders?: ShaderLibrary): KernelRunner {
    const found = guarded(() => addon.probe(false));
    if ('reason' in found) throw new Error(found.reason);
    return new KernelRunner(addon, found.devices[index]!, shaders);
  }

  /** Memory in the device, zero-filled; in the kernels' eyes part of the arena. */
  memory(byteLength: number): Place {
    const buffer = VulkanBuffer.allocate(this.addon, this.#handle, Math.max(16, byteLength), 'device');
    this.#buffers.push(buffer);
    // Each buffer is an arena of its own, at an offset that tells which.
    return { storage: { kind: 'arena' }, byteOffset: (this.#buffers.length - 1) * arenaStride, byteLength };
  }

  async tensor(dtype: DType, shape: readonly number[], data?: ArrayBufferView): Promise<Operand> {
    const place = this.memory(tensorBytes(dtype, shape));
    if (data && data.byteLength > 0) await this.write(place, data);
    return { place, dtype, shape };
  }

  floats(shape: readonly number[], values?: ArrayLike<number>): Promise<Operand> {
    return this.tensor('f32', shape, values && Float32Array.from(values));
  }

  /** A weight as the addon lays it out. */
  async weight(dtype: DType, rows: number, columns: number, bytes: Uint8Array): Promise<WeightOperand> {
    const layout = weightLayout(dtype, rows, columns);
    const numbers = [dtypes.indexOf(dtype), rows, columns, layout.kind, -1, 0, bytes.byteLength, 0];
    const { job, load } = guarded(() =>
      this.addon.loadWeights(this.#handle, [], ['weight'], Float64Array.from(numbers), [bytes]),
    );
    this.#loads.push(load);
    await this.#queue.settled(job);
    const address = guarded(() => this.addon.weightAddresses(load))[0]!;
    this.#weights.push({ address });
    return {
      place: {
        storage: { kind: 'weight', index: this.#weights.length - 1 },
        byteOffset: 0,
        byteLength: layout.byteLength,
      },
      layout,
      dtype,
      rows,
      columns,
      view: { rowStart: 0, rows, columnStart: 0, columns },
    };
  }

  write(place: Place, data: ArrayBufferView): Promise<void> {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const { buffer, byteOffset } = this.#find(place);
    return this.#queue.settled(
      guarded(() => this.addon.write(this.#handle, buffer.handle, byteOffset, bytes)),
    );
  }

  async read({ place }: { readonly place: Place }): Promise<Uint8Array> {
    const into = new Uint8Array(place.byteLength);
    const { buffer, byteOffset } = this.#find(place);
    if (into.byteLength === 0) return into;
    await this.#queue.settled(guarded(() => this.addon.read(this.#handle, buffer.handle, byteOffset, into)));
    return into;
  }

  async readFloats(operand: Operand): Promise<Float32Array> {
    const bytes = await this.read(operand);
    return new Float32Array(bytes.buffer, 0, elementCount(operand.shape));
  }

  /** Runs them once. @returns nanoseconds of each, where the device has timestamps */
  async run(dispatches: readonly Dispatch[], timed = false): Promise<Float64Array> {
    const [times] = await this.runOften(dispatches, 1, timed);
    return times!;
  }

  /** Makes pipelines, several at a time, so that measuring one kernel after the other need not wait for each. */
  async prepare(specs: Iterable<PipelineSpec>): Promise<void> {
    await this.#pipelines.ensure(specs);
  }

  async runOften(dispatches: readonly Dispatch[], times: number, timed = true): Promise<Float64Array[]> {
    if (dispatches.length === 0) return Array.from({ length: times }, () => new Float64Array(0));
    await this.#pipelines.ensure(dispatches.map(({ pipeline }) => pipeline));
    const pipelines = dispatches.map(({ pipeline }) => this.#pipelines.get(pipeline)!);
    const links = chainLinks(dispatches, ({ storage, byteOffset, byteLength }) =>
      storage.kind === 'weight'
        ? undefined
        : { memory: 'arena', begin: byteOffset, end: byteOffset + byteLength },
    );
    const words = encodeRecording(
      dispatches,
      dispatches.map((_, index) => index),
      links,
      (place) => this.address(place),
    );
    const recording = guarded(() => this.addon.record(this.#handle, pipelines, words, timed));
    const holds = [...this.#buffers.map(({ handle }) => handle), ...this.#loads];
    const results: Float64Array[] = [];
    for (let i = 0; i < times; i++) {
      const job = guarded(() =>
        this.addon.submit(this.#handle, recording, [], [], new Float64Array(0), holds, []),
      );
      await this.#queue.settled(job);
      results.push(timed ? guarded(() => this.addon.timings(recording)) : new Float64Array(0));
    }
    this.addon.dispose(recording);
    return results;
  }

  /** Where tensors made from now on begin, for {@link release}. */
  get mark(): number {
    return this.#buffers.length;
  }

  /** Frees tensors made since `mark`. */
  release(mark: number): void {
    for (const buffer of this.#buffers.splice(mark)) buffer.dispose();
  }

  /** Frees all tensors and weights. */
  clear(): void {
    for (const buffer of this.#buffers) buffer.dispose();
    for (const load of this.#loads) this.addon.dispose(load);
    this.#buffers.length = this.#loads.length = this.#weights.length = 0;
  }

  close(): void {
    this.clear();
    this.addon.closeDevice(this.#handle);
  }

  #find(place: Place): { readonly buffer: VulkanBuffer; readonly byteOffset: number } {
    const index = Math.floor(place.byteOffset / arenaStride);
    return { buffer: this.#buffers[index]!, byteOffset: place.byteOffset % arenaStride };
  }

  address(place: Place): bigint {
    if (place.storage.kind === 'weight') {
      return this.#weights[place.storage.index]!.address + BigInt(place.byteOffset);
    }
    const { buffer, byteOffset } = this.#find(place);
    return buffer.address + BigInt(byteOffset);
  }
}

/** No buffer is larger. */
const arenaStride = 2 ** 40;
