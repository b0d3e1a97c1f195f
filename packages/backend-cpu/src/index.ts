export { cpuBackend, levelVariable } from './backend.js';
export type { CpuBackend, CpuOpenOptions } from './backend.js';
export type { WeightPlacement } from './weight-set.js';
export { addonVariable, diagnoseAddon, loadAddon } from './load-addon.js';
export type {
  BufferHandle,
  DeviceHandle,
  Handle,
  NativeAddon,
  ProgramHandle,
  WeightsHandle,
} from './addon.js';
export { buildNativeAddon } from './build-native.js';
export { measureReadBandwidth } from './bandwidth.js';
