export { ChainDevice } from './chain-device.js';
export type { ChainOptions } from './chain-device.js';
export { cutGraph } from './cut-graph.js';
export type { CrossingValue, GraphCut, LayerCut } from './cut-graph.js';
