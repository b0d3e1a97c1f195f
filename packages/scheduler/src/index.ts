export { Scheduler } from './scheduler.js';
export type { SchedulerOptions, SchedulerStats } from './scheduler.js';
export type {
  FinishReason,
  ForwardOptions,
  ForwardResult,
  ForwardRows,
  GenerateRequest,
  Generation,
  GenerationEvent,
  Timings,
  TokenMask,
  Usage,
} from './request.js';
export { defaultDraftTokens, maxDraftTokens } from './drafter.js';
export type { SpeculationOptions, SpeculationUsage } from './drafter.js';
export { maxLogitBiases, packSampling } from './sampling-parameters.js';
export type { SamplingParameters, SamplingRow } from './sampling-parameters.js';
export { blocksOfSequence, defaultPrefillChunk, planKv } from './kv-plan.js';
export type { KvGroupPlan, KvPlan, KvPlanOptions } from './kv-plan.js';
export { KvCache, KvSequence } from './kv-cache.js';
export type { KvGroupStats, OpenOptions, Reuse } from './kv-cache.js';
export { BlockPool } from './block-pool.js';
export { ChainDevice } from './chain/chain-device.js';
export type { ChainOptions } from './chain/chain-device.js';
export { cutGraph } from './chain/cut-graph.js';
export type { CrossingValue, GraphCut, LayerCut } from './chain/cut-graph.js';
