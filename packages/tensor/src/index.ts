export { UnicornError, isUnicornError, invariant } from './error.js';
export type { ErrorCode, ErrorFamily, UnicornErrorOptions } from './error.js';
export { throwIfCancelled } from './cancellation.js';
export { writeAtomically } from './file/atomic-file.js';
export type { AtomicFile, FileContent, WriteOptions } from './file/atomic-file.js';
export { fileError } from './file/file-error.js';
export { readFileRange } from './file/file-range.js';
export { parseJson } from './file/json.js';
export { bundlerFix, isPackageFolder, packageFolderOf } from './file/package-folder.js';
export { irregularFile, openRegularFile, readRegularFile } from './file/regular-file.js';
export { blockDTypes, dtypeLayout, dtypes, isBlockDType, isDType, rowBytes, tensorBytes } from './dtype.js';
export type { BlockDType, DType, DTypeLayout, ScalarDType } from './dtype.js';
export {
  bfloatToFloat,
  decodeRow,
  floatBitsToBfloat,
  floatBitsToHalf,
  floatToBfloat,
  floatToHalf,
  halfToFloat,
} from './format/index.js';
export { broadcastShapes, elementCount, formatShape, resolveShape, sameShape } from './shape.js';
export type { Dim, DimValues, Shape } from './shape.js';
export { HostTensor } from './host-tensor.js';
export { lastUses, namedValues, symbolicDims } from './graph/graph.js';
export type {
  Attributes,
  AttributeValue,
  Graph,
  Node,
  TensorSpec,
  Value,
  ValueSource,
  WeightView,
} from './graph/graph.js';
export { GraphBuilder } from './graph/builder.js';
export { nodeCost, workText } from './graph/cost.js';
export type { NodeCost } from './graph/cost.js';
export { formatSpec, printGraph } from './graph/text.js';
export { findOp, ops } from './op/index.js';
export { specBytes, specElements } from './op/op.js';
export type {
  AttributeDeclaration,
  ConcreteSpec,
  Evaluation,
  Op,
  Operand,
  OperandSpecs,
  StateRows,
  NamedRows,
} from './op/op.js';
export type { ActivationKind } from './op/activation.js';
export { kvDTypes } from './op/kv-cache.js';
export { drawToken, noToken, sampleControls, sampleDistribution, sampleParameters } from './op/sample.js';
export type { Candidates, RowInput, SampleParameters } from './op/sample.js';
export { philox4x32, uniformAt } from './philox.js';
export type { PhiloxBlock } from './philox.js';
export { backendApiVersion } from './backend/backend.js';
export type * from './backend/backend.js';
export type * from './backend/buffer.js';
export { hostPool, paddedRows } from './backend/device-info.js';
export type * from './backend/device-info.js';
export type * from './backend/executable.js';
export type * from './backend/planner.js';
export type * from './backend/weights.js';
export { completionsOf, endOf, SubmissionQueue } from './backend/completion.js';
export {
  checkHostCopy,
  copiedBytes,
  copyOnHost,
  expectApart,
  HostBuffer,
  hostRange,
} from './backend/host-device.js';
export {
  expectBuffer,
  expectByteLength,
  expectBytes,
  expectCompileArguments,
  expectPlanArguments,
  expectRange,
  expectSegment,
} from './backend/expect-arguments.js';
export { memoryPlace } from './backend/memory-place.js';
export type { MemoryPlace } from './backend/memory-place.js';
export { HostWeightSet, loadHostWeights } from './backend/host-device.js';
export { rooflineEstimate } from './backend/roofline.js';
export { DeviceSpeedFile } from './backend/speed-file.js';
export type { SpeedFileOptions } from './backend/speed-file.js';
export { prepareProbe, productChain, productsGraph } from './backend/speed-probe.js';
export type { SpeedProbe } from './backend/speed-probe.js';
export { hostSync, rangesOverlap, touchedBindings } from './backend/touched.js';
export type { HostSync, TouchedBinding } from './backend/touched.js';
export {
  checkWeights,
  expectWeightEntries,
  graphSignature,
  maximumDims,
  ownWeightSets,
  resolveBindings,
  submissionDims,
} from './backend/bindings.js';
export type { BindingRole, ResolvedBinding } from './backend/bindings.js';
export { evaluateGraph } from './reference/evaluate.js';
export type { EvaluationInputs } from './reference/evaluate.js';
export { referenceBackend } from './reference/reference-backend.js';
export { blocksOfSequence, defaultPrefillChunk, planKv, slotsOfSequence } from './kv-plan.js';
export type { KvGroupPlan, KvPlan, KvPlanOptions } from './kv-plan.js';
export { defaultBlockTokens, kvStateShape, poolDim, stateName, stateSlotsDim, StepInputs } from './step.js';
export type { ElasticSize, KvGroup, LanguageModel, SampledIds, SequenceState, StepOptions } from './step.js';
export { addSampling, sampleGraph, sampleNames } from './sample-step.js';
export type { SampleStepOptions } from './sample-step.js';
export { createNullBackend, nullBackend } from './null/null-backend.js';
export type { NullBackendOptions, NullSubmission } from './null/null-backend.js';
