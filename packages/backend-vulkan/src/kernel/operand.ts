/**
 * What a kernel function is given: tensors with a place, in concrete shapes. Kernel functions are pure; they choose a
 * shader, its constants, push constants and grid, and return dispatches in order. They know no graph and no device but its
 * traits.
 *
 * Operands are dense and row-major unless they say otherwise, and begin at a multiple of 4 bytes (of 16 in the arena, at
 * the start of a weight or of a constant; bound memory may begin at any multiple of 4). A shape with a 0 in it is legal:
 * such a call returns no dispatches, unless there is something to write nevertheless.
 */
import type { ActivationKind, DType, WeightView } from '@unicorn-exec/tensor';
import type { DeviceTraits, Dispatch, Place } from '../dispatch.js';
import type { WeightLayout } from '../weight-layout.js';

/** A tensor in device memory. Of a KV state too: `[blocks, 2, kvHeads, blockTokens, headDim]` in its stored dtype. */
export interface Operand {
  readonly place: Place;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A stored weight, or rows and columns of it, as products and lookups read it: `[view.rows, view.columns]`. */
export interface WeightOperand {
  /** All of the weight: planes lie at offsets from its start. */
  readonly place: Place;
  readonly layout: WeightLayout;
  /** As stored in the file. `layout.dtype` is what kernels see. */
  readonly dtype: DType;
  /** Of the whole weight. */
  readonly rows: number;
  readonly columns: number;
  /** The part that is meant. `columnStart` is a multiple of the dtype's block. */
  readonly view: WeightView;
}

/** True when a matrix is a stored weight; else it is a dense f32 (or f16, bf16) tensor that was computed or bound. */
export function isWeightOperand(operand: Operand | WeightOperand): operand is WeightOperand {
  return 'layout' in operand;
}

/**
 * Where a kernel finds the record in which it notes that an index it was given is out of range: `noteFault` of
 * `shaders/include/fault.glsl`. A kernel never reads or writes outside its operands: it clamps or skips, notes the fault,
 * and the submission fails when it has ended.
 */
export type Faults = Place;

/** Codes of records, in `fault.glsl` as FAULT_*. */
export const faultCodes = {
  /** `usage/token-id`: value is the id, limit the table's rows. */
  tokenId: 1,
  /** `usage/slot`: value is the slot (of a block table: its block times the block's tokens), limit the pool's blocks. */
  slot: 2,
  /** `usage/starts`: value is the start, limit the rows. */
  starts: 3,
  /** `usage/block-table`: value is the position, limit the table's columns. */
  blockTable: 4,
  /** `usage/row`: value is the row, limit the rows of the axis. */
  row: 5,
  /** `usage/logit-bias`: value is the id, limit the vocabulary. */
  logitBias: 6,
  /** `usage/sampling`: value is the row of logits in which every token is forbidden. */
  sampling: 7,
  /** `usage/history`: value is the slot, limit the slots. */
  history: 8,
  /** `device/stalled`: value is the number of workgroups that were waited for. */
  stalled: 9,
} as const;

/** Kernel functions by noun; each lies in `kernel/<noun>.ts` under the same name. */
export interface Kernels {
  matmul: KernelOf<MatmulCall>;
  embed: KernelOf<EmbedCall>;
  rmsNorm: KernelOf<RmsNormCall>;
  matchRms: KernelOf<MatchRmsCall>;
  ropeTable: KernelOf<RopeTableCall>;
  rope: KernelOf<RopeCall>;
  kvWrite: KernelOf<KvWriteCall>;
  heads: KernelOf<HeadsCall>;
  attention: KernelOf<AttentionCall>;
  activation: KernelOf<ActivationCall>;
  glu: KernelOf<GluCall>;
  softcap: KernelOf<SoftcapCall>;
  gaussianTopK: KernelOf<GaussianTopKCall>;
  add: KernelOf<BinaryCall>;
  multiply: KernelOf<BinaryCall>;
  scale: KernelOf<ScaleCall>;
  mean: KernelOf<MeanCall>;
  altUpPredict: KernelOf<AltUpPredictCall>;
  altUpCorrect: KernelOf<AltUpCorrectCall>;
  altUpInject: KernelOf<AltUpInjectCall>;
  slice: KernelOf<SliceCall>;
  concat: KernelOf<ConcatCall>;
  takeRows: KernelOf<TakeRowsCall>;
  copy: KernelOf<CopyCall>;
  sample: KernelOf<SampleCall>;
}

export type KernelOf<Call> = (call: Call, traits: DeviceTraits) => Dispatch[];

/**
 * Bytes that a kernel wants at `call.scratch` for these shapes: exported as `<noun>ScratchBytes(call, traits)` beside the
 * kernel where it wants any. Places of the call are meaningless then, and shapes are the largest ones. It must not fall
 * when a dim grows. `countersBytes` likewise (`<noun>CounterBytes`): zero before the first use, left at zero.
 */
export type ScratchOf<Call> = (call: Call, traits: DeviceTraits) => number;

/**
 * Which kernels can hand activations on in the form that int8 products take them in, so that nothing prepares them between.
 * Pure functions of calls without `prepared` and `quantizes`.
 */
export interface Handoff {
  /** Whether the call does nothing with x but prepare it, for int8 products alone. */
  accepts(call: MatmulCall, traits: DeviceTraits): boolean;
  /** Whether attention can leave its result so. */
  fromAttention(call: AttentionCall, traits: DeviceTraits): boolean;
}

export type Post =
  | { readonly kind: 'softcap'; readonly cap: number }
  | { readonly kind: 'scale'; readonly factor: number }
  | { readonly kind: 'activation'; readonly activation: ActivationKind }
  /** activation(result) * other; `other` has the shape of the result. */
  | { readonly kind: 'glu'; readonly activation: ActivationKind; readonly other: Operand };

/** result = posts(x @ weight^T + bias + residual), or posts(activation(x @ weight^T) * (x @ up^T)). */
export interface ProductCall {
  readonly weight: WeightOperand | Operand;
  readonly gated?: { readonly up: WeightOperand | Operand; readonly activation: ActivationKind };
  /** f32 [rows, weight rows]. May be the residual's place. */
  readonly out: Operand;
  /** f32 [weight rows]. */
  readonly bias?: Operand;
  /** f32, shape of `out`. */
  readonly residual?: Operand;
  readonly posts: readonly Post[];
}

/** x / rms(x) * (weightOffset + weight). `weight` f32 [k]. */
export interface FusedNorm {
  readonly weight?: Operand;
  readonly epsilon: number;
  readonly weightOffset: number;
}

export interface MatmulCall {
  /** f32 [rows, k]: leading axes are flattened. */
  readonly x: Operand;
  /** What wrote x has left at its place what this call would prepare of it: see {@link AttentionCall.quantizes}. */
  readonly prepared?: true;
  /**
   * Before all else out = residual + norm(x), or residual + x, and what is said of x is said of `out`. Both are f32 of x's
   * shape; `out` may be the place of the residual or of x.
   */
  readonly join?: { readonly residual: Operand; readonly norm?: FusedNorm; readonly out: Operand };
  /** True: activations may be quantized to int8, one scale per 32, or rounded to f16. False: f32 throughout. */
  readonly fast: boolean;
  /** x is normed first. */
  readonly norm?: FusedNorm;
  /** One or more products over the same x. */
  readonly products: readonly ProductCall[];
  readonly scratch: Place;
  readonly counters: Place;
}

export interface EmbedCall {
  /** i32 [tokens]. Absent: row i of the view goes to row i of `out`, which decodes a weight. */
  readonly ids?: Operand;
  /** A dense operand may have any float dtype. */
  readonly table: WeightOperand | Operand;
  /** f32 [tokens, columns]. */
  readonly out: Operand;
  readonly scale: number;
  /** An id past the table: noted as a fault, or row 0. Negative ids are faults always. */
  readonly beyond: 'error' | 'firstRow';
  readonly faults: Faults;
}

/** out = scale * (norm(x) + addends[0] + addends[1]), in this order. */
export interface RmsNormCall {
  readonly x: Operand;
  /** f32 [features]. */
  readonly weight?: Operand;
  /** At most two, of x's shape. */
  readonly addends?: readonly Operand[];
  /** 1 by default. */
  readonly scale?: number;
  /** May be the place of x or of an addend. */
  readonly out: Operand;
  readonly epsilon: number;
  readonly weightOffset: number;
}

export interface MatchRmsCall {
  readonly x: Operand;
  readonly reference: Operand;
  /** May be x's place. */
  readonly out: Operand;
  readonly floor: number;
}

/** Cosines then sines (times magnitude) of f32(position * frequency), each rounded to f32: out [tokens, 2, pairs]. */
export interface RopeTableCall {
  readonly positions: Operand;
  readonly frequencies: Operand;
  readonly out: Operand;
  readonly magnitude: number;
}

export interface RopeCall {
  /** f32 [tokens, heads, headDim]. */
  readonly x: Operand;
  /** What {@link RopeTableCall} wrote. */
  readonly table: Operand;
  /** May be x's place. */
  readonly out: Operand;
  readonly layout: 'half' | 'interleaved';
}

export interface KvWriteCall {
  readonly state: Operand;
  /** f32 [tokens, kvHeads, headDim]. */
  readonly key: Operand;
  readonly value: Operand;
  /** i32 [tokens]. */
  readonly slots: Operand;
  readonly faults: Faults;
}

/** Heads as a product left them, f32 [tokens, heads, headDim], and what is done with each. */
export interface HeadPart {
  readonly x: Operand;
  readonly normed: boolean;
  /** f32 [headDim]: of the norm. */
  readonly weight?: Operand;
  readonly turned: boolean;
}

/** rmsNorm, rope and kvWrite of the heads of one layer. At least one of `query` and `stored`; headDim at most 512. */
export interface HeadsCall {
  /** `out` may be x's place. */
  readonly query?: HeadPart & { readonly out: Operand };
  /** As many rows as `query` has. */
  readonly stored?: {
    readonly key: HeadPart;
    readonly value: HeadPart;
    readonly state: Operand;
    /** i32 [tokens]. */
    readonly slots: Operand;
  };
  /** Of all norms. */
  readonly epsilon: number;
  readonly weightOffset: number;
  /** What {@link RopeTableCall} wrote. Present where a part is turned. */
  readonly rope?: { readonly table: Operand; readonly layout: 'half' | 'interleaved' };
  readonly faults: Faults;
}

export interface AttentionCall {
  /** f32 [rows, heads, headDim]. */
  readonly query: Operand;
  readonly state: Operand;
  readonly positions: Operand;
  readonly starts: Operand;
  readonly blocks: Operand;
  readonly reach?: Operand;
  readonly out: Operand;
  /**
   * Leaves in place of `out` what `matmul` prepares of it for products in int8 form, the heads of a row one behind the
   * other: its only reader has `prepared`. Asked for where {@link Handoff} says that attention can.
   */
  readonly quantizes?: true;
  /**
   * Does these heads first, in place of a dispatch of their own: `query.out` is `query` here, which is not written, and
   * `stored.state` is `state`. Asked for where the kernel's `attentionTakesHeads` says that it can.
   */
  readonly heads?: HeadsCall;
  readonly scale: number;
  readonly window?: number;
  readonly softcap?: number;
  /** Queries, weights of keys and what a q8_0 state holds may be rounded to f16. */
  readonly fast?: boolean;
  /** No query sees a key at or beyond this position: bounds the number of splits. At most columns * blockTokens. */
  readonly keys: number;
  readonly scratch: Place;
  readonly counters: Place;
  readonly faults: Faults;
}

export interface ActivationCall {
  readonly x: Operand;
  /** May be x's place. */
  readonly out: Operand;
  readonly activation: ActivationKind;
}

export interface GluCall {
  readonly gate: Operand;
  readonly up: Operand;
  /** May be the place of gate or up. */
  readonly out: Operand;
  readonly activation: ActivationKind;
}

export interface SoftcapCall {
  readonly x: Operand;
  readonly out: Operand;
  readonly cap: number;
}

export interface GaussianTopKCall {
  readonly x: Operand;
  readonly out: Operand;
  readonly deviations: number;
}

/** numpy broadcasting; a and b are f32 or i32 (converted), out is f32. */
export interface BinaryCall {
  readonly a: Operand;
  readonly b: Operand;
  /** May be the place of an operand of the same shape. */
  readonly out: Operand;
}

export interface ScaleCall {
  readonly x: Operand;
  readonly out: Operand;
  readonly factor: number;
}

export interface MeanCall {
  readonly x: Operand;
  readonly out: Operand;
}

export interface AltUpPredictCall {
  readonly streams: Operand;
  readonly coefficients: Operand;
  readonly out: Operand;
}

export interface AltUpCorrectCall {
  readonly predictions: Operand;
  readonly activated: Operand;
  readonly coefficients: Operand;
  readonly out: Operand;
  readonly active: number;
}

export interface AltUpInjectCall {
  readonly streams: Operand;
  readonly value: Operand;
  /** May be the place of streams. */
  readonly out: Operand;
  readonly active: number;
}

/** Movers take any scalar dtype, 1 to 8 bytes an element. */
export interface SliceCall {
  readonly x: Operand;
  readonly out: Operand;
  readonly axis: number;
  readonly start: number;
}

export interface ConcatCall {
  readonly parts: readonly Operand[];
  readonly out: Operand;
  readonly axis: number;
}

export interface TakeRowsCall {
  readonly x: Operand;
  /** i32 [count]. */
  readonly rows: Operand;
  readonly out: Operand;
  readonly axis: number;
  readonly faults: Faults;
}

export interface CopyCall {
  readonly x: Operand;
  /** Bytes from one row (last axis) of x to the next; dense by default. A part of a weight has other ones. */
  readonly rowStrideBytes?: number;
  /** Dense. Same dtype and shape. */
  readonly out: Operand;
}

export interface SampleCall {
  /** f32 [rows, vocabulary]. */
  readonly logits: Operand;
  readonly parameters: Operand;
  readonly controls: Operand;
  readonly biasIds: Operand;
  readonly biasValues: Operand;
  /** i32 [slots, capacity], written in place. */
  readonly history: Operand;
  readonly mask?: Operand;
  /** i32 [rows]. */
  readonly ids: Operand;
  /** f32 [rows, vocabulary]. */
  readonly probabilities?: Operand;
  readonly scratch: Place;
  readonly counters: Place;
  readonly faults: Faults;
}
