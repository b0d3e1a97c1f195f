/** Text in, text out, over any backend: the Engine facade and what the `unicorn` command is made of. */
export { Engine } from './engine.js';
export type { EngineEvents } from './engine.js';
export type {
  BackendSummary,
  EngineStats,
  FinishReason,
  GenerateChunk,
  GenerateRequest,
  KvType,
  LoadOptions,
  LoadProgress,
  LoadStage,
  LoadTimes,
  ProgramProfile,
  Speculation,
  Timings,
  Usage,
} from './request.js';
export { Chat } from './chat.js';
export type { ChatOptions } from './chat.js';
export { backendNames, openDevice, probeBackends } from './backend-choice.js';
export type { BackendName, OpenedDevice } from './backend-choice.js';
export type { GpuLayers } from './layer-split.js';
export type { LayerPlace, LayerSplit } from './placement.js';
export { chooseContext } from './context-length.js';
export type { ContextChoice, ContextRequest } from './context-length.js';
export { defaultModel, locateModel } from './model-location.js';
export { openText } from './text-side.js';
export type { ModelText } from './text-side.js';
export { describeWeights } from './weights-description.js';
export type { WeightsDescription } from './weights-description.js';
export { diagnose } from './diagnosis.js';
export type { Diagnosis } from './diagnosis.js';
export { perplexity } from './perplexity.js';
export type { Perplexity, PerplexityOptions } from './perplexity.js';
export { evaluate, writeEvaluation } from './evaluation.js';
export type { Evaluation, EvaluationOptions } from './evaluation.js';
export { benchmark, describeMachine } from './benchmark.js';
export { expectedShare, profileKernels } from './kernel-profile.js';
export type { KernelProfile, KernelProfileOptions, KernelRow, PhaseProfile } from './kernel-profile.js';
export type { DeviceSpeed } from './device-speed.js';
export { tuneModel } from './model-tuning.js';
export type { TunedProduct, TuneModelOptions, TuneProgress, TuneReport } from './model-tuning.js';
export { buildNative } from './native-build.js';
export type { NativeBuild } from './native-build.js';
export type { BenchmarkOptions, BenchmarkReport, Machine, Samples } from './benchmark.js';
export { StopText } from './stop-text.js';
export { isUnicornError, UnicornError } from './error.js';
export type { ErrorCode, ErrorFamily } from './error.js';
export type { ChatMessage, Conversation, ElasticSpec } from '@unicorn-exec/models';
export type { SamplingParameters, SpeculationUsage } from '@unicorn-exec/scheduler';
