export { openGguf } from './gguf/reader.js';
export type { GgufFile } from './gguf/reader.js';
export { writeGguf } from './gguf/writer.js';
export type { GgufContent, GgufTensor } from './gguf/writer.js';
export { openSafetensors } from './safetensors/reader.js';
export type { SafetensorsFile } from './safetensors/reader.js';
export { openSafetensorsIndex } from './safetensors/shard-index.js';
export { writeSafetensors } from './safetensors/writer.js';
export type { SafetensorsTensor } from './safetensors/writer.js';
export { openWeights } from './open-weights.js';
export type { Weights } from './weights.js';
export type { TensorInfo } from './tensor-info.js';
export type { TensorData } from './tensor-data.js';
export { Metadata, MetadataArray } from './metadata.js';
export type {
  MetadataEntry,
  MetadataNumberType,
  MetadataScalar,
  MetadataScalarType,
  MetadataValue,
  PackedStrings,
} from './metadata.js';
export { bytesSource, openFileSource } from './file/random-access-source.js';
export type { RandomAccessSource } from './file/random-access-source.js';
