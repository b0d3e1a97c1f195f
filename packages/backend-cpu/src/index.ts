export { cpuBackend, levelVariable } from './backend.js';
export { addonError, addonVariable, diagnoseAddon, loadAddon } from './load-addon.js';
export type { AddonAttempt, AddonDiagnosis } from './load-addon.js';
export type { NativeAddon } from './addon.js';
export { buildNativeAddon } from './build-native.js';
export { measureReadBandwidth } from './bandwidth.js';
