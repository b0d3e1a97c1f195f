export { arenaAlignment, planArena } from './arena.js';
export type { Lifetime } from './arena.js';
export { findFusions } from './fuse.js';
export type { FusionContext, Fusions, ProductGroup } from './fuse.js';
export { orderSteps } from './order.js';
export type { StepEmitter } from './order.js';
export { bindOutputs, placeInArena, valueBytes } from './arena-places.js';
export type { StepAccess } from './arena-places.js';
export type {
  ArenaPlace,
  AttentionStep,
  FusedNorm,
  Join,
  MatmulStep,
  PlannedValue,
  Post,
  Product,
  SampleStep,
  Storage,
  Term,
} from './plan.js';
export {
  attentionStep,
  definedIds,
  isStoredMatrix,
  matmulStep,
  overwritableByMatmul,
  sampleStep,
  stepName,
  stepNodes,
  stepReads,
  stepWrites,
} from './step.js';
export { StepText } from './text.js';
export { bindingIndices, countKey, isView, placeValues } from './storage.js';
