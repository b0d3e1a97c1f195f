/**
 * The step loop: takes jobs from a queue, gives them memory, and turns what is left of each into steps, with one submission
 * for each program that a step needs. It does not know what a request is: see {@link Scheduler} for that. Its parts know
 * more: {@link Admission} memory, {@link planStep} who is computed, {@link Runner} how what is planned runs.
 *
 * Life of a job: queued, admitted (blocks reserved for its tokens, a row of the history), stepped until it ends,
 * released (its blocks freed or kept for prefix reuse).
 *
 * With one runner, planning and running take turns. With two, one for prompts and one for generated tokens, each runner is
 * planned when it has nothing to do, from the jobs that the other is not at.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { UnicornError } from '@unicorn-exec/tensor';
import { DraftPolicy } from '../draft/draft-policy.js';
import { leastCount } from '../kv/token-span.js';
import { Admission } from './admission.js';
import { decodes, phaseOf, programOf, tokensLeft, type Job } from './job.js';
import type { JobCandidate, Runner } from './runner.js';
import type { RunnerPhase } from './phase.js';
import { inPhase } from './program-kind.js';
import {
  chunkTokens,
  disposeStates,
  programTokens,
  stepNames,
  type ProgramCache,
  type StepHost,
} from './program.js';
import { StepCounts } from './step-counts.js';
import { StepDevice } from './step-device.js';
import { planStep, type PlannedSubmission } from './step-plan.js';

export interface StepLoopSetup {
  readonly host: StepHost;
  /** Milliseconds from any origin. */
  readonly clock: () => number;
  /** Steps that may be submitted before the tokens of the one before them are known. */
  readonly stepsAhead: number;
  /** Gives what takes over when the device was lost. Absent: jobs fail with their device. */
  readonly moveOn?: ((error: UnicornError) => Promise<StepHost>) | undefined;
}

export class StepLoop {
  readonly counts = new StepCounts();
  readonly policy = new DraftPolicy();
  readonly admission: Admission;
  #device: StepDevice;
  #loop: Promise<void> | undefined;
  /** Jobs that were admitted and are being made ready for their first step. */
  #preparing = 0;
  /** Something has happened since the loop looked last. */
  #news = false;
  #wake: (() => void) | undefined;

  constructor(private readonly setup: StepLoopSetup) {
    const { host } = setup;
    this.admission = new Admission(host.plan, host.device.info.numerics, this.counts);
    this.#device = this.#deviceOn(host);
  }

  /** What steps run on at present. */
  get host(): StepHost {
    return this.#device.host;
  }

  get phases(): readonly RunnerPhase[] {
    return this.#device.phases;
  }

  get programs(): ProgramCache {
    return this.#device.programs;
  }

  /** Queues jobs; the loop runs while there are any. */
  submit(jobs: readonly Job[]): void {
    this.admission.enqueue(jobs);
    this.#tell();
    this.#loop ??= this.#run();
  }

  /** A job has come to its end. */
  ended(job: Job): void {
    this.admission.remove(job);
    this.#tell();
  }

  /** Cancels every job, or fails it with `error`; waits for the device, frees what was compiled. */
  async close(error?: UnicornError): Promise<void> {
    for (const job of this.admission.jobs) {
      if (error) job.fail(error);
      else job.cancel();
    }
    await this.#loop;
    await this.#device.dispose();
    this.admission.cache.clear();
  }

  /** Runs while there is work. Never rejects: what fails, fails the jobs that it concerns. */
  async #run(): Promise<void> {
    for (;;) {
      // Timers, input and output of the process come first; also lets requests of one turn meet in one step.
      await nextTurn();
      if (this.admission.running.size === 0 && this.admission.queued === 0 && !this.#busy) break;
      this.#news = false;
      const { lost } = this.#device.flights;
      let stepped = false;
      if (!lost) stepped = await this.#step();
      else if (!this.#busy) await this.#moveOn(lost);
      if (!this.#news && this.#expects(stepped)) await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    this.#loop = undefined;
  }

  /**
   * Whether something will be told before which there is nothing to do. With one runner what is sampled by itself is under
   * way beside the steps, and keeps none of them waiting.
   */
  #expects(stepped: boolean): boolean {
    const { runners, late } = this.#device;
    const isWorking = this.#preparing > 0 || runners.some(({ busy }) => busy);
    return isWorking || (!stepped && late.expects);
  }

  /**
   * Admits whom memory allows, and sets runners to work that have nothing to do.
   *
   * @returns whether it did either
   */
  async #step(): Promise<boolean> {
    const { runners } = this.#device;
    let stepped = false;
    try {
      this.admission.preemptYielding();
      const ready = this.admission.admit().map((job) => this.#prepare(job));
      stepped = ready.length > 0;
      if (runners.length === 1) await Promise.all(ready);
      for (const runner of runners) {
        if (runner.busy) continue;
        const submissions = this.#plan(runner.phase);
        if (submissions.length === 0) continue;
        stepped = true;
        const run = this.#start(runner, submissions);
        if (runners.length === 1) await run;
      }
    } catch (error) {
      this.#failAll(error, this.#busy ? [] : this.admission.jobs);
    }
    return stepped;
  }

  /** The device was lost and nothing of it is under way: jobs start again on what takes over, or fail with what refuses. */
  async #moveOn(lost: UnicornError): Promise<void> {
    this.admission.restartAll(lost);
    const device = this.#device;
    try {
      // What takes over may need the memory.
      await device.dispose();
      disposeStates(device.host.states);
    } catch {
      // What cannot be freed of a lost device is lost as well, and no reason to refuse the next one.
    }
    try {
      const next = await this.setup.moveOn!(lost);
      this.admission.moveTo(next.plan, next.device.info.numerics);
      this.#device = this.#deviceOn(next);
    } catch (error) {
      for (const job of this.admission.jobs) job.fail(error);
    }
  }

  #deviceOn(host: StepHost): StepDevice {
    const { admission, policy, counts } = this;
    const { clock, stepsAhead, moveOn } = this.setup;
    const tell = (): void => this.#tell();
    return new StepDevice({ host, admission, policy, counts, clock, stepsAhead, outlived: !!moveOn, tell });
  }

  /** Whether something is under way at whose end the loop is told. */
  get #busy(): boolean {
    return this.#preparing > 0 || this.#device.busy;
  }

  async #start(runner: Runner, submissions: readonly PlannedSubmission<JobCandidate>[]): Promise<void> {
    this.counts.steps++;
    runner.busy = true;
    try {
      for (const submission of submissions) await runner.run(submission);
    } catch (error) {
      const jobs = submissions.flatMap(({ portions }) => portions.map(({ candidate }) => candidate.job));
      this.#failAll(error, jobs);
    }
    runner.busy = false;
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
      const drafts = job.drafter && this.#device.drafting.prepare(job);
      if (job.program.result === 'sample') await this.#writeHistory(job);
      await drafts;
      await this.#checkRows(job);
    } catch (error) {
      this.#device.flights.failJob(job, error);
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
    return this.host.device.write(this.host.states.history, offset, new Uint8Array(ids.buffer));
  }

  /** Gives room to whoever decodes, begins their drafts, and plans the next step of a runner. */
  #plan(phase: RunnerPhase): PlannedSubmission<JobCandidate>[] {
    const { admission, host } = this;
    const jobs = [...admission.running].filter(
      (job) =>
        job.pins === 0 &&
        !job.yields &&
        (phase === undefined || phaseOf(job) === phase) &&
        // Else it waits for its mask.
        tokensLeft(job, undefined) > 0,
    );
    // Whoever decodes and gets no room waits for a later step.
    const decoding = jobs.filter((job) => job.holding && decodes(job) && admission.grow(job));
    const prompting = jobs.filter((job) => job.holding && !decodes(job));
    const chunk = chunkTokens(host.plan, phase);
    const guesses = this.#device.drafting.begin(decoding, chunk - this.#leastChunk(prompting[0]));
    const candidates: JobCandidate[] = [];
    const roomy = new Set(decoding);
    for (const job of jobs) {
      if (!job.holding || job.ended || (decodes(job) && !roomy.has(job))) continue;
      const kind = programOf(job);
      candidates.push({
        holding: job.holding,
        job,
        kind,
        program: kind.name,
        begin: job.holding.kv.computed,
        left: Math.min(tokensLeft(job, phase), admission.nextSharedEnd(job) - job.holding.kv.computed),
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
