/** The names of backends alone, for callers that must start fast. */
export { backendNames, tunableBackends } from './machine/backends.js';
export type { BackendName } from './machine/backends.js';
