/**
 * The step loop: takes jobs from a queue, gives them memory, and turns what is left of each into steps, with one submission
 * for each program that a step needs. It does not know what a request is: see {@link Scheduler} for that. Its parts know
 * more: {@link Admission} memory, {@link planStep} who is computed, {@link Lane} how what is planned runs.
 *
 * Life of a job: queued, admitted (blocks reserved for its tokens, a row of the history), stepped until it ends,
 * released (its blocks freed or kept for prefix reuse).
 *
 * With one lane, planning and running take turns. With two, one for prompts and one for generated tokens, each lane is
 * planned when it has nothing to do, from the jobs that the other is not at.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { UnicornError } from '@unicorn-exec/tensor';
import { DraftPolicy } from '../draft/draft-policy.js';
import { leastCount } from '../kv/token-span.js';
import { Admission } from './admission.js';
import { Drafting } from './drafting.js';
import { Flights } from './flight.js';
import { decodes, phaseOf, programOf, tokensLeft, type Job } from './job.js';
import { Landing } from './landing.js';
import { Lane, type JobCandidate } from './lane.js';
import { lanePhases, type LanePhase } from './phase.js';
import { inPhase } from './program-kind.js';
import { chunkTokens, ProgramCache, programTokens, stepNames, type ProgramHost } from './program.js';
import type { StepStates } from './step-batch.js';
import { StepCounts } from './step-counts.js';
import { planStep, type PlannedSubmission } from './step-plan.js';

export class StepLoop {
  readonly counts = new StepCounts();
  readonly policy = new DraftPolicy();
  readonly programs: ProgramCache;
  readonly admission: Admission;
  readonly phases: readonly LanePhase[];
  readonly #drafting: Drafting;
  readonly #lanes: readonly Lane[];
  #loop: Promise<void> | undefined;
  /** Jobs that were admitted and are being made ready for their first step. */
  #preparing = 0;
  /** Something has happened since the loop looked last. */
  #news = false;
  #wake: (() => void) | undefined;

  /** @param stepsAhead steps that may be submitted before the tokens of the one before them are known */
  constructor(
    private readonly host: ProgramHost,
    private readonly states: StepStates,
    clock: () => number,
    stepsAhead: number,
  ) {
    const { counts, policy } = this;
    const { info } = host.device;
    this.phases = lanePhases(info);
    this.programs = new ProgramCache(host);
    this.admission = new Admission(host.plan, info.numerics, counts);
    const { programs, admission } = this;
    const flights = new Flights(host, states, programs, admission, counts);
    const landing = new Landing(flights, admission, counts);
    this.#drafting = new Drafting(host, programs, admission, flights, policy, clock, this.phases.at(-1));
    const parts = {
      admission,
      flights,
      landing,
      drafting: this.#drafting,
      policy,
      counts,
      clock,
      stepsAhead,
    };
    this.#lanes = this.phases.map((phase) => new Lane(phase, parts));
  }

  /** Queues jobs; the loop runs while there are any. */
  submit(jobs: readonly Job[]): void {
    this.admission.enqueue(jobs);
    // With one lane whoever comes is admitted between steps, with two as soon as one of them has nothing to do.
    if (this.#lanes.length > 1) this.#tell();
    this.#loop ??= this.#run();
  }

  /** Cancels every job, or fails it with `error`; waits for the device, frees what was compiled. */
  async close(error?: UnicornError): Promise<void> {
    for (const job of this.admission.jobs) {
      if (error) job.fail(error);
      else job.cancel();
    }
    await this.#loop;
    await this.programs.dispose();
    this.admission.cache.clear();
  }

  /** Runs while there is work. Never rejects: what fails, fails the jobs that it concerns. */
  async #run(): Promise<void> {
    for (;;) {
      // Timers, input and output of the process come first; also lets requests of one turn meet in one step.
      await nextTurn();
      if (this.admission.running.size === 0 && this.admission.queued === 0 && !this.#busy) break;
      this.#news = false;
      try {
        this.admission.preemptYielding();
        const ready = this.admission.admit().map((job) => this.#prepare(job));
        if (this.#lanes.length === 1) await Promise.all(ready);
        for (const lane of this.#lanes) {
          if (lane.busy) continue;
          const submissions = this.#plan(lane.phase);
          if (submissions.length === 0) continue;
          const run = this.#runLane(lane, submissions);
          if (this.#lanes.length === 1) await run;
        }
      } catch (error) {
        this.#failAll(error, this.#busy ? [] : this.admission.jobs);
      }
      if (this.#busy && !this.#news) await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    this.#loop = undefined;
  }

  /** Whether something is under way at whose end the loop is told. */
  get #busy(): boolean {
    return this.#preparing > 0 || this.#lanes.some(({ busy }) => busy);
  }

  async #runLane(lane: Lane, submissions: readonly PlannedSubmission<JobCandidate>[]): Promise<void> {
    this.counts.steps++;
    lane.busy = true;
    try {
      for (const submission of submissions) await lane.run(submission);
    } catch (error) {
      const jobs = submissions.flatMap(({ parts }) => parts.map(({ candidate }) => candidate.job));
      this.#failAll(error, jobs);
    }
    lane.busy = false;
    this.#tell();
  }

  /**
   * A bug of ours: nobody may wait for ever because of it.
   *
   * @param stuck jobs that nobody will unpin any more
   */
  #failAll(error: unknown, stuck: readonly Job[]): void {
    for (const job of stuck) job.pins = 0;
    for (const job of this.admission.jobs) {
      job.fail(error);
      if (job.pins === 0) this.admission.release(job);
    }
  }

  /** Something happened that the loop may be waiting for. */
  #tell(): void {
    this.#news = true;
    this.#wake?.();
  }

  /** Writes the prompt where penalties see it, and compiles what guessing takes. The job is not stepped before. */
  async #prepare(job: Job): Promise<void> {
    if (job.program.result !== 'sample' && job.spans.length === 0) return;
    this.#preparing++;
    this.admission.pin(job);
    try {
      const drafts = job.drafter && this.#drafting.prepare(job);
      if (job.program.result === 'sample') await this.#writeHistory(job);
      await drafts;
      await this.#checkRows(job);
    } catch (error) {
      job.fail(error);
    }
    this.admission.unpin(job);
    this.#preparing--;
    this.#tell();
  }

  /** @throws UnicornError `usage/span` when given rows are not as wide as the model's embeddings */
  async #checkRows({ spans, spanProgram }: Job): Promise<void> {
    const index = spans.findIndex(({ rows }) => rows);
    if (index < 0) return;
    const { executable } = await this.programs.get(inPhase(spanProgram!, this.phases[0]));
    const features = executable.signature.inputs[stepNames.given]!.shape[1] as number;
    const { begin, end, rows } = spans[index]!;
    const width = rows!.length / (end - begin);
    if (width === features) return;
    throw new UnicornError('usage/span', `Span ${index} of the prompt has rows of ${width} features.`, {
      fields: { index, features: width, expected: features },
      fix: `Give rows of ${features} features, which the model's embeddings have.`,
    });
  }

  #writeHistory(job: Job): Promise<void> {
    const ids = Int32Array.from(job.tokens);
    const offset = job.holding!.historyRow * this.host.plan.contextLength * ids.BYTES_PER_ELEMENT;
    return this.host.device.write(this.states.history, offset, new Uint8Array(ids.buffer));
  }

  /** Gives room to whoever decodes, begins their drafts, and plans the next step of a lane. */
  #plan(phase: LanePhase): PlannedSubmission<JobCandidate>[] {
    const { admission, host } = this;
    const jobs = [...admission.running].filter(
      (job) => job.pins === 0 && !job.yields && (phase === undefined || phaseOf(job) === phase),
    );
    // Whoever decodes and gets no room waits for a later step.
    const decoding = jobs.filter((job) => job.holding && decodes(job) && admission.grow(job));
    const prompting = jobs.filter((job) => job.holding && !decodes(job));
    const chunk = chunkTokens(host.plan, phase);
    const guesses = this.#drafting.begin(decoding, chunk - this.#leastChunk(prompting[0]));
    const candidates: JobCandidate[] = [];
    const roomy = new Set(decoding);
    for (const job of jobs) {
      if (!job.holding || job.ended || (decodes(job) && !roomy.has(job))) continue;
      const kind = programOf(job);
      candidates.push({
        job,
        kind,
        program: kind.name,
        begin: job.holding.kv.computed,
        left: tokensLeft(job, phase),
        decodes: roomy.has(job),
        guesses: guesses.get(job) ?? 0,
        spans: job.spans,
      });
    }
    return planStep(candidates, {
      chunk,
      tokensOf: ({ kind }) => programTokens(kind, phase, host),
      rows: host.device.info.rows,
    });
  }

  /** Tokens of the chunk that guesses leave to whoever is first in it. */
  #leastChunk(first: Job | undefined): number {
    return first ? leastCount(first.spans, first.holding!.kv.computed) : 1;
  }
}
