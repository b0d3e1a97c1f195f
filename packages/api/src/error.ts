/** The error type alone, for callers that must start fast. */
export { isUnicornError, UnicornError } from '@unicorn-exec/tensor';
export type { ErrorCode, ErrorFamily } from '@unicorn-exec/tensor';
