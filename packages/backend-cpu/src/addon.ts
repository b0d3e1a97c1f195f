/**
 * The typed mirror of `native/addon.cpp`: what the addon exports. Handles are opaque; arguments are validated by the
 * callers in this package, since the addon only asserts. What it throws becomes an error by `guarded` of the kit.
 */
import type { JobListener } from '@unicorn-exec/native';

declare const handleKind: unique symbol;

/** An object of the addon. */
export interface Handle<Kind extends string> {
  readonly [handleKind]: Kind;
}

export type DeviceHandle = Handle<'device'>;
export type WeightsHandle = Handle<'weights'>;
export type ProgramHandle = Handle<'program'>;
export type BufferHandle = Handle<'buffer'>;

export interface NativeAddon {
  /** SIMD levels that this build has and this processor can run, ascending. */
  probe(): { readonly levels: readonly string[]; readonly best: string };
  /** @param listener told of jobs, with times by {@link steadyClock} */
  openDevice(threads: number, level: string, listener: JobListener): DeviceHandle;
  /** Stops what runs and joins the threads. Idempotent. */
  closeDevice(device: DeviceHandle): void;
  /** Milliseconds since some moment, which is the same for the whole process. */
  steadyClock(): number;
  /** Gives back the memory that the device's programs share, as soon as none runs. */
  trimScratch(device: DeviceHandle): void;
  dispose(handle: WeightsHandle | ProgramHandle): void;
  /**
   * @param placement index into `weightPlacements`
   * @param numbers for each weight: dtype, rows, columns, 1 if it may be packed, index of its path or -1, offset,
   * byteLength
   * @param bytes for each weight without a path its bytes
   */
  loadWeights(
    device: DeviceHandle,
    placement: number,
    paths: readonly string[],
    names: readonly string[],
    numbers: Float64Array,
    bytes: readonly (Uint8Array | undefined)[],
  ): { readonly job: number; readonly load: WeightsHandle };
  abortLoad(load: WeightsHandle): void;
  ownedBytes(load: WeightsHandle): number;
  /** The form of each weight: index into `weightForms`. */
  weightForms(load: WeightsHandle): Uint8Array;
  /** @param exposed whether to make an ArrayBuffer of it, which not every size fits */
  allocate(
    byteLength: number,
    exposed: boolean,
  ): { readonly handle: BufferHandle; readonly memory?: ArrayBuffer };
  /** Copies `bytes` into the buffer, or from it into `bytes`. */
  copyBuffer(handle: BufferHandle, byteOffset: number, bytes: Uint8Array, write: boolean): void;
  disposeBuffer(handle: BufferHandle, memory: ArrayBuffer | undefined): void;
  /** @param loads sets of weights; the index of a weight in `words` counts through them */
  compile(
    device: DeviceHandle,
    loads: readonly WeightsHandle[],
    words: Float64Array,
    names: readonly string[],
    constants: Uint8Array,
  ): { readonly handle: ProgramHandle; readonly scratchBytes: number };
  /**
   * @param bindings for each slot a buffer's handle, or memory of JavaScript
   * @param numbers for each slot: byte offset, byteLength, and {@link BindingMode}
   * @param after jobs of this device that must go well
   */
  submit(
    device: DeviceHandle,
    program: ProgramHandle,
    dims: Float64Array,
    bindings: readonly (BufferHandle | Uint8Array)[],
    numbers: Float64Array,
    after: readonly number[] | undefined,
  ): number;
  /**
   * Moves bytes between two buffers or memories of JavaScript.
   *
   * @param after as of `submit`
   * @returns the job
   */
  copy(
    device: DeviceHandle,
    from: BufferHandle | Uint8Array,
    fromOffset: number,
    to: BufferHandle | Uint8Array,
    toOffset: number,
    byteLength: number,
    after: readonly number[] | undefined,
  ): number;
  /** Seconds and calls of each step. */
  profile(program: ProgramHandle): Float64Array;
  /** Bytes per second that the device's threads read together, from a buffer of that size. */
  measureReadBandwidth(threads: number, byteLength: number): number;
}

export const bindingMode = { copied: 0, read: 1, written: 2 } as const;
