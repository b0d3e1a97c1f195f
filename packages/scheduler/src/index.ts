export { Scheduler } from './scheduler.js';
export type { SchedulerStats } from './scheduler.js';
export type { LoadedDevice, SchedulerOptions } from './scheduler-options.js';
export type {
  CacheScope,
  FinishReason,
  ForwardOptions,
  ForwardResult,
  ForwardRows,
  GenerateRequest,
  Generation,
  GenerationEvent,
  LateTokenMask,
  Timings,
  TokenLogProbabilities,
  TokenMask,
  Usage,
} from './request.js';
export { maxTopLogProbabilities } from './request.js';
export { defaultDraftTokens, maxDraftTokens } from './draft/speculation.js';
export type { SpeculationOptions, SpeculationUsage } from './draft/speculation.js';
export { maxLogitBiases, packSampling } from './sampling-parameters.js';
export type { SamplingParameters, SamplingRow } from './sampling-parameters.js';
export { tokenChunk } from './step/program.js';
export { KvCache } from './kv/kv-cache.js';
export type { KvGroupStats, OpenOptions } from './kv/kv-cache.js';
export { KvSequence } from './kv/kv-sequence.js';
export type { KvOrigin, KvRun, PrefixKey } from './kv/kv-sequence.js';
export type { SequenceSlots, StateSlots } from './kv/sequence-slots.js';
export type { Reuse } from './kv/prefix-search.js';
export type { TokenSpan } from './kv/token-span.js';
export type { PromptSpan } from './prompt-span.js';
export { BlockPool } from './kv/block-pool.js';
