/** Text in, text out, over any backend: the Engine facade and what the `unicorn` command is made of. */
export { Engine } from './engine.js';
export type { EngineEvents } from './engine.js';
export type { GuardedEmitter } from './guarded-emitter.js';
export type {
  EndReason,
  EngineStats,
  FinishedRequest,
  FinishReason,
  GenerateChunk,
  GenerateOptions,
  GenerateRequest,
  ProgramProfile,
  Speculation,
  Timings,
  Usage,
} from './answer/request.js';
export type { LeavableStream } from './answer/leavable-stream.js';
export { Chat } from './answer/chat.js';
export type { ChatOptions } from './answer/chat.js';
export { StopText } from './answer/stop-text.js';
export type {
  BackendSummary,
  DeviceFallback,
  GpuChoice,
  GpuLayers,
  KvType,
  LayerPlace,
  LayerSplit,
  LoadOptions,
  LoadProgress,
  LoadStage,
  LoadTimes,
} from './machine/load-options.js';
export { backendNames } from './machine/backends.js';
export type { BackendName, ListedName } from './machine/backends.js';
export { openDevice, probeBackends } from './machine/open-device.js';
export type { OpenDeviceOptions, OpenedDevice } from './machine/open-device.js';
export type { ContextChoice } from './machine/context-length.js';
export { diagnose } from './machine/diagnosis.js';
export type { DiagnosedBackend, DiagnosedDevice, DiagnoseOptions, Diagnosis } from './machine/diagnosis.js';
export type { SelfTestVerdict, TestedDevice } from './machine/self-test.js';
export type { Finding } from './machine/hardware/finding.js';
export type { GpuReport } from './machine/hardware/gpus.js';
export type { NpuReport } from './machine/hardware/npu.js';
export type { PciDevice } from './machine/hardware/pci.js';
export type { DeviceNode } from './machine/hardware/user-access.js';
export { buildNative } from './machine/native-build.js';
export type { NativeBuild } from './machine/native-build.js';
export { defaultModel, locateModel } from './model-location.js';
export { openText } from './text-side.js';
export type { ModelText } from './text-side.js';
export { describeWeights } from './weights-description.js';
export type { ModelDescription, WeightsDescription } from './weights-description.js';
export { isUnicornError, UnicornError } from './error.js';
export type { ErrorCode, ErrorFamily } from './error.js';
export { conversationFromText } from '@unicorn-exec/models';
export type {
  ChatMessage,
  ChatTemplate,
  ChatTemplateFacts,
  Conversation,
  ElasticSpec,
  EncodeOptions,
  Model,
  PromptParts,
  Tokenizer,
} from '@unicorn-exec/models';
export type {
  CacheScope,
  ForwardOptions,
  ForwardResult,
  KvGroupStats,
  SamplingParameters,
  SpeculationUsage,
  TokenLogProbabilities,
} from '@unicorn-exec/scheduler';
export type {
  Backend,
  Device,
  DeviceDescription,
  DeviceInfo,
  DeviceSpeed,
  OpenOptions,
  ProfileEntry,
} from '@unicorn-exec/tensor';
