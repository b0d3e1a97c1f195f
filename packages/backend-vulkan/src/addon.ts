/**
 * The typed mirror of `native/addon.cpp`: Vulkan as this backend needs it, without graphs. Handles are opaque;
 * the addon checks what could crash it (handles of the wrong kind, ranges, sizes of typed arrays) and throws or settles
 * with a failure as JSON, which the kit (`guarded`, `JobTable`) turns into an error.
 */
import type { JobListener } from '@unicorn-exec/native';

declare const handleKind: unique symbol;

/** An object of the addon. Garbage collection frees it; `dispose` frees it as soon as no job uses it. */
export interface Handle<Kind extends string> {
  readonly [handleKind]: Kind;
}

export type DeviceHandle = Handle<'device'>;
export type BufferHandle = Handle<'buffer'>;
export type WeightsHandle = Handle<'weights'>;
export type PipelineHandle = Handle<'pipeline'>;
export type RecordingHandle = Handle<'recording'>;

export interface PhysicalDevice {
  /** Position among all physical devices that the loader lists. */
  readonly index: number;
  /** The device's UUID in hex: an id that survives a change of order. */
  readonly uuid: string;
  readonly name: string;
  readonly kind: 'discrete' | 'integrated' | 'virtual' | 'cpu' | 'other';
  readonly vendorId: number;
  readonly deviceId: number;
  readonly driver: string;
  /** For example `1.4.312`. */
  readonly apiVersion: string;
  /** A number that changes with the driver: part of the key of what is cached on disk. */
  readonly pipelineCacheUuid: string;
  /** Features that this backend requires and the device lacks; empty when the device is usable. */
  readonly missing: readonly string[];
  readonly extensions: readonly string[];
  readonly subgroupSize: number;
  readonly minSubgroupSize: number;
  readonly maxSubgroupSize: number;
  readonly maxInvocations: number;
  readonly sharedMemoryBytes: number;
  readonly maxAllocationBytes: number;
  readonly maxPushConstantBytes: number;
  readonly maxGroups: readonly [number, number, number];
  readonly timestampPeriodNs: number;
  /** Compute units or streaming multiprocessors where an extension tells; 0 where none does. */
  readonly computeUnits: number;
  readonly float16: boolean;
  readonly int8: boolean;
  readonly integerDot: boolean;
  readonly memoryBudget: boolean;
  readonly externalMemoryHost: boolean;
  /** [m, n, k, a, result, scope] as VkComponentTypeKHR and VkScopeKHR numbers. */
  readonly cooperativeMatrix: readonly (readonly [number, number, number, number, number, number])[];
  readonly heaps: readonly {
    readonly bytes: number;
    readonly deviceLocal: boolean;
    readonly hostVisible: boolean;
  }[];
}

export type ProbeResult =
  | { readonly loader: string; readonly devices: readonly PhysicalDevice[] }
  | { readonly reason: string; readonly fix: string };

/**
 * Where a buffer lives. `device`: device-local. `mapped`: device-local and written by the host without a transfer, where
 * there is such memory (resizable BAR, unified). `host`: host-cached and mapped, for small results that the host reads.
 * `shared`: mapped and host-cached, of any size, perhaps not coherent, for memory that several devices work on.
 */
export type MemoryKind = 'device' | 'mapped' | 'host' | 'shared';

/**
 * Rows of a weight that stays in host memory, copied at submission to where the recording reads them: as a weight of
 * `ids.length` rows in the layout that it was loaded with (`weightLayout(dtype, ids.length, columns)`), row i that of
 * `ids[i]`.
 */
export interface Gather {
  readonly weights: WeightsHandle;
  /** Index of the weight in its set. */
  readonly weight: number;
  /** Index of the host input, of this submission, that has the ids: i32. */
  readonly ids: number;
  /** An id past the table: `usage/token-id` is thrown, or row 0 is taken. -1, no token, is row 0; other negative ids are errors always. */
  readonly beyond: 'error' | 'firstRow';
  readonly target: BufferHandle;
  /** A multiple of 16. */
  readonly byteOffset: number;
}

export interface NativeAddon {
  /** Version of this interface; a stale build is refused. */
  readonly version: number;
  /**
   * Opens the loader (`libvulkan.so.1`, or what UNICORN_VULKAN_LOADER names) and lists devices. Never throws because
   * something is absent.
   *
   * @param validation enables VK_LAYER_KHRONOS_validation; its messages are kept for {@link validationMessages}
   */
  probe(validation: boolean): ProbeResult;
  /** Warnings and errors of the validation layer so far, and forgets them. */
  validationMessages(): readonly string[];
  /** @param id what failures call the device in `fields.device` */
  openDevice(
    index: number,
    pipelineCache: Uint8Array | undefined,
    listener: JobListener,
    id: string,
  ): DeviceHandle;
  /** Waits for the queue, stops the threads, frees everything. Idempotent. */
  closeDevice(device: DeviceHandle): void;
  /** Bytes of each heap that this process may still use (VK_EXT_memory_budget, else heap size less what is allocated). */
  budgets(device: DeviceHandle): readonly { readonly budgetBytes: number; readonly usedBytes: number }[];
  /** vkAllocateMemory calls so far: generating must not add any. */
  allocations(device: DeviceHandle): number;
  pipelineCache(device: DeviceHandle): Uint8Array;
  dispose(handle: BufferHandle | WeightsHandle | PipelineHandle | RecordingHandle): void;

  /**
   * Zero-filled. `memory` is there for the kinds `host` and `shared`, and for `device` where the host reads device memory as
   * fast as its own (up to 1 GiB). Writes to it are not ordered with submissions in flight. Where it is not coherent it
   * wants {@link syncBuffer}.
   */
  allocate(
    device: DeviceHandle,
    byteLength: number,
    kind: MemoryKind,
  ): {
    readonly handle: BufferHandle;
    readonly address: bigint;
    readonly memory?: ArrayBuffer;
    readonly coherent: boolean;
  };
  /**
   * A buffer over memory of the host, which the caller keeps as long as the buffer. Undefined where the driver refuses the
   * memory, or where it does not begin at a multiple of 16 bytes.
   */
  importMemory(
    device: DeviceHandle,
    memory: Uint8Array,
  ): { readonly handle: BufferHandle; readonly address: bigint } | undefined;
  /**
   * Makes visible to the host what the device wrote, or to the device what the host wrote.
   *
   * @param ranges [offset, length, offset, length, ...] in bytes
   */
  syncBuffer(device: DeviceHandle, buffer: BufferHandle, toHost: boolean, ranges: Float64Array): void;
  /** Detaches `memory` and frees when no submission uses the buffer any more. */
  disposeBuffer(handle: BufferHandle, memory: ArrayBuffer | undefined): void;
  /** A job in queue order: host to device. The data is copied before this returns. */
  write(device: DeviceHandle, buffer: BufferHandle, byteOffset: number, data: Uint8Array): number;
  /** A job in queue order: from one buffer to another. */
  copy(
    device: DeviceHandle,
    source: BufferHandle,
    sourceOffset: number,
    target: BufferHandle,
    targetOffset: number,
    byteLength: number,
  ): number;
  /** A job in queue order: device to host; `into` holds the bytes when the job has ended. */
  read(device: DeviceHandle, buffer: BufferHandle, byteOffset: number, into: Uint8Array): number;

  /**
   * A job: maps the files, lays weights out as `native/weights/weight-layout.h` says, uploads. Progress is reported in source bytes.
   *
   * @param numbers for each weight: dtype (index in `dtypes`), rows, columns, layout (0 as stored, 1 planes, 2 widened
   * to f32), index of its path or -1, offset, byteLength, 1 if it stays in host memory
   * @param bytes for each weight without a path its bytes
   */
  loadWeights(
    device: DeviceHandle,
    paths: readonly string[],
    names: readonly string[],
    numbers: Float64Array,
    bytes: readonly (Uint8Array | undefined)[],
  ): { readonly job: number; readonly load: WeightsHandle };
  abortLoad(load: WeightsHandle): void;
  /** The address of each weight, 0 for those in host memory. Valid once the job has ended. */
  weightAddresses(load: WeightsHandle): BigUint64Array;
  /** Device memory that the weights occupy. */
  weightBytes(load: WeightsHandle): number;
  /** Bytes that the device reads where the file is mapped; no part of `weightBytes`. */
  importedBytes(load: WeightsHandle): number;
  /** Bytes of host memory that gathers of these weights have read so far. */
  gatheredBytes(load: WeightsHandle): number;

  /**
   * A job: compiles pipelines, several at a time.
   *
   * @param shaders SPIR-V of each
   * @param constants specialization constants of each, ids 0, 1, ...
   * @param subgroupSizes required size of each, 0 for any
   */
  createPipelines(
    device: DeviceHandle,
    shaders: readonly Uint8Array[],
    constants: readonly Uint32Array[],
    subgroupSizes: Uint32Array,
  ): { readonly job: number; readonly pipelines: readonly PipelineHandle[] };

  /**
   * Records a command buffer that can be submitted again and again.
   *
   * @param words for each dispatch: index into `pipelines`, groups x, y, z, 1 if a barrier comes first, number of push
   * constant words, those words
   * @param timed writes a timestamp before the first and after each dispatch
   */
  record(
    device: DeviceHandle,
    pipelines: readonly PipelineHandle[],
    words: Uint32Array,
    timed: boolean,
  ): RecordingHandle;
  /**
   * A job in queue order: writes host data and gathered rows into their places, then runs the recording. A place may be
   * one that a submission in flight still reads: the data goes there when that has ended. It must not overlap another
   * place of the same submission.
   *
   * @param inputs host data; copied before this returns
   * @param targets for each of `inputs` the buffer that it goes to
   * @param offsets for each of `inputs` the byte offset in it
   * @param holds every other buffer and weight set that the recording uses: kept alive, and known to be in use, until it
   * has run
   * @param gathers rows of weights in host memory; copied before this returns
   */
  submit(
    device: DeviceHandle,
    recording: RecordingHandle,
    inputs: readonly Uint8Array[],
    targets: readonly BufferHandle[],
    offsets: Float64Array,
    holds: readonly (BufferHandle | WeightsHandle)[],
    gathers: readonly Gather[],
  ): number;
  /**
   * Begin and end of a submission or a copy that has ended, in milliseconds of the system's monotonic clock
   * (`process.hrtime`). They are told once. The begin is when it was submitted, or when the job before it had ended.
   */
  times(device: DeviceHandle, job: number): Float64Array;
  /** Nanoseconds of each dispatch in the last run of a timed recording, once its job has ended. */
  timings(recording: RecordingHandle): Float64Array;
}
