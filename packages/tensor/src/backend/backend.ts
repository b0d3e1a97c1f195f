/**
 * The Backend contract: the unit handed to a device is a compiled graph, not an op. Types only; two devices that
 * follow it to the letter are `../null` (to copy from) and `../reference` (the oracle).
 *
 * The order of calls: probe, open, load (weights, once), allocate (state), compile (as often as needed), submit.
 * Everything a device hands out ends with it: after `close` every call rejects with `device/closed`. What was disposed
 * of by itself answers with `usage/disposed`.
 */
import type { DType } from '../dtype.js';
import type { Graph, Node, TensorSpec } from '../graph/graph.js';

/** The version of this contract. A loader refuses a backend of another one. */
export const backendApiVersion = 1;

export interface Backend {
  /** `cpu`, `vulkan`, `npu`, `reference`, ... */
  readonly name: string;
  readonly apiVersion: number;
  /** Lists devices. Never throws because hardware or a driver is absent: that is a description with a reason. */
  probe(): Promise<readonly DeviceDescription[]>;
  /**
   * @param id one that `probe` listed; the first usable device by default
   * @throws UnicornError `device/unavailable` with the reason and the fix that `probe` gives
   */
  open(id?: string, options?: OpenOptions): Promise<Device>;
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

export interface MemoryHeap {
  readonly name: string;
  readonly bytes: number;
  /** True when the host can address the heap's memory. */
  readonly hostVisible: boolean;
  /** Measured or nominal read bandwidth, where known. */
  readonly bytesPerSecond?: number;
}

/** What a device is. `supports` is a pure function of this, so a described device can be planned for without having it. */
export interface DeviceInfo {
  readonly backend: string;
  readonly id: string;
  /** For people: `AMD EPYC (2 threads, avx512vnni)`. */
  readonly name: string;
  readonly dtypes: {
    /** Weights that `matmul` and `embed` read. */
    readonly weights: readonly DType[];
    /** KV-cache elements. */
    readonly kv: readonly DType[];
  };
  readonly shapes: 'dynamic' | 'static';
  /** Buffers begin at a multiple of this. */
  readonly alignmentBytes: number;
  readonly maxBufferBytes: number;
  readonly heaps: readonly MemoryHeap[];
  /** Threads, for devices that compute on the CPU. */
  readonly threads?: number;
  /** Instruction sets, extensions: for people and for `supports`. */
  readonly features: readonly string[];
}

/** Unsupported is a value: partitioning reads it. `seconds` is the device's own estimate of one execution, if it has one. */
export type Support =
  | { readonly ok: true; readonly cost?: { readonly seconds: number } }
  | { readonly ok: false; readonly reason: string };

export interface WeightEntry extends TensorSpec {
  readonly name: string;
  /** Concrete, row-major, slowest axis first. */
  readonly shape: readonly number[];
  readonly source: FileSource | BytesSource;
  /** `host` entries stay in mapped memory and are gathered row by row (per-layer embeddings). Default `device`. */
  readonly residency?: 'device' | 'host';
}

export interface FileSource {
  readonly kind: 'file';
  readonly path: string;
  readonly offset: number;
  readonly byteLength: number;
}

export interface BytesSource {
  readonly kind: 'bytes';
  readonly bytes: Uint8Array;
}

export interface LoadOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly loadedBytes: number; readonly totalBytes: number }) => void;
}

/** Weights on a device, shared by everything compiled on it. */
export interface WeightSet {
  readonly names: readonly string[];
  /** The spec under which `name` was loaded. */
  spec(name: string): TensorSpec | undefined;
  /** Bytes that the set occupies on the device, mapped host entries left out. */
  readonly byteLength: number;
  /** Idempotent. Executables compiled over the set must be disposed of first. */
  dispose(): void;
}

export interface DeviceBuffer {
  readonly byteLength: number;
  /** The memory itself when the host can address it. Do not touch it while a submission that uses it is unfinished. */
  readonly host?: Uint8Array;
  /** Idempotent. */
  dispose(): void;
}

/** A value that a symbolic dim always has, or the largest it may have. */
export type DimRange = number | { readonly max: number };

export interface CompileOptions {
  /** One entry for each symbolic dim of the graph. */
  readonly dims: Readonly<Record<string, DimRange>>;
  /** `f32`: every intermediate is f32 and activations are not quantized. `fast` (default): the device's best. */
  readonly precision?: 'f32' | 'fast';
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

/** A part of a buffer. `byteOffset` is a multiple of the device's `alignmentBytes`. */
export interface BufferView {
  readonly buffer: DeviceBuffer;
  readonly byteOffset: number;
}

/** Host data may be bound to inputs only; it is copied before `submit` returns. */
export type Binding = DeviceBuffer | BufferView | Float32Array | Int32Array;

export interface Bindings {
  readonly dims: Readonly<Record<string, number>>;
  /** One entry for each input, output and state of the signature. */
  readonly buffers: Readonly<Record<string, Binding>>;
}

export interface SubmitOptions {
  /** This submission begins when that one, on this or another device, has ended. When that one failed, it fails likewise. */
  readonly after?: Completion;
}

export interface Completion {
  /** Settled off the event loop; rejects with `device/lost` and the like. Never settles before its effects are visible. */
  readonly done: Promise<void>;
}

/** What the calls of one kind of step took. Entries are told apart by `step` and `detail` together. */
export interface ProfileEntry {
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
   * @throws UnicornError synchronously: `usage/binding` when a binding is missing, too small or of the wrong kind,
   * `usage/dims` when a dim is above its maximum, `device/closed`, `usage/disposed`
   */
  submit(bindings: Bindings, options?: SubmitOptions): Completion;
  /** Times since compilation, when compiled with `profile`. */
  profile(): readonly ProfileEntry[];
  /** Where the device can keep its artefacts. */
  serialize?(): Promise<Uint8Array>;
  dispose(): void;
}

export interface MemoryUse {
  readonly weightBytes: number;
  readonly bufferBytes: number;
  readonly scratchBytes: number;
}

export interface Device {
  readonly info: DeviceInfo;
  supports(node: Node, graph: Graph): Support;
  /**
   * @throws UnicornError `usage/weight` for a name given twice or bytes that do not fit the shape, `usage/file` for a file
   * that cannot be opened, `format/truncated` for one that ends too early, `usage/cancelled` when the signal aborts
   */
  load(entries: readonly WeightEntry[], options?: LoadOptions): Promise<WeightSet>;
  /**
   * @throws UnicornError `unsupported/op` naming the first node that `supports` refuses, `usage/weight` for a weight that
   * the set lacks or holds otherwise, `usage/dims` for a symbolic dim without a value
   */
  compile(graph: Graph, weights: WeightSet, options: CompileOptions): Promise<Executable>;
  loadExecutable?(bytes: Uint8Array, weights: WeightSet): Promise<Executable>;
  /**
   * Zero-filled.
   *
   * @param name under which it will be bound, where that is known: what is several devices in one puts it by that
   * @throws UnicornError `resource/memory` with the bytes asked for and left
   */
  allocate(byteLength: number, name?: string): DeviceBuffer;
  /** Zero-copy where host and device share memory. */
  importHost?(memory: Uint8Array): DeviceBuffer;
  /**
   * Transfers keep the order of the queue: a write does not overtake a submission made before it, a read sees its result.
   *
   * @throws UnicornError `usage/range` outside the buffer
   */
  write(buffer: DeviceBuffer, byteOffset: number, data: Uint8Array): Promise<void>;
  /** @throws UnicornError `usage/range` outside the buffer. */
  read(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array>;
  memory(): MemoryUse;
  /** Bytes of its own memory that the device may still give, now. Absent where it computes in the host's memory. */
  availableBytes?(): number;
  /** Idempotent. Waits for submissions in flight. */
  close(): Promise<void>;
}
