/** Numbers about models and machines: speed, where the time goes, tuning, perplexity, and logits for comparisons. */
export { benchmark, benchmarkContext, describeMachine } from './benchmark.js';
export type { BenchmarkOptions, BenchmarkReport, BenchmarkResult, Machine, Samples } from './benchmark.js';
export { measureRates } from './device-rates.js';
export type { DeviceRates, MeasureRatesOptions } from './device-rates.js';
export { evaluate, writeEvaluation } from './evaluation.js';
export type { Evaluation, EvaluationOptions, WriteEvaluationOptions } from './evaluation.js';
export { expectedShare, profileKernels } from './kernel-profile.js';
export type { KernelProfile, KernelProfileOptions, KernelRow, PhaseProfile } from './kernel-profile.js';
export { perplexity } from './perplexity.js';
export type { Divergence, Perplexity, PerplexityOptions } from './perplexity.js';
export { tuneModel } from './model-tuning.js';
export type { TuneModelOptions } from './model-tuning.js';
export type { DeviceRoof, TunedProduct, TuneProgress, TuneReport } from '../machine/backends.js';
