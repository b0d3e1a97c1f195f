/** Files and JSON from outside, for callers that must start fast. */
export { fileError } from './file-error.js';
export { parseJson } from './json.js';
export { irregularFile, openRegularFile, readRegularFile } from './regular-file.js';
