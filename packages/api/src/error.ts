/** The error type, what errors suggest, and what reads files, for callers that must start fast. */
export { isUnicornError, UnicornError } from '@unicorn-exec/tensor/error';
export type { ErrorCode, ErrorFamily } from '@unicorn-exec/tensor/error';
export { downloadAdvice, hubName, type HubName } from './download-advice.js';
export { nearestName } from './nearest-name.js';
export { fileError, irregularFile, parseJson } from '@unicorn-exec/tensor/file';
