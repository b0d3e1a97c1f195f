/**
 * The Backend contract: the unit handed to a device is a compiled graph, not an op. Types only; two devices that
 * follow it to the letter are `../null`, to copy from, and `../reference`, the oracle.
 *
 * The order of calls: probe, open, load (weights, once), allocate (state), compile (as often as needed), submit.
 * Everything that a device hands out ends with it: after `close` every call rejects with `device/closed`. A call on what
 * was disposed of earlier gives `usage/disposed`. Errors of the family `device` name the device in `fields.device`.
 */
import type { Graph, Node } from '../graph/graph.js';
import type { AllocateOptions, BufferView, DeviceBuffer } from './buffer.js';
import type { DeviceInfo, DeviceSpeed } from './device-info.js';
import type { CompileOptions, Completion, Executable, SubmitOptions } from './executable.js';
import type { Planner, PlanOptions, Support } from './planner.js';
import type { LoadOptions, WeightEntry, WeightSet } from './weights.js';

/** The version of this contract. A loader refuses a backend of another one. */
export const backendApiVersion = 2;

export interface Backend {
  /** `cpu`, `vulkan`, `reference`, ... */
  readonly name: string;
  readonly apiVersion: number;
  /** Lists devices. Never throws because hardware or a driver is absent: that is a description with a reason. */
  probe(): Promise<readonly DeviceDescription[]>;
  /**
   * @param id one that `probe` listed; the first usable device by default
   * @throws UnicornError `device/unavailable` with the reason and the fix that `probe` gives
   */
  open(id?: string, options?: OpenOptions): Promise<Device>;
  /** Answers for a device of this backend that is described by `info`, whether or not this machine has it. */
  planner(info: DeviceInfo): Planner;
  /**
   * Measures the rates of a device and keeps them for this machine, so that later probes find them in `info.speed`. Takes
   * up to a few seconds, in which the device should do nothing else.
   *
   * @throws UnicornError as `open`
   */
  measure?(id?: string): Promise<DeviceSpeed>;
}

export interface OpenOptions {
  /** Threads of a device that computes on the CPU. Default: the physical cores that the process may use. */
  readonly threads?: number;
}

export type DeviceDescription =
  | { readonly id: string; readonly name: string; readonly usable: true; readonly info: DeviceInfo }
  | {
      readonly id: string;
      readonly name: string;
      readonly usable: false;
      readonly reason: string;
      readonly fix?: string;
    };

export interface MemoryUse {
  readonly weightBytes: number;
  readonly bufferBytes: number;
  readonly scratchBytes: number;
  /**
   * Bytes that the device has copied, since it was opened, because they lay in memory of another device that it could
   * neither import nor map. What a caller asked for by `read`, `write` and `copy` is not counted.
   */
  readonly copiedBytes: number;
}

export interface Device {
  readonly info: DeviceInfo;
  /** As the backend's planner for `info` answers. */
  supports(node: Node, graph: Graph, options: PlanOptions): Support;
  /**
   * @throws UnicornError `usage/weight` for a name given twice or bytes that do not fit the shape, `usage/file` for a file
   * that cannot be opened, `format/truncated` for one that ends too early, `format/changed` for one that is written to
   * meanwhile, `usage/cancelled` when the signal aborts
   */
  load(entries: readonly WeightEntry[], options?: LoadOptions): Promise<WeightSet>;
  /**
   * @param weights one set or several whose names are disjoint: an adapter is loaded later than its model
   * @throws UnicornError `unsupported/op` naming the first node that `supports` refuses, `unsupported/precision`,
   * `usage/graph` for what is not a graph, `usage/option`, `usage/weight` for a weight that the sets lack, hold otherwise or hold twice, `usage/dims` for a symbolic dim without a
   * value
   */
  compile(
    graph: Graph,
    weights: WeightSet | readonly WeightSet[],
    options: CompileOptions,
  ): Promise<Executable>;
  /**
   * Zero-filled.
   *
   * @throws UnicornError `resource/memory` with the bytes asked for and left, `unsupported/host-memory` when `host` is
   * required and the device has no memory that the host can address
   */
  allocate(byteLength: number, options?: AllocateOptions): DeviceBuffer;
  /**
   * A buffer of this device over memory that is there already: the host's, or another device's with `host`. Nothing is
   * copied. The memory stays its owner's: disposing of the result frees nothing of it, and it must outlive the result.
   * Where it is not coherent, this device synchronizes it when the result is bound, as it would the buffer itself.
   *
   * @throws UnicornError `unsupported/import` when this device cannot address that memory; it may still be bound, and is
   * then copied
   */
  importBuffer(memory: Uint8Array | DeviceBuffer): DeviceBuffer;
  /**
   * Transfers keep the order of the queue: a write does not overtake a submission made before it, a read sees its result.
   *
   * @throws UnicornError `usage/range` outside the buffer
   */
  write(buffer: DeviceBuffer, byteOffset: number, data: Uint8Array): Promise<void>;
  /** @throws UnicornError `usage/range` outside the buffer. */
  read(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array>;
  /**
   * Moves bytes between two buffers in the order of the queue, without JavaScript in between. One of them is this
   * device's; the other may be another's when it has `host`. Ranges of one buffer must not overlap.
   *
   * @throws UnicornError `usage/range` outside a buffer or for ranges that overlap, `usage/binding` for a foreign buffer
   * without `host`
   */
  copy(from: BufferView, to: BufferView, byteLength: number, options?: SubmitOptions): Completion;
  memory(): MemoryUse;
  /** Bytes of its own memory that the device may still give, now. Absent where it computes in the host's memory. */
  availableBytes?(): number;
  /** Idempotent. Waits for submissions in flight. */
  close(): Promise<void>;
}
