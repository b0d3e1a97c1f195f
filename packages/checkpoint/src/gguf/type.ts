/** Numbers that GGUF gives to types (ggml's `gguf_type` and `ggml_type`; the same in every version). */
import { type DType, dtypeLayout } from '@unicorn-exec/tensor';
import type { MetadataScalarType } from '../metadata.js';

/** "GGUF", the first four bytes. */
export const GGUF_MAGIC = 0x46554747;

/** Alignment of tensor data where the metadata has no `general.alignment`. */
export const GGUF_DEFAULT_ALIGNMENT = 32;

/** Value type of an array, which then names the type of its elements. */
export const GGUF_ARRAY = 9;

/** Scalar value types by number; 9 is the array. */
export const ggufScalarTypes: readonly (MetadataScalarType | undefined)[] = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  undefined,
  'u64',
  'i64',
  'f64',
];

export interface GgufTensorType {
  readonly id: number;
  /** As ggml spells it. */
  readonly name: string;
  readonly dtype: DType | undefined;
  readonly blockSize: number;
  readonly blockBytes: number;
}

const ids: Partial<Record<DType, number>> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q5_0: 6,
  q5_1: 7,
  q8_0: 8,
  q2_k: 10,
  q3_k: 11,
  q4_k: 12,
  q5_k: 13,
  q6_k: 14,
  iq2_xxs: 16,
  iq2_xs: 17,
  iq3_xxs: 18,
  iq1_s: 19,
  iq4_nl: 20,
  iq3_s: 21,
  iq2_s: 22,
  iq4_xs: 23,
  i8: 24,
  i16: 25,
  i32: 26,
  i64: 27,
  f64: 28,
  iq1_m: 29,
  bf16: 30,
  tq1_0: 34,
  tq2_0: 35,
  mxfp4: 39,
  nvfp4: 40,
};

const types = new Map<number, GgufTensorType>(
  (Object.entries(ids) as [DType, number][]).map(([dtype, id]) => [
    id,
    { id, name: dtype.toUpperCase(), dtype, ...dtypeLayout(dtype) },
  ]),
);
// A type whose size alone is known here: its tensors are listed, and can be read as bytes.
types.set(41, { id: 41, name: 'Q1_0', dtype: undefined, blockSize: 128, blockBytes: 18 });

/** Numbers that no file should hold: formats that ggml removed, or uses for activations only. */
const refused = new Map<number, string>([
  [4, 'Q4_2, which ggml removed'],
  [5, 'Q4_3, which ggml removed'],
  [9, 'Q8_1, which ggml keeps for activations'],
  [15, 'Q8_K, which ggml keeps for activations'],
  [31, 'Q4_0_4_4, which ggml removed'],
  [32, 'Q4_0_4_8, which ggml removed'],
  [33, 'Q4_0_8_8, which ggml removed'],
  [36, 'IQ4_NL_4_4, which ggml removed'],
  [37, 'IQ4_NL_4_8, which ggml removed'],
  [38, 'IQ4_NL_8_8, which ggml removed'],
]);

export function ggufTensorType(id: number): GgufTensorType | undefined {
  return types.get(id);
}

/** What is known about a number that {@link ggufTensorType} does not have. */
export function refusedTensorType(id: number): string {
  return refused.get(id) ?? 'unknown';
}

/** The number of a dtype; undefined where GGUF has none (unsigned integers, bool). */
export function ggufTypeId(dtype: DType): number | undefined {
  return ids[dtype];
}
