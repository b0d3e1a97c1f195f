export { encodableDTypes, encodeRow, encodeTensor } from './encode-row.js';
export { distortion, encodingDistortion } from './distortion.js';
export type { Distortion } from './distortion.js';
