/** The error type, and the names that errors suggest, for callers that must start fast. */
export { isUnicornError, UnicornError } from '@unicorn-exec/tensor/error';
export type { ErrorCode, ErrorFamily } from '@unicorn-exec/tensor/error';
export { nearestName } from './nearest-name.js';
