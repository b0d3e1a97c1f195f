/**
 * Runs dispatches by themselves on the first device, for tests of kernels: every operand in a buffer of its own, with
 * bytes around it that must not change. No graph, no lowering.
 */
import { HostTensor, tensorBytes, type DType } from '@unicorn-exec/tensor';
import type { BufferHandle, DeviceHandle, NativeAddon } from '../src/addon.js';
import type { DeviceTraits, Dispatch, Place } from '../src/dispatch/dispatch.js';
import { chainHead, chainLinks } from '../src/dispatch/chain.js';
import type { Operand } from '../src/kernel/operand.js';
import { diagnoseAddon } from '../src/load-addon.js';
import { pipelineKey, Pipelines } from '../src/device/pipelines.js';
import { JobQueue } from '../src/device/queue.js';
import { encodeRecording } from '../src/recording/recording-words.js';
import { ShaderLibrary } from '../src/device/shader-library.js';
import { deviceTraits } from '../src/device/traits.js';

interface OwnBuffer {
  readonly handle: BufferHandle;
  readonly address: bigint;
  readonly byteLength: number;
}

/** Around every operand: more than a vector, and nothing that a kernel would write. */
const border = 64;

/** Behind what inputs begin with lies the fault record. */
const recordOffset = 32;
const borderByte = 0xa5;

const addon = diagnoseAddon().loaded?.addon;

/** Why kernels cannot be run here; undefined when they can. */
export function kernelProblem(): string | undefined {
  if (!addon) return 'needs the native addon';
  const probed = addon.probe(true);
  if ('reason' in probed) return probed.reason;
  return probed.devices.some(({ missing }) => missing.length === 0) ? undefined : 'no usable device';
}

export class KernelRun {
  readonly #buffers: OwnBuffer[] = [];
  readonly #record: OwnBuffer;

  private constructor(
    private readonly addon: NativeAddon,
    private readonly device: DeviceHandle,
    private readonly queue: JobQueue,
    private readonly pipelines: Pipelines,
    readonly traits: DeviceTraits,
  ) {
    this.#record = this.#allocate(recordOffset + 16);
    void this.#settle(this.addon.write(this.device, this.#record.handle, recordOffset, new Uint8Array(16)));
  }

  static open(): KernelRun {
    if (!addon) throw new Error('no addon');
    const probed = addon.probe(true);
    if ('reason' in probed) throw new Error(probed.reason);
    const physical = probed.devices.find(({ missing }) => missing.length === 0)!;
    const queue = new JobQueue();
    const device = addon.openDevice(physical.index, undefined, queue.listener, 'test');
    const pipelines = new Pipelines(addon, device, queue, new ShaderLibrary());
    return new KernelRun(addon, device, queue, pipelines, deviceTraits(physical));
  }

  close(): string[] {
    this.addon.closeDevice(this.device);
    return [...this.addon.validationMessages()];
  }

  #allocate(byteLength: number): OwnBuffer {
    return { ...this.addon.allocate(this.device, byteLength, 'device'), byteLength };
  }

  #settle(job: number): Promise<void> {
    return this.queue.settled(job);
  }

  get faults(): Place {
    return { storage: { kind: 'inputs' }, byteOffset: 0, byteLength: 8 };
  }

  /** The code of the fault that was noted since the last call; 0: none. */
  async takeFault(): Promise<number> {
    const words = new Uint32Array(4);
    const { handle } = this.#record;
    await this.#settle(this.addon.read(this.device, handle, recordOffset, new Uint8Array(words.buffer)));
    await this.#settle(this.addon.write(this.device, handle, recordOffset, new Uint8Array(16)));
    return words[0]!;
  }

  /** Memory without an operand's meaning. */
  async memory(byteLength: number): Promise<Place> {
    const { place } = await this.operand('u8', [Math.max(4, byteLength)]);
    return place;
  }

  /** Counters, which kernels leave at zero. */
  async zeros(byteLength: number): Promise<Place> {
    const { place } = await this.operand('u8', [byteLength], new Uint8Array(byteLength));
    return place;
  }

  /** An operand that holds `bytes`, or junk. */
  async operand(dtype: DType, shape: readonly number[], bytes?: Uint8Array): Promise<Operand> {
    const byteLength = tensorBytes(dtype, shape);
    const buffer = this.#allocate(Math.ceil((byteLength + 2 * border) / 16) * 16);
    const image = new Uint8Array(buffer.byteLength).fill(borderByte);
    if (bytes) image.set(bytes.subarray(0, byteLength), border);
    await this.#settle(this.addon.write(this.device, buffer.handle, 0, image));
    const index = this.#buffers.push(buffer) - 1;
    return { place: { storage: { kind: 'binding', index }, byteOffset: border, byteLength }, dtype, shape };
  }

  tensor(tensor: HostTensor): Promise<Operand> {
    return this.operand(tensor.dtype, tensor.shape, tensor.denseBytes());
  }

  /** @throws Error when a kernel has written beside it */
  async read({ place, dtype, shape }: Operand): Promise<HostTensor> {
    if (place.storage.kind !== 'binding') throw new Error('not an operand of this run');
    const buffer = this.#buffers[place.storage.index]!;
    const image = new Uint8Array(buffer.byteLength);
    await this.#settle(this.addon.read(this.device, buffer.handle, 0, image));
    const end = border + place.byteLength;
    const outside = [...image.subarray(0, border), ...image.subarray(end)];
    if (outside.some((byte) => byte !== borderByte))
      throw new Error('a kernel has written beside an operand');
    return new HostTensor(dtype, shape, image.slice(border, end));
  }

  async run(dispatches: readonly Dispatch[]): Promise<void> {
    if (dispatches.length === 0) return;
    await this.pipelines.ensure(dispatches.map(({ pipeline }) => pipeline));
    const keys = [...new Set(dispatches.map(({ pipeline }) => pipelineKey(pipeline)))];
    const handles = keys.map((key) =>
      this.pipelines.get(dispatches.find(({ pipeline }) => pipelineKey(pipeline) === key)!.pipeline)!,
    );
    const words = encodeRecording(
      dispatches,
      dispatches.map(({ pipeline }) => keys.indexOf(pipelineKey(pipeline))),
      chainLinks(dispatches, ({ storage, byteOffset, byteLength }) =>
        storage.kind === 'binding'
          ? { memory: storage.index, begin: byteOffset, end: byteOffset + byteLength }
          : undefined,
      ),
      ({ storage, byteOffset }) => {
        if (storage.kind === 'inputs') return this.#record.address;
        if (storage.kind !== 'binding') throw new Error(`no ${storage.kind} here`);
        return this.#buffers[storage.index]!.address + BigInt(byteOffset);
      },
    );
    const head = chainHead(this.#record.address + BigInt(recordOffset), this.traits);
    await this.#settle(this.addon.write(this.device, this.#record.handle, 0, head));
    const recording = this.addon.record(this.device, handles, words, false);
    const holds = [this.#record, ...this.#buffers].map(({ handle }) => handle);
    await this.#settle(this.addon.submit(this.device, recording, [], [], new Float64Array(), holds, []));
    this.addon.dispose(recording);
  }
}
