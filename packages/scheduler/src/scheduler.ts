/**
 * The scheduler as its callers see it: requests are checked and become jobs of a {@link StepLoop}. It knows tokens, never text, and no model or backend by name.
 */
import { UnicornError, type KvPlan, type ProfileEntry } from '@unicorn-exec/tensor';
import { checkSpeculation } from './draft/speculation.js';
import { GenerationJob, type SpeculationSetup } from './generation-job.js';
import type { KvGroupStats } from './kv/kv-cache.js';
import { checkSpans } from './prompt-span.js';
import {
  checkCache,
  checkContext,
  checkLateMask,
  checkLogProbabilities,
  checkMaxTokens,
  checkPriority,
  checkTokens,
} from './request.js';
import type { ForwardOptions, ForwardResult, GenerateRequest, Generation } from './request.js';
import { packSampling } from './sampling-parameters.js';
import { checkLimits, type SchedulerOptions } from './scheduler-options.js';
import { ScoreJob } from './score-job.js';
import { openStepHost } from './step-host.js';
import type { Job } from './step/job.js';
import { programKind } from './step/program-kind.js';
import { disposeStates, programTokens, type StepHost } from './step/program.js';
import { StepLoop } from './step/step-loop.js';

export interface SchedulerStats {
  readonly running: number;
  readonly queued: number;
  /** Positions that prompts computed; those that start again after a preemption are counted again. */
  readonly prefilledTokens: number;
  /** Positions that were taken from the prefix cache instead. */
  readonly reusedTokens: number;
  readonly generatedTokens: number;
  /** Times that a generation had to give its memory to an older one. */
  readonly preemptions: number;
  /** Times that work was planned, or followed on the device from what was planned before. */
  readonly steps: number;
  /** At least one for each program that a step needs; those of drafts count, too. */
  readonly submissions: number;
  /** Guesses that were checked, those that were right, and the steps that checked any. */
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
  readonly speculationSteps: number;
  readonly kvBytes: number;
  /** Ended sequences that later ones may continue from. */
  readonly idleSequences: number;
  readonly idleTokens: number;
  readonly kvGroups: readonly KvGroupStats[];
}

export class Scheduler {
  readonly #loop: StepLoop;
  readonly #maxQueued: number;
  readonly #clock: () => number;
  /** Lets go of a signal once its jobs have ended, so that a long-lived signal does not collect listeners. */
  readonly #onEnd = new Map<Job, () => void>();
  /** Requests so far that share nothing with others. */
  #alone = 0;
  #closing: Promise<void> | undefined;

  private constructor(
    private readonly options: SchedulerOptions,
    host: StepHost,
    { maxQueued, stepsAhead }: ReturnType<typeof checkLimits>,
  ) {
    const { onDeviceLost, clock = () => performance.now() } = options;
    this.#maxQueued = maxQueued;
    this.#clock = clock;
    const moveOn = onDeviceLost && ((error: UnicornError) => this.#moveOn(error, onDeviceLost));
    this.#loop = new StepLoop({ host, clock, stepsAhead, moveOn });
  }

  /**
   * Allocates the KV states. Programs are compiled when first needed; {@link prepare} does it ahead.
   *
   * @throws UnicornError `usage/scheduler-option` for a number out of range, `unsupported/kv-dtype` when the device
   * cannot keep such a cache, `resource/memory` when there is not enough of it
   */
  static async create(options: SchedulerOptions): Promise<Scheduler> {
    const limits = checkLimits(options);
    return new Scheduler(options, openStepHost(options), limits);
  }

  get #host(): StepHost {
    return this.#loop.host;
  }

  /** How memory was laid out. */
  get plan(): KvPlan {
    return this.#host.plan;
  }

  /** Compiles what `generate` needs for a size and a way of speculating, so that the first request need not wait. */
  async prepare(options: Pick<GenerateRequest, 'size' | 'speculation'> = {}): Promise<void> {
    this.#expectOpen();
    const { size, speculation } = options;
    const { phases } = this.#loop;
    const kinds = phases.map((phase) => programKind('sample', { size, phase }));
    if (speculation) {
      checkSpeculation(speculation);
      const { draft } = speculation;
      // Guesses lie behind their prompt's end.
      const phase = phases.at(-1);
      kinds.push(programKind('sample', { size, drafts: true, phase }));
      if (draft !== 'ngram') kinds.push(programKind('sample', { size: draft, phase }));
    }
    for (const kind of kinds) await this.#loop.programs.get(kind);
  }

  /**
   * Queues a request; the iterator yields its tokens, then its end, or rejects with what went wrong on the device.
   *
   * @throws UnicornError at once: `usage/prompt`, `usage/token-id`, `usage/context` (fields promptTokens, contextLength),
   * `usage/span`, `usage/max-tokens`, `usage/mask`, `usage/sampling`, `usage/log-probabilities`, `usage/speculation`, `usage/cache`, `usage/priority`, `resource/context` when the KV pool can never hold it, `resource/queue` when
   * too many wait, `usage/closed`
   */
  generate(request: GenerateRequest): Generation {
    this.#expectOpen();
    const { model, plan } = this.#host;
    const tokens = checkTokens(request.tokens, model.vocabularySize);
    checkContext(tokens.length, plan.contextLength, 1);
    checkMaxTokens(request.maxTokens);
    checkLateMask(request);
    const cache = checkCache(request.cache);
    const isAlone = cache === 'none';
    const room = plan.contextLength - tokens.length;
    // The last token needs no place in the pool. A limit that the caller did not set is what fits.
    const fitting = Math.max(1, Math.min(room, this.#loop.admission.cache.maxTokens - tokens.length + 1));
    const maxTokens = request.maxTokens === undefined ? fitting : Math.min(request.maxTokens, room);
    const job = new GenerationJob({
      tokens,
      spans: checkSpans(request.spans, tokens.length, plan.prefillChunk),
      maxTokens,
      sampling: packSampling(request.sampling ?? {}, model.vocabularySize),
      stopIds: new Set(request.stopIds),
      mask: request.mask,
      lateMask: request.lateMask,
      logProbabilities: request.logProbabilities,
      program: programKind('sample', {
        masked: request.mask !== undefined,
        late: request.lateMask !== undefined,
        topLogProbabilities: checkLogProbabilities(request.logProbabilities, model.vocabularySize),
        size: request.size,
      }),
      reuse: isAlone ? 'none' : (request.reuse ?? 'exact'),
      // While it runs, a salt of its own keeps others from sharing what it has.
      salt: isAlone ? `alone ${this.#alone++}` : cache && `given ${cache.salt}`,
      retain: !isAlone,
      priority: checkPriority(request.priority),
      vocabularySize: model.vocabularySize,
      speculation: this.#speculation(request),
      clock: this.#clock,
      onEnd: (ended) => this.#ended(ended),
    });
    this.#checkFit(job);
    this.#checkQueue();
    this.#submit([job], request.signal);
    return job.generation;
  }

  /**
   * Runs whole sequences through the model in ragged chunks, for evaluation. Unless `reuse` is given it takes blocks of its
   * own and leaves the prefix cache as it is, but for idle sequences that must give way.
   *
   * @returns one result for each sequence; without `onRows` it holds every computed row: `vocabularySize` floats each
   * @throws UnicornError (as a rejection) as `generate` does, and `usage/cancelled`
   */
  async forward(sequences: readonly ArrayLike<number>[], options: ForwardOptions): Promise<ForwardResult[]> {
    this.#expectOpen();
    const { model, plan } = this.#host;
    const program = programKind(options.logits, {
      hidden: options.hidden,
      size: options.size,
    });
    const chunk = programTokens(program, this.#loop.phases[0], this.#host);
    const jobs = sequences.map((given, sequence) => {
      const tokens = checkTokens(given, model.vocabularySize);
      checkContext(tokens.length, plan.contextLength, 0);
      const { onRows, reuse = 'none' } = options;
      const onEnd = (ended: Job): void => this.#ended(ended);
      const job = new ScoreJob({
        sequence,
        tokens,
        spans: checkSpans(options.spans?.[sequence], tokens.length, chunk),
        program,
        reuse,
        onRows,
        onEnd,
      });
      this.#checkFit(job);
      return job;
    });
    if (jobs.length === 0) return [];
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
    const { idle, idleTokens, groups } = this.#loop.admission.cache.stats();
    return {
      running: this.#loop.admission.running.size,
      queued: this.#loop.admission.queued,
      ...this.#loop.counts,
      kvBytes: this.plan.bytes,
      idleSequences: idle,
      idleTokens,
      kvGroups: groups,
    };
  }

  /** Where the time went, when created with `profile`: the steps of all programs, by name. */
  async profile(): Promise<{ readonly program: string; readonly steps: readonly ProfileEntry[] }[]> {
    const programs = await this.#loop.programs.all();
    return programs.map(({ kind, executable }) => ({ program: kind.name, steps: executable.profile() }));
  }

  /** Forgets every ended sequence, so that the next request starts from nothing. */
  clearPrefixCache(): void {
    this.#loop.admission.cache.clear();
  }

  /** @throws UnicornError `internal/invariant` when memory is not where it should be; for tests and health checks */
  checkIntegrity(): void {
    this.#loop.admission.checkIntegrity();
  }

  /** Ends what is queued or running as `cancelled`, or with `error`, waits for the device, frees everything. Idempotent. */
  close(error?: UnicornError): Promise<void> {
    return (this.#closing ??= this.#close(error));
  }

  async #close(error: UnicornError | undefined): Promise<void> {
    await this.#loop.close(error);
    disposeStates(this.#host.states);
  }

  /** The device was lost: what takes over, with states of its own. */
  async #moveOn(
    error: UnicornError,
    onDeviceLost: NonNullable<SchedulerOptions['onDeviceLost']>,
  ): Promise<StepHost> {
    const { device, weights } = await onDeviceLost(error);
    return openStepHost({ ...this.options, device, weights });
  }

  #expectOpen(): void {
    if (!this.#closing) return;
    throw new UnicornError('usage/closed', 'The scheduler was closed.', { fix: 'Create another one.' });
  }

  #speculation({ speculation, mask }: GenerateRequest): SpeculationSetup | undefined {
    if (!speculation) return undefined;
    checkSpeculation(speculation);
    const { draft } = speculation;
    const program =
      draft === 'ngram' ? undefined : programKind('sample', { masked: mask !== undefined, size: draft });
    return { options: speculation, program, newRates: (name) => this.#loop.policy.newRates(name) };
  }

  #checkFit({ totalTokens }: Job): void {
    if (this.#loop.admission.cache.fits(totalTokens) !== 'never') return;
    const { maxTokens } = this.#loop.admission.cache;
    throw new UnicornError(
      'resource/context',
      `The sequence needs room for ${totalTokens} tokens; the KV cache holds ${maxTokens} of one sequence.`,
      {
        fields: { neededTokens: totalTokens, availableTokens: maxTokens },
        fix: 'Ask for fewer tokens, or give the KV cache more memory.',
      },
    );
  }

  /** Whoever is about to be admitted stands in the queue, too, but does not wait. */
  #checkQueue(): void {
    const { queued, running } = this.#loop.admission;
    const free = Math.max(0, this.plan.maxSequences - running.size);
    if (queued < this.#maxQueued + free) return;
    throw new UnicornError('resource/queue', `${queued} requests are waiting already.`, {
      fields: { queued, maxQueued: this.#maxQueued, running: running.size },
      fix: 'Try again later, or allow more requests to wait (`maxQueued`) or to run at once (`maxSequences`).',
    });
  }

  #submit(jobs: readonly Job[], signal: AbortSignal | undefined): void {
    const cancel = (): void => jobs.forEach((job) => job.cancel());
    if (signal?.aborted) return cancel();
    if (signal) {
      signal.addEventListener('abort', cancel, { once: true });
      let open = jobs.length;
      for (const job of jobs) {
        this.#onEnd.set(job, () => {
          if (--open === 0) signal.removeEventListener('abort', cancel);
        });
      }
    }
    this.#loop.submit(jobs);
  }

  #ended(job: Job): void {
    this.#onEnd.get(job)?.();
    this.#onEnd.delete(job);
    this.#loop.ended(job);
  }
}
