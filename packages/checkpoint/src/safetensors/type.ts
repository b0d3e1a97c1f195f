/** The element types of safetensors: their size, and which dtype of ours they are. */
import type { DType } from '@unicorn-exec/tensor';

export interface SafetensorsType {
  /** Bits of one element; types of less than a byte are packed. */
  readonly bits: number;
  readonly dtype: DType | undefined;
}

const types = new Map<string, SafetensorsType>([
  ['F64', { bits: 64, dtype: 'f64' }],
  ['F32', { bits: 32, dtype: 'f32' }],
  ['F16', { bits: 16, dtype: 'f16' }],
  ['BF16', { bits: 16, dtype: 'bf16' }],
  ['I64', { bits: 64, dtype: 'i64' }],
  ['I32', { bits: 32, dtype: 'i32' }],
  ['I16', { bits: 16, dtype: 'i16' }],
  ['I8', { bits: 8, dtype: 'i8' }],
  ['U64', { bits: 64, dtype: 'u64' }],
  ['U32', { bits: 32, dtype: 'u32' }],
  ['U16', { bits: 16, dtype: 'u16' }],
  ['U8', { bits: 8, dtype: 'u8' }],
  ['BOOL', { bits: 8, dtype: 'bool' }],
  ['C64', { bits: 64, dtype: undefined }],
  ['F8_E5M2', { bits: 8, dtype: undefined }],
  ['F8_E4M3', { bits: 8, dtype: undefined }],
  ['F8_E5M2FNUZ', { bits: 8, dtype: undefined }],
  ['F8_E4M3FNUZ', { bits: 8, dtype: undefined }],
  ['F8_E8M0', { bits: 8, dtype: undefined }],
  ['F6_E2M3', { bits: 6, dtype: undefined }],
  ['F6_E3M2', { bits: 6, dtype: undefined }],
  ['F4', { bits: 4, dtype: undefined }],
]);

export function safetensorsType(name: string): SafetensorsType | undefined {
  return types.get(name);
}

/** The name of a scalar dtype; undefined for block formats, which safetensors does not have. */
export function safetensorsTypeName(dtype: DType): string | undefined {
  const name = dtype.toUpperCase();
  return types.get(name)?.dtype === dtype ? name : undefined;
}
