/**
 * Operands of kernels: tensors with a place, in concrete shapes.
 *
 * Operands are dense and row-major unless they say otherwise, and begin at a multiple of 4 bytes (of 16 in the arena, at
 * the start of a weight or of a constant; bound memory may begin at any multiple of 4). A shape with a 0 in it is legal:
 * such a call returns no dispatches, unless there is something to write nevertheless.
 */
import type { DType, WeightView } from '@unicorn-exec/tensor';
import type { Place } from '../dispatch/dispatch.js';
import type { WeightLayout } from '../weights/weight-layout.js';

/** A tensor in device memory. Of a KV state too: `[blocks, parts, kvHeads, blockTokens, headDim]` in its stored dtype. */
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
  /** Rows of the whole weight. */
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
 * The record in which a kernel notes that an index it was given is out of range: `noteFault` of
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
  /** `usage/history`: value is the row of the history, limit its rows. */
  history: 8,
  /** `device/stalled`: value is the number of workgroups that were waited for. */
  stalled: 9,
  /** `usage/slot`: value is the slot, limit the slots of a state that has one for each sequence. */
  stateSlot: 10,
} as const;
