export { decodeRow } from './decode-row.js';
export {
  bfloatToFloat,
  floatBitsToBfloat,
  floatBitsToHalf,
  floatToBfloat,
  floatToHalf,
  halfToFloat,
} from './half-float.js';
