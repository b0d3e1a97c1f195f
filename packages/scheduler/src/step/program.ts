/**
 * The executables that steps submit: a model's graph of one size, with the `sample` op appended where tokens are
 * wanted, compiled when first needed and kept. A program owns its output buffers; states belong to the scheduler.
 */
import {
  addSampling,
  GraphBuilder,
  poolDim,
  resolveShape,
  sampleGraph,
  stateSlotsDim,
  tensorBytes,
  type Device,
  type DeviceBuffer,
  type DeviceInfo,
  type Executable,
  type KvPlan,
  type LanguageModel,
  type Precision,
  type SampleStepOptions,
  type WeightSet,
} from '@unicorn-exec/tensor';
import { maxDraftTokens } from '../draft/speculation.js';
import { maxLogitBiases } from '../sampling-parameters.js';
import { runnerPhases, type RunnerPhase } from './phase.js';
import { samplerKind, type ProgramKind } from './program-kind.js';
import { sampledOutputs } from './sampled-rows.js';

/** Inputs of a step: its ids, and rows in their place. */
export const stepNames = { ids: 'ids', given: 'given' } as const;

export interface Program {
  readonly kind: ProgramKind;
  readonly executable: Executable;
  /** Ids that it samples from, the first of the vocabulary; 0 where it samples none. */
  readonly sampledIds: number;
  /** A buffer for each output of the signature but those of sampling, large enough for the largest step. */
  readonly outputs: Readonly<Record<string, DeviceBuffer>>;
  /**
   * Buffers for the outputs of sampling, by name: no set where nothing is sampled, one, or as many as steps may be in flight
   * where a step may be submitted before the ids of the one before are known.
   */
  readonly sampled: readonly SampledBuffers[];
}

/** For `sampled`, i32 [outputs], and the log-probabilities of those where a program computes them. */
export type SampledBuffers = Readonly<Record<string, DeviceBuffer>>;

/** Steps that may be submitted behind the one at work, at most. */
export const maxStepsAhead = 2;

export interface ProgramHost {
  readonly device: Device;
  readonly weights: WeightSet;
  readonly model: LanguageModel;
  readonly plan: KvPlan;
  readonly precision: Precision;
  readonly profile: boolean;
}

/** The states that every program shares. */
export interface StepStates {
  /** By layer. */
  readonly kv: ReadonlyMap<number, DeviceBuffer>;
  /** The model's sequence states, by name. */
  readonly sequence: ReadonlyMap<string, DeviceBuffer>;
  /** i32 [maxSequences, contextLength] */
  readonly history: DeviceBuffer;
}

export function disposeStates({ kv, sequence, history }: StepStates): void {
  for (const buffer of [...kv.values(), ...sequence.values(), history]) buffer.dispose();
}

/** What steps run on. All of it is lost with the device. */
export interface StepHost extends ProgramHost {
  readonly states: StepStates;
}

/**
 * Tokens of a runner of generated tokens beyond one for each sequence: guesses, and tokens that are computed again after a
 * preemption. Eight full drafts at once; more would only make that program's scratch memory larger.
 */
export const maxTokenChunk = 64;

/** Tokens of the chunk of generated tokens on a device: those of a runner of their own, or 0 where there is none. */
export function tokenChunk(info: Pick<DeviceInfo, 'numerics'>): number {
  return runnerPhases(info).length > 1 ? maxTokenChunk : 0;
}

/** 64 MB of logits at a time: a vocabulary of 262,144 gives 64 rows, one of 49,152 gives 341. */
const logitsBytes = 64 * 2 ** 20;

/** Tokens that one submission of such a program may take in a phase. */
export function programTokens(
  { result }: Pick<ProgramKind, 'result'>,
  phase: RunnerPhase,
  { model, plan }: Pick<ProgramHost, 'model' | 'plan'>,
): number {
  const chunk = chunkTokens(plan, phase);
  // Decode tokens come on top of the chunk; a sequence that decodes has no prompt left.
  if (result === 'sample') return phase === 'prompt' ? chunk : chunk + plan.maxSequences - 1;
  if (result === 'none') return chunk;
  return Math.min(chunk, Math.max(1, Math.floor(logitsBytes / (4 * model.vocabularySize))));
}

/** Tokens of one step of a runner beyond one for each sequence that decodes: of prompts, guesses, or computed again. */
export function chunkTokens(plan: KvPlan, phase: RunnerPhase): number {
  return phase === 'token' ? plan.tokenChunk : plan.prefillChunk;
}

/** Guesses that one step may check, over all sequences. They are a part of the chunk. */
export function draftRows({ model, plan }: Pick<ProgramHost, 'model' | 'plan'>, phase: RunnerPhase): number {
  const rows = Math.floor(logitsBytes / (4 * model.vocabularySize));
  return Math.min(chunkTokens(plan, phase) - 1, plan.maxSequences * maxDraftTokens, rows);
}

/** Compiles on demand; each kind once, also when two requests ask at the same time. */
export class ProgramCache {
  readonly #programs = new Map<string, Promise<Program>>();

  constructor(private readonly host: ProgramHost) {}

  /** Rejects with what the model's builder or the device says; a failure is not kept. */
  get(kind: ProgramKind): Promise<Program> {
    return this.#made(kind, () => this.#compile(kind));
  }

  /** What samples one row of the logits that a program has left. It has no buffers of its own. Rejects as {@link get}. */
  sampler(late: ProgramKind, phase: RunnerPhase): Promise<Program> {
    const kind = samplerKind(late, phase);
    return this.#made(kind, () => this.#compileSampler(kind));
  }

  /** Buffers for what a sampler samples. They are the caller's. */
  sampledBuffers({ executable }: Program): SampledBuffers {
    const { device } = this.host;
    return Object.fromEntries(
      Object.entries(executable.signature.outputs).map(([name, { dtype, shape }]) => {
        const byteLength = tensorBytes(dtype, resolveShape(shape, { outputs: 1 }));
        return [name, device.allocate(byteLength, { name })];
      }),
    );
  }

  #made(kind: ProgramKind, make: () => Promise<Program>): Promise<Program> {
    const { name } = kind;
    const known = this.#programs.get(name);
    if (known) return known;
    const made = make();
    this.#programs.set(name, made);
    made.catch(() => this.#programs.delete(name));
    return made;
  }

  /** Those compiled so far. */
  async all(): Promise<Program[]> {
    const settled = await Promise.allSettled(this.#programs.values());
    return settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  }

  async dispose(): Promise<void> {
    const programs = await this.all();
    this.#programs.clear();
    for (const { executable, outputs, sampled } of programs) {
      executable.dispose();
      for (const buffers of [outputs, ...sampled]) {
        for (const buffer of Object.values(buffers)) buffer.dispose();
      }
    }
  }

  #samplingOf({ masked, topLogProbabilities }: ProgramKind): SampleStepOptions {
    const { maxSequences, contextLength } = this.host.plan;
    return {
      history: [maxSequences, contextLength],
      masked,
      ...(topLogProbabilities === undefined ? {} : { topLogProbabilities }),
    };
  }

  async #compileSampler(kind: ProgramKind): Promise<Program> {
    const { device, weights, model, precision, profile } = this.host;
    const sampledIds = (await model.sampledIds?.())?.count ?? model.vocabularySize;
    const graph = sampleGraph(`${model.name} ${kind.name}`, sampledIds, this.#samplingOf(kind));
    const executable = await device.compile(graph, weights, {
      dims: { outputs: 1, biases: { max: maxLogitBiases } },
      precision,
      profile,
      ...(kind.phase ? { phase: kind.phase } : {}),
    });
    return { kind, executable, sampledIds, outputs: {}, sampled: [] };
  }

  async #compile(kind: ProgramKind): Promise<Program> {
    const { device, weights, model, plan, precision, profile } = this.host;
    const builder = new GraphBuilder(`${model.name} ${kind.name}`);
    const sampled = kind.result === 'sample' ? await model.sampledIds?.() : undefined;
    const { logits } = model.buildStep(builder, {
      kvDType: plan.kvDType,
      blockTokens: plan.blockTokens,
      logits: kind.result === 'sample' ? 'selected' : kind.result,
      hidden: kind.hidden,
      ...(sampled ? { sampled } : {}),
      ...(kind.given ? { given: true } : {}),
      ...(kind.reach ? { reach: true } : {}),
      ...(kind.size ? { size: kind.size } : {}),
    });
    if (kind.result === 'sample' && !kind.late) {
      addSampling(builder, logits!, this.#samplingOf(kind));
    }
    const maximum: Record<string, number> = {
      tokens: programTokens(kind, kind.phase, this.host),
      sequences: plan.maxSequences,
      outputs: plan.maxSequences + (kind.drafts ? draftRows(this.host, kind.phase) : 0),
      blocks: plan.tableColumns,
      biases: maxLogitBiases,
    };
    if (kind.given) maximum.given = maximum.tokens!;
    const dims: Record<string, number | { max: number }> = {};
    for (const [dim, max] of Object.entries(maximum)) dims[dim] = { max };
    if (plan.stateSlots > 0) dims[stateSlotsDim] = maximum[stateSlotsDim] = plan.stateSlots;
    for (const { group, blocks } of plan.groups) dims[poolDim(group)] = maximum[poolDim(group)] = blocks;
    const executable = await device.compile(builder.build(), weights, {
      dims,
      precision,
      profile,
      ...(kind.phase ? { phase: kind.phase } : {}),
    });
    const outputs: Record<string, DeviceBuffer> = {};
    // Masks and checks of guesses want each id on the host before the next step. Where a sequence has ended meanwhile,
    // what was computed in excess would have changed its states.
    const isFree = !kind.masked && !kind.drafts && plan.stateSlots === 0;
    const ahead = executable.runsAhead && isFree ? maxStepsAhead : 0;
    const sets = kind.result === 'sample' && !kind.late ? 1 + ahead : 0;
    const buffers = Array.from({ length: sets }, (): Record<string, DeviceBuffer> => ({}));
    for (const [name, { dtype, shape }] of Object.entries(executable.signature.outputs)) {
      const byteLength = tensorBytes(dtype, resolveShape(shape, maximum));
      for (const set of sampledOutputs.includes(name) ? buffers : [outputs]) {
        set[name] = device.allocate(byteLength, { name });
      }
    }
    const sampledIds = kind.result === 'sample' ? (logits!.shape[1] as number) : 0;
    return { kind, executable, sampledIds, outputs, sampled: buffers };
  }
}
