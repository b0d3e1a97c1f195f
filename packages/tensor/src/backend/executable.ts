/** A compiled graph, what is bound to it, and what tells of its end. */
import type { TensorSpec } from '../graph/graph.js';
import type { BufferView, DeviceBuffer } from './buffer.js';
import type { Precision } from './device-info.js';
import type { Phase } from './planner.js';

/** A value that a symbolic dim always has, or the largest it may have. */
export type DimRange = number | { readonly max: number };

export interface CompileOptions {
  /** One entry for each symbolic dim of the graph. */
  readonly dims: Readonly<Record<string, DimRange>>;
  /** Default: `fast` where the device has it. */
  readonly precision?: Precision;
  /**
   * The phase of every token that the executable will be given. A device whose `numerics` differ by phase computes
   * accordingly; others ignore it. Default: `token`.
   */
  readonly phase?: Phase;
  /** Collects the time of each step; read it from {@link Executable.profile}. */
  readonly profile?: boolean;
}

export interface Signature {
  readonly inputs: Readonly<Record<string, TensorSpec>>;
  readonly outputs: Readonly<Record<string, TensorSpec>>;
  /** Bound buffers that the executable reads and writes in place. */
  readonly state: Readonly<Record<string, TensorSpec>>;
  readonly dims: readonly string[];
}

/**
 * Host data may be bound to inputs only; it is copied before `submit` returns. A buffer of another device may be bound in
 * every role when it has `host`: the device imports it, maps it or copies what the submission touches.
 */
export type Binding = DeviceBuffer | BufferView | Float32Array | Int32Array;

export interface Bindings {
  readonly dims: Readonly<Record<string, number>>;
  /**
   * One entry for each input, output and state of the signature. What an output or a written state is bound to overlaps with
   * nothing else of the submission; devices do not check it, and what such memory holds afterwards is undefined.
   */
  readonly buffers: Readonly<Record<string, Binding>>;
}

export interface SubmitOptions {
  /**
   * The submission begins when these, on this or other devices, have ended; when one of them failed, it fails likewise.
   * A device's queue is first in, first out: what waits for another device holds up everything behind it, transfers
   * included. A device that is composed of several therefore hands a part over when the work that it waits for has ended.
   */
  readonly after?: Completion | readonly Completion[];
}

/** When a device worked on a submission. Both times are of the clock of `performance.now()`, in milliseconds. */
export interface SubmissionTime {
  /** `info.id` of the device. */
  readonly device: string;
  readonly beginMs: number;
  readonly endMs: number;
}

export interface Completion {
  /**
   * Settled off the event loop; rejects with `device/lost` and the like. When it resolves, everything that the submission
   * wrote is visible to later submissions and reads on its device, and in `host` of every bound buffer: at once where the
   * buffer is coherent, after `sync('toHost')` where it is not.
   */
  readonly done: Promise<void>;
  /** One entry for each device that took part, in the order in which they began; empty until `done` has settled. */
  times(): readonly SubmissionTime[];
}

/** What the calls of one kind of step took. Entries are told apart by `device`, `step` and `detail` together. */
export interface ProfileEntry {
  /** `info.id` of the device that ran the step. */
  readonly device: string;
  /** The device's name for the step, for example `rmsNorm+matmul`. */
  readonly step: string;
  /** Stored type and shape of what it works on, for example `q4_0 [18944, 3584]`, where the device tells. */
  readonly detail?: string;
  readonly calls: number;
  readonly seconds: number;
  readonly bytes: number;
  readonly flops: number;
  /** The kernels that the step's calls launched, in order, where the device launches kernels. */
  readonly kernels?: readonly ProfiledKernel[];
}

export interface ProfiledKernel {
  readonly name: string;
  /** Over all calls of the step, like `seconds`. */
  readonly launches: number;
  readonly seconds: number;
  /** Workgroups, thread blocks: over all launches. */
  readonly workgroups: number;
}

export interface Executable {
  readonly signature: Signature;
  /** Memory beyond weights, state and bound buffers. */
  readonly scratchBytes: number;
  /**
   * True where it pays to submit before the submission at work has ended: the device computes while the host does
   * something else, and every input may be bound to a buffer that a submission in flight writes. Absent: false.
   */
  readonly runsAhead?: boolean;
  /** The compiled plan as text, for people and for snapshot tests. */
  describe(): string;
  /**
   * States are touched only in the rows that the submission's slots and block tables name, so two devices may work on
   * disjoint blocks of one state at the same time.
   *
   * @throws UnicornError synchronously: `usage/binding` when a binding is missing, too small or of the wrong kind,
   * `usage/dims` when a dim is above its maximum, `device/closed`, `usage/disposed`; synchronously or as the failure of
   * `done`, `format/truncated`, `format/changed` or `device/io` when a file that the device reads weights in was cut short,
   * written to or lost since they were loaded. Then so does every later submission that reads them
   */
  submit(bindings: Bindings, options?: SubmitOptions): Completion;
  /** Times since compilation, when compiled with `profile`. */
  profile(): readonly ProfileEntry[];
  /** Idempotent. Submissions that have begun go on to their end; one that has yet to begin may fail with `usage/disposed`. */
  dispose(): void;
}
