export { UnicornError, isUnicornError, invariant } from './error.js';
export type { ErrorCode, ErrorFamily, UnicornErrorOptions } from './error.js';
export { blockDTypes, dtypeLayout, dtypes, isBlockDType, isDType, rowBytes, tensorBytes } from './dtype.js';
export type { BlockDType, DType, DTypeLayout, ScalarDType } from './dtype.js';
export {
  bfloatToFloat,
  decodeRow,
  floatBitsToBfloat,
  floatBitsToHalf,
  floatToBfloat,
  floatToHalf,
  halfToFloat,
} from './format/index.js';
