export type { AddonConfig } from './addon-config.js';
export { addonError, diagnoseAddon, loadAddon } from './load-addon.js';
export type { AddonAttempt, AddonDiagnosis } from './load-addon.js';
export { buildNativeAddon } from './build-addon.js';
export { guarded, nativeFailure } from './failure.js';
export { JobTable } from './job-table.js';
export type { JobListener, JobOptions, LoadJob } from './job-table.js';
