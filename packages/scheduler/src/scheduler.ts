/**
 * The step loop: takes jobs from a bounded queue, gives them memory, and turns what is left of each into ragged steps,
 * decoding sequences first, then prompts in chunks. One submission for each program that a step needs.
 *
 * It knows tokens, never text, and no model or backend by name. Life of a job: queued, admitted (blocks reserved for its
 * tokens, a row of the history), stepped until it ends, released (its blocks freed or kept for prefix reuse).
 *
 * Generations share the pool by what they hold, not by what they might: when an older one grows and nothing is left, the
 * youngest is put back at the head of the queue and starts again from its tokens. Results do not depend on how tokens
 * were batched and draws depend on the position only, so it goes on as if nothing had happened. The oldest always gets
 * on, since a job that could not run alone is refused at once.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  invariant,
  isUnicornError,
  tensorBytes,
  UnicornError,
  type Device,
  type DeviceBuffer,
  type DType,
  type ElasticSize,
  type LanguageModel,
  type ProfileEntry,
  type WeightSet,
} from '@unicorn-exec/tensor';
import { GenerationJob, ScoreJob, type Job } from './job.js';
import { KvCache, type KvGroupStats } from './kv-cache.js';
import { planKv, type KvPlan } from './kv-plan.js';
import { ProgramCache, programName, programTokens, sizeName, stepNames } from './program.js';
import type { Program, ProgramHost, ProgramKind } from './program.js';
import { checkContext, checkMaxTokens, checkTokens } from './request.js';
import type { ForwardOptions, ForwardResult, GenerateRequest, Generation } from './request.js';
import { packSampling } from './sampling-parameters.js';
import { StepBatch, type StepPart } from './step-batch.js';

export interface SchedulerOptions {
  readonly device: Device;
  /** Loaded on the device; stays the caller's. */
  readonly weights: WeightSet;
  readonly model: LanguageModel;
  /** Positions of one sequence. Default: the model's. */
  readonly contextLength?: number | undefined;
  /** Default f16 where the device has it, else f32. */
  readonly kvDType?: DType | undefined;
  /** Sequences that run at once; others wait. Default 1. */
  readonly maxSequences?: number | undefined;
  /** Prompt tokens of one step, over all sequences. Default 512. */
  readonly prefillChunk?: number | undefined;
  readonly precision?: 'f32' | 'fast' | undefined;
  /** Tokens of one KV block. Default 16. */
  readonly blockTokens?: number | undefined;
  /** Tokens that a KV group without a window holds, over all sequences. Default `contextLength`. */
  readonly kvTokens?: number | undefined;
  /** Requests that may wait; one more is refused with `resource/queue`. Default 256. */
  readonly maxQueued?: number | undefined;
  /** Collects the time of each device step; read it from {@link Scheduler.profile}. */
  readonly profile?: boolean | undefined;
}

export interface SchedulerStats {
  readonly running: number;
  readonly queued: number;
  /** Positions that prompts computed (again, after a preemption), and those of prompts that were taken from the prefix cache instead. */
  readonly prefilledTokens: number;
  readonly reusedTokens: number;
  readonly generatedTokens: number;
  /** Times that a generation had to give its memory to an older one. */
  readonly preemptions: number;
  readonly steps: number;
  readonly submissions: number;
  readonly kvBytes: number;
  /** Ended sequences that later ones may continue from. */
  readonly idleSequences: number;
  readonly idleTokens: number;
  readonly kvGroups: readonly KvGroupStats[];
}

/** One program's share of a step. */
interface StepGroup {
  readonly kind: ProgramKind;
  readonly jobs: { readonly job: Job; readonly count: number }[];
  tokensLeft: number;
}

export class Scheduler {
  readonly #queue: Job[] = [];
  readonly #running = new Set<Job>();
  readonly #slots: number[];
  readonly #cache: KvCache;
  readonly #programs: ProgramCache;
  readonly #batch: StepBatch;
  readonly #counts = {
    prefilledTokens: 0,
    reusedTokens: 0,
    generatedTokens: 0,
    preemptions: 0,
    steps: 0,
    submissions: 0,
  };
  /** Lets go of a signal once its jobs have ended, so that a long-lived signal does not collect listeners. */
  readonly #onRelease = new Map<Job, () => void>();
  #loop: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  private constructor(
    private readonly host: ProgramHost,
    private readonly kvStates: ReadonlyMap<number, DeviceBuffer>,
    private readonly history: DeviceBuffer,
    private readonly maxQueued: number,
  ) {
    this.#slots = Array.from({ length: host.plan.maxSequences }, (_, slot) => slot).reverse();
    this.#cache = new KvCache(host.plan);
    this.#programs = new ProgramCache(host);
    this.#batch = new StepBatch(host.plan, host.model.vocabularySize, { kv: kvStates, history });
  }

  /**
   * Allocates the KV states. Programs are compiled when first needed; {@link prepare} does it ahead.
   *
   * @throws UnicornError `usage/scheduler-option` for a number out of range, `unsupported/kv-dtype` when the device
   * cannot keep such a cache, `resource/memory` when there is not enough of it
   */
  static async create(options: SchedulerOptions): Promise<Scheduler> {
    const { device, weights, model } = options;
    const offered = device.info.dtypes.kv;
    const kvDType = options.kvDType ?? (offered.includes('f16') ? 'f16' : 'f32');
    if (!offered.includes(kvDType)) {
      throw new UnicornError(
        'unsupported/kv-dtype',
        `${device.info.name} cannot keep a KV cache of ${kvDType}.`,
        {
          fields: { kvDType, offered: [...offered] },
          fix: `Use ${offered.join(' or ')}.`,
        },
      );
    }
    const maxQueued = options.maxQueued ?? 256;
    if (!Number.isSafeInteger(maxQueued) || maxQueued < 1) {
      throw new UnicornError(
        'usage/scheduler-option',
        `maxQueued must be a whole number from 1, not ${maxQueued}.`,
      );
    }
    const plan = planKv({
      groups: model.kvGroups,
      contextLength: options.contextLength ?? model.contextLength,
      kvDType,
      ...pick(options, ['maxSequences', 'prefillChunk', 'blockTokens', 'kvTokens']),
    });
    const states = new Map<number, DeviceBuffer>();
    try {
      for (const { group, layerBytes } of plan.groups) {
        for (const layer of group.layers) states.set(layer, device.allocate(layerBytes));
      }
      const history = device.allocate(tensorBytes('i32', [plan.maxSequences, plan.contextLength]));
      const precision = options.precision ?? 'fast';
      const profile = options.profile ?? false;
      return new Scheduler({ device, weights, model, plan, precision, profile }, states, history, maxQueued);
    } catch (error) {
      for (const state of states.values()) state.dispose();
      throw error;
    }
  }

  /** How memory was laid out. */
  get plan(): KvPlan {
    return this.host.plan;
  }

  /** Compiles what `generate` needs for a size, so that the first request does not wait for it. */
  async prepare(options: { readonly size?: ElasticSize | undefined } = {}): Promise<void> {
    this.#expectOpen();
    await this.#programs.get({ result: 'sample', hidden: false, masked: false, size: options.size });
  }

  /**
   * Queues a request; the iterator yields its tokens, then its end, or rejects with what went wrong on the device.
   *
   * @throws UnicornError at once: `usage/prompt`, `usage/token-id`, `usage/context` (fields promptTokens, contextLength),
   * `usage/max-tokens`, `usage/sampling`, `resource/context` when the KV pool can never hold it, `resource/queue` when
   * too many wait, `usage/closed`
   */
  generate(request: GenerateRequest): Generation {
    this.#expectOpen();
    const { model, plan } = this.host;
    const tokens = checkTokens(request.tokens, model.vocabularySize);
    checkContext(tokens.length, plan.contextLength, 1);
    checkMaxTokens(request.maxTokens);
    const room = plan.contextLength - tokens.length;
    // The last token needs no place in the pool. A limit that the caller did not set is what fits.
    const fitting = Math.max(1, Math.min(room, this.#cache.maxTokens - tokens.length + 1));
    const maxTokens = request.maxTokens === undefined ? fitting : Math.min(request.maxTokens, room);
    const job = new GenerationJob({
      tokens,
      maxTokens,
      sampling: packSampling(request.sampling ?? {}, model.vocabularySize),
      stopIds: new Set(request.stopIds),
      mask: request.mask,
      program: { result: 'sample', hidden: false, masked: request.mask !== undefined, size: request.size },
      reuse: request.reuse ?? 'sameSize',
      vocabularySize: model.vocabularySize,
      onEnd: (ended) => this.#ended(ended),
    });
    this.#checkFit(job);
    if (this.#queue.length >= this.maxQueued) {
      throw new UnicornError('resource/queue', `${this.#queue.length} requests are waiting already.`, {
        fields: { queued: this.#queue.length, maxQueued: this.maxQueued, running: this.#running.size },
        fix: 'Try again later, or allow more sequences at once.',
      });
    }
    this.#submit([job], request.signal);
    return job.generation;
  }

  /**
   * Runs whole sequences through the model in ragged chunks, for evaluation. Takes blocks of its own and leaves the
   * prefix cache as it is, but for idle sequences that must give way.
   *
   * @returns one result for each sequence; without `onRows` it holds every row: `tokens * vocabularySize` floats
   * @throws UnicornError (as a rejection) as `generate` does, and `usage/cancelled`
   */
  async forward(sequences: readonly ArrayLike<number>[], options: ForwardOptions): Promise<ForwardResult[]> {
    this.#expectOpen();
    const { model, plan } = this.host;
    const program: ProgramKind = {
      result: options.logits,
      hidden: options.hidden ?? false,
      masked: false,
      size: options.size,
    };
    const jobs = sequences.map((given, sequence) => {
      const tokens = checkTokens(given, model.vocabularySize);
      checkContext(tokens.length, plan.contextLength, 0);
      const { onRows } = options;
      const job = new ScoreJob({ sequence, tokens, program, onRows, onEnd: (ended) => this.#ended(ended) });
      this.#checkFit(job);
      return job;
    });
    this.#submit(jobs, options.signal);
    try {
      return await Promise.all(jobs.map(({ result }) => result));
    } catch (error) {
      // One failed: the rows of the others are of no use any more.
      for (const job of jobs) job.cancel();
      throw error;
    }
  }

  stats(): SchedulerStats {
    const { idle, idleTokens, groups } = this.#cache.stats();
    return {
      running: this.#running.size,
      queued: this.#queue.length,
      ...this.#counts,
      kvBytes: this.plan.bytes,
      idleSequences: idle,
      idleTokens,
      kvGroups: groups,
    };
  }

  /** Where the time went, when created with `profile`: the steps of all programs, by name. */
  async profile(): Promise<{ readonly program: string; readonly steps: readonly ProfileEntry[] }[]> {
    const programs = await this.#programs.all();
    return programs.map(({ name, executable }) => ({ program: name, steps: executable.profile() }));
  }

  /** Forgets every ended sequence, so that the next request starts from nothing. */
  clearPrefixCache(): void {
    this.#cache.clear();
  }

  /** @throws UnicornError `internal/invariant` when memory is not where it should be; for tests and health checks */
  checkIntegrity(): void {
    this.#cache.checkIntegrity();
    const free = new Set(this.#slots);
    const held = [...this.#running].map(({ holding }) => holding!.slot);
    invariant(new Set([...free, ...held]).size === this.plan.maxSequences, 'a row of the history leaked');
    invariant(free.size + held.length === this.plan.maxSequences, 'a row of the history is owned twice');
  }

  /** Ends what is queued or running as `cancelled`, waits for the device, frees everything. Idempotent. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    for (const job of [...this.#queue, ...this.#running]) job.cancel();
    await this.#loop;
    await this.#programs.dispose();
    this.#cache.clear();
    for (const buffer of [...this.kvStates.values(), this.history]) buffer.dispose();
  }

  #expectOpen(): void {
    if (!this.#closing) return;
    throw new UnicornError('usage/closed', 'The scheduler was closed.', { fix: 'Create another one.' });
  }

  #checkFit({ totalTokens }: Job): void {
    if (this.#cache.fits(totalTokens) !== 'never') return;
    const { maxTokens } = this.#cache;
    throw new UnicornError(
      'resource/context',
      `The sequence needs room for ${totalTokens} tokens; the KV cache holds ${maxTokens} of one sequence.`,
      {
        fields: { neededTokens: totalTokens, availableTokens: maxTokens },
        fix: 'Ask for fewer tokens, or give the KV cache more memory.',
      },
    );
  }

  #submit(jobs: readonly Job[], signal: AbortSignal | undefined): void {
    const cancel = (): void => jobs.forEach((job) => job.cancel());
    if (signal?.aborted) return cancel();
    this.#queue.push(...jobs);
    if (signal) {
      signal.addEventListener('abort', cancel, { once: true });
      let open = jobs.length;
      for (const job of jobs) {
        this.#onRelease.set(job, () => {
          if (--open === 0) signal.removeEventListener('abort', cancel);
        });
      }
    }
    this.#loop ??= this.#run();
  }

  /** A job ended: it leaves the queue or, unless the device is still at it, the running ones. */
  #ended(job: Job): void {
    this.#onRelease.get(job)?.();
    this.#onRelease.delete(job);
    const waiting = this.#queue.indexOf(job);
    if (waiting >= 0) this.#queue.splice(waiting, 1);
    else if (!job.inFlight) this.#release(job);
  }

  #release(job: Job): void {
    if (!this.#running.delete(job)) return;
    this.#cache.close(job.holding!.kv, job.retain);
    this.#slots.push(job.holding!.slot);
    job.holding = undefined;
  }

  /** Runs while there is work. Never rejects: what fails, fails the jobs that it concerns. */
  async #run(): Promise<void> {
    for (;;) {
      // Timers, input and output of the process come first; also lets requests of one turn meet in one step.
      await nextTurn();
      if (this.#running.size === 0 && this.#queue.length === 0) break;
      try {
        await this.#admit();
        const groups = this.#planStep();
        if (groups.length > 0) this.#counts.steps++;
        for (const group of groups) await this.#step(group);
      } catch (error) {
        // A bug of ours: nobody may wait for ever because of it.
        for (const job of [...this.#queue, ...this.#running]) {
          job.inFlight = false;
          job.fail(error);
        }
      }
    }
    this.#loop = undefined;
  }

  /** Takes from the head of the queue while memory lasts. Nobody overtakes, so nobody waits for ever. */
  async #admit(): Promise<void> {
    const writes: Promise<void>[] = [];
    for (let job = this.#queue[0]; job && this.#slots.length > 0; job = this.#queue[0]) {
      const { tokens, reuse, program } = job;
      const kv = this.#cache.open(tokens, { reuse, size: sizeName(program.size) });
      if (!kv) break;
      this.#queue.shift();
      job.holding = { kv, slot: this.#slots.pop()! };
      this.#running.add(job);
      this.#counts.reusedTokens += kv.reused;
      job.admitted();
      if (program.result === 'sample') writes.push(this.#writeHistory(job));
    }
    await Promise.all(writes);
  }

  /** The prompt as the penalties see it. */
  async #writeHistory(job: Job): Promise<void> {
    const ids = Int32Array.from(job.tokens);
    const offset = job.holding!.slot * this.plan.contextLength * ids.BYTES_PER_ELEMENT;
    job.inFlight = true;
    try {
      await this.host.device.write(this.history, offset, new Uint8Array(ids.buffer));
    } catch (error) {
      job.fail(error);
    }
    job.inFlight = false;
    if (job.ended) this.#release(job);
  }

  /** Who computes what in the next step: every decoding sequence, then prompts, oldest first, within the chunk. */
  #planStep(): StepGroup[] {
    const groups = new Map<string, StepGroup>();
    const take = (job: Job, wanted: number): number => {
      const name = programName(job.program);
      let group = groups.get(name);
      if (!group) {
        const tokensLeft = programTokens(job.program, this.host);
        groups.set(name, (group = { kind: job.program, jobs: [], tokensLeft }));
      }
      const count = Math.min(wanted, group.tokensLeft);
      if (count === 0) return 0;
      group.tokensLeft -= count;
      group.jobs.push({ job, count });
      return count;
    };
    for (const job of [...this.#running]) {
      if (job.holding && this.#decodes(job) && this.#grow(job)) take(job, 1);
    }
    let chunk = this.plan.prefillChunk;
    for (const job of this.#running) {
      if (chunk === 0) break;
      if (!this.#decodes(job)) chunk -= take(job, Math.min(left(job), chunk));
    }
    return [...groups.values()].filter(({ jobs }) => jobs.length > 0);
  }

  /** One generated token is all that is left to compute. */
  #decodes(job: Job): boolean {
    return job.decoding && left(job) === 1;
  }

  /** Room for one token more, from younger generations if need be. False: this one waits. */
  #grow(job: Job): boolean {
    const { kv } = job.holding!;
    while (!this.#cache.extend(kv, kv.computed + 1)) {
      const youngest = [...this.#running].reverse().find(({ preemptible }) => preemptible);
      if (youngest) this.#preempt(youngest);
      if (!job.holding || !youngest) return false;
    }
    return true;
  }

  #preempt(job: Job): void {
    this.#counts.preemptions++;
    this.#release(job);
    this.#queue.unshift(job);
  }

  /** One submission. A failure is that of its jobs. */
  async #step({ kind, jobs }: StepGroup): Promise<void> {
    const entries: { job: Job; part: StepPart }[] = [];
    for (const { job, count } of jobs) {
      // An earlier submission of this step may have taken time enough for a job to be cancelled.
      if (job.ended) continue;
      try {
        const part = job.part(count);
        const roomy = this.#cache.extend(part.kv, part.kv.computed + count);
        invariant(roomy, 'a planned step was not reserved');
        entries.push({ job, part });
      } catch (error) {
        job.fail(error);
      }
    }
    if (entries.length === 0) return;
    for (const { job } of entries) job.inFlight = true;
    let program: Program;
    let sampled: Int32Array;
    try {
      program = await this.#programs.get(kind);
      const bindings = this.#batch.bind(
        program,
        entries.map(({ part }) => part),
      );
      this.#counts.submissions++;
      await program.executable.submit(bindings).done;
      sampled = await this.#readSampled(program, entries.filter(({ part }) => part.sample).length);
    } catch (error) {
      this.#failStep(entries, error);
      return;
    }
    await this.#absorb(program, entries, sampled);
  }

  #failStep(entries: readonly { readonly job: Job }[], error: unknown): void {
    for (const { job } of entries) {
      job.inFlight = false;
      if (job.ended) this.#release(job);
      else job.fail(error);
    }
    // A device that was lost took the caches along.
    if (isUnicornError(error) && error.family === 'device') this.#cache.clear();
  }

  async #absorb(
    program: Program,
    entries: readonly { readonly job: Job; readonly part: StepPart }[],
    sampled: Int32Array,
  ): Promise<void> {
    let tokens = 0;
    for (const { part } of entries) tokens += part.count;
    let outputs: ReadonlyMap<string, Float32Array> | undefined;
    if (program.kind.result !== 'sample') {
      try {
        outputs = await this.#readRows(program, tokens);
      } catch (error) {
        this.#failStep(entries, error);
        return;
      }
    }
    let row = 0;
    let output = 0;
    for (const { job, part } of entries) {
      const { kv, count } = part;
      const position = kv.computed;
      const first = row;
      row += count;
      const token = part.sample ? sampled[output++]! : undefined;
      if (program.kind.result === 'sample') {
        if (!this.#decodes(job)) this.#counts.prefilledTokens += count;
        if (token !== undefined) this.#counts.generatedTokens++;
      }
      this.#cache.advance(kv, position + count);
      job.inFlight = false;
      if (job.ended) {
        this.#release(job);
        continue;
      }
      try {
        job.absorb(outputs ? { rows: slice(outputs, first, count, tokens) } : { token }, position, count);
      } catch (error) {
        job.fail(error);
      }
    }
  }

  async #readSampled(program: Program, count: number): Promise<Int32Array> {
    if (count === 0) return new Int32Array(0);
    const bytes = await this.#readOutput(
      program.outputs[stepNames.sampled]!,
      count * Int32Array.BYTES_PER_ELEMENT,
    );
    return new Int32Array(bytes.buffer, bytes.byteOffset, count);
  }

  /** Every output of a scoring step, [tokens, features]. */
  async #readRows(program: Program, tokens: number): Promise<Map<string, Float32Array>> {
    const outputs = new Map<string, Float32Array>();
    for (const [name, { shape }] of Object.entries(program.executable.signature.outputs)) {
      invariant(shape[0] === 'tokens', `the output "${name}" must be [tokens, features]`);
      const count = tokens * shape.slice(1).reduce<number>((product, dim) => product * (dim as number), 1);
      const bytes = await this.#readOutput(program.outputs[name]!, count * Float32Array.BYTES_PER_ELEMENT);
      outputs.set(name, new Float32Array(bytes.buffer, bytes.byteOffset, count));
    }
    return outputs;
  }

  /** Without a copy where the host can address the buffer. */
  async #readOutput(buffer: DeviceBuffer, byteLength: number): Promise<Uint8Array> {
    return buffer.host ?? (await this.host.device.read(buffer, 0, byteLength));
  }
}

/** Known tokens of an admitted job that are not computed. */
function left({ tokens, holding }: Job): number {
  return tokens.length - holding!.kv.computed;
}

/** The rows of one sequence among those of all. */
function slice(
  outputs: ReadonlyMap<string, Float32Array>,
  first: number,
  count: number,
  tokens: number,
): Map<string, Float32Array> {
  return new Map(
    [...outputs].map(([name, rows]) => {
      const features = rows.length / tokens;
      return [name, rows.subarray(first * features, (first + count) * features)];
    }),
  );
}

function pick<T extends object, K extends keyof T>(
  from: T,
  keys: readonly K[],
): { [P in K]?: Exclude<T[P], undefined> } {
  return Object.fromEntries(keys.filter((key) => from[key] !== undefined).map((key) => [key, from[key]])) as {
    [P in K]?: Exclude<T[P], undefined>;
  };
}
