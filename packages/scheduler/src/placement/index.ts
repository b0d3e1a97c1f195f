export { placesByLayer } from './layer-cut.js';
export type { LayerCut } from './layer-cut.js';
export { partition, sharedStates } from './partition.js';
export type { CrossingValue, GraphPart, NodePlaces, Partition } from './partition.js';
export type { ExpectedGraph, Place } from './place.js';
export { createSplitBackend } from './split-backend.js';
export type { SplitBackendOptions } from './split-backend.js';
export { SplitDevice } from './split-device.js';
export type { SplitOptions } from './split-device.js';
