/** The error type alone, for callers that must start fast. */
export { isUnicornError, UnicornError } from '@unicorn-exec/tensor/error';
export type { ErrorCode, ErrorFamily } from '@unicorn-exec/tensor/error';
