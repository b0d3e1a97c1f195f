export { validationMessages, validationVariable, vulkanBackend } from './backend.js';
export type { VulkanBackend } from './backend.js';
export { measureCopyBandwidth, measureDevice } from './measure/bandwidth.js';
export type { DeviceRoof } from './measure/bandwidth.js';
export { buildNativeAddon } from './build-native.js';
export type { CooperativeMatrixShape, DeviceTraits } from './dispatch/dispatch.js';
export { chainVariable } from './dispatch/chain.js';
export type {
  BufferHandle,
  DeviceHandle,
  Gather,
  Handle,
  MemoryKind,
  NativeAddon,
  PhysicalDevice,
  PipelineHandle,
  ProbeResult,
  RecordingHandle,
  WeightsHandle,
} from './addon.js';
export { addonVariable, diagnoseAddon, loadAddon } from './load-addon.js';
export { cacheVariable } from './device/pipeline-cache.js';
export { prefetchVariable } from './dispatch/prefetch.js';
export type { LaneTile } from './kernel/lane-tile.js';
export type { MatrixTile } from './kernel/matrix-tile.js';
export type { ProductShape } from './kernel/product-shape.js';
export { productUses } from './tuning/product-use.js';
export type { ProductUse } from './tuning/product-use.js';
export type { LaneFields, LaneForm, MatrixFields, ProductForm } from './tuning/tuning.js';
export { ShaderLibrary } from './device/shader-library.js';
export { tune, tuneGraph } from './tuning/tune.js';
export type { TunedProduct, TuneOptions, TuneProgress, TuneReport } from './tuning/tune.js';
