export { validationMessages, validationVariable, vulkanBackend } from './backend.js';
export { measureCopyBandwidth, measureDevice } from './bandwidth.js';
export type { DeviceSpeed } from './bandwidth.js';
export { buildNativeAddon } from './build-native.js';
export { addonVariable, diagnoseAddon, loadAddon } from './load-addon.js';
export type { AddonAttempt, AddonDiagnosis } from './load-addon.js';
export { cacheVariable } from './pipeline-cache.js';
export { ShaderLibrary } from './shader-library.js';
