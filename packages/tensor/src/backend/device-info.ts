/**
 * What a device says about itself: plain data, so that a machine which is not there can be described and planned for:
 * a {@link Planner} answers from this alone.
 */
import type { DType } from '../dtype.js';

/**
 * `f32`: every intermediate is f32 and activations are not quantized. `fast`: the device's best. A device may have one
 * of them only.
 */
export type Precision = 'f32' | 'fast';

/** A heap of memory that a device allocates from. */
export interface MemoryHeap {
  readonly name: string;
  readonly bytes: number;
  /**
   * The physical memory that the heap is a part of: heaps with the same pool share one purse, whichever devices they
   * belong to. `host` is the system's RAM, also where an integrated GPU or an NPU lives on it; memory of a card of its
   * own has a name that no other device has, for example `vulkan:0`.
   */
  readonly pool: string;
  /** True when the host can address the heap's memory. */
  readonly hostVisible: boolean;
  /** Measured or nominal read bandwidth, where known. */
  readonly bytesPerSecond?: number;
}

/** The pool of whatever is system RAM. */
export const hostPool = 'host';

/**
 * Which numbers of rows (`tokens`) a device computes. It pads what lies between them itself; a planner chooses chunks
 * that waste little.
 */
export type RowShapes =
  | { readonly kind: 'any' }
  /** Multiples of `grain`. */
  | { readonly kind: 'grain'; readonly grain: number }
  /** These and nothing else, ascending: one compiled artefact each. */
  | { readonly kind: 'buckets'; readonly buckets: readonly number[] };

/** The rows that a device computes for `rows` of a caller. Beyond the largest bucket it runs several times. */
export function paddedRows(shapes: RowShapes, rows: number): number {
  switch (shapes.kind) {
    case 'any':
      return rows;
    case 'grain':
      return Math.ceil(rows / shapes.grain) * shapes.grain;
    case 'buckets': {
      const largest = shapes.buckets.at(-1) ?? rows;
      const whole = Math.floor(rows / largest) * largest;
      const rest = rows - whole;
      return whole + (rest === 0 ? 0 : (shapes.buckets.find((bucket) => bucket >= rest) ?? largest));
    }
  }
}

/** How the activations that enter a product with a weight are stored. It bounds the error of that product. */
export type ActivationFormat =
  | { readonly kind: 'float'; readonly dtype: 'f32' | 'f16' | 'bf16' }
  /** Symmetric int8 with one scale for each `blockSize` columns of a row, each row, or the whole tensor. */
  | { readonly kind: 'int8'; readonly scale: 'block'; readonly blockSize: number }
  | { readonly kind: 'int8'; readonly scale: 'row' | 'tensor' };

/**
 * How the weights of a product are stored where packing changes their values: symmetric int8 with one scale for each row
 * of the stored weight, that is, for each output. It bounds the error of that product.
 */
export interface PackedWeightFormat {
  readonly kind: 'int8';
  readonly scale: 'row';
}

/** A device's rates: what estimates stand on. */
export interface DeviceSpeed {
  /** Bytes of weights that it reads each second. */
  readonly bytesPerSecond: number;
  /** Floating-point or integer operations each second in products with weights, a multiply-add counted as two. */
  readonly flopsPerSecond: Readonly<Partial<Record<Precision, number>>>;
  /** What a submission costs before it computes anything. */
  readonly submitSeconds: number;
  /** What each fused step of a submission costs beyond its work: a barrier, a kernel launch, a command. */
  readonly stepSeconds: number;
  /** `measured` on this machine, or `modelled` from what the device is. */
  readonly basis: 'measured' | 'modelled';
}

/** What a device is. Everything that a planner answers follows from it. */
/** Which piece of hardware a device is: for people, and for what is kept on disk about it. */
export interface DeviceHardware {
  /** The maker's number as PCI lists it: 0x1002 is AMD. Vulkan's own for what is not on a bus. */
  readonly vendorId: number;
  readonly deviceId: number;
  /** Survives a change of the order in which devices are listed. */
  readonly uuid: string;
  /** Name and version of the driver. */
  readonly driver: string;
  /** True for a driver that computes on the CPU in a GPU's place, slower than a backend made for the CPU. */
  readonly isSoftware: boolean;
}

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
  /** The precisions that it computes, at least one. */
  readonly precisions: readonly Precision[];
  /** For each of its precisions how activations enter a product. */
  readonly activations: Readonly<Partial<Record<Precision, ActivationFormat>>>;
  /** The precisions at which the weights of a product lose bits beyond those of their dtype. Absent: none. */
  readonly packedWeights?: Readonly<Partial<Record<Precision, PackedWeightFormat>>>;
  /**
   * The class of bits that it computes in each phase. Two results of the same class are the same bits for the same graph,
   * weights and precision; keys and values of another class are an approximation of one's own. Devices that make no
   * difference between the phases give the same string twice.
   */
  readonly numerics: { readonly prompt: string; readonly token: string };
  readonly shapes: 'dynamic' | 'static';
  readonly rows: RowShapes;
  /** Buffers begin at a multiple of this. */
  readonly alignmentBytes: number;
  readonly maxBufferBytes: number;
  readonly heaps: readonly MemoryHeap[];
  /** Threads, for devices that compute on the CPU. */
  readonly threads?: number;
  /** Absent for devices that are the CPU itself, or only described. */
  readonly hardware?: DeviceHardware;
  /** Rates, where they were measured or are known. */
  readonly speed?: DeviceSpeed;
  /** What the devices say of themselves that this one is made of. Absent for a device that is one. */
  readonly parts?: readonly DeviceInfo[];
  /** Instruction sets, extensions: for people and for planners. */
  readonly features: readonly string[];
}
