/**
 * The step loop: takes jobs from a queue, gives them memory, and turns what is left of each into steps, with one submission
 * for each program that a step needs. It does not know what a request is: see {@link Scheduler} for that. Its parts know
 * more: {@link Admission} memory, {@link planStep} who is computed, {@link Lane} how what is planned runs.
 *
 * Life of a job: queued, admitted (blocks reserved for its tokens, a row of the history), stepped until it ends,
 * released (its blocks freed or kept for prefix reuse).
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { UnicornError } from '@unicorn-exec/tensor';
import { DraftPolicy } from '../draft/draft-policy.js';
import { Admission } from './admission.js';
import { Drafting } from './drafting.js';
import { Flights } from './flight.js';
import { decodes, tokensLeft, type Job } from './job.js';
import { Landing } from './landing.js';
import { Lane, type JobCandidate } from './lane.js';
import { ProgramCache, programTokens, type ProgramHost } from './program.js';
import type { StepStates } from './step-batch.js';
import { StepCounts } from './step-counts.js';
import { planStep, type PlannedSubmission } from './step-plan.js';

export class StepLoop {
  readonly counts = new StepCounts();
  readonly policy = new DraftPolicy();
  readonly programs: ProgramCache;
  readonly admission: Admission;
  readonly #drafting: Drafting;
  readonly #lane: Lane;
  #loop: Promise<void> | undefined;

  /** @param stepsAhead steps that may be submitted before the tokens of the one before them are known */
  constructor(
    private readonly host: ProgramHost,
    private readonly states: StepStates,
    clock: () => number,
    stepsAhead: number,
  ) {
    const { counts, policy } = this;
    this.programs = new ProgramCache(host);
    this.admission = new Admission(host.plan, counts);
    const { programs, admission } = this;
    const flights = new Flights(host, states, programs, admission, counts);
    this.#drafting = new Drafting(host, programs, admission, flights, policy, clock);
    this.#lane = new Lane({
      admission,
      flights,
      landing: new Landing(flights, admission, counts),
      drafting: this.#drafting,
      policy,
      counts,
      clock,
      stepsAhead,
    });
  }

  /** Queues jobs; the loop runs while there are any. */
  submit(jobs: readonly Job[]): void {
    this.admission.enqueue(jobs);
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
      if (this.admission.running.size === 0 && this.admission.queued === 0) break;
      try {
        await this.#admit();
        const submissions = this.#plan();
        if (submissions.length > 0) this.counts.steps++;
        for (const submission of submissions) await this.#lane.run(submission);
      } catch (error) {
        // A bug of ours: nobody may wait for ever because of it.
        for (const job of this.admission.jobs) {
          job.pins = 0;
          job.fail(error);
          this.admission.release(job);
        }
      }
    }
    this.#loop = undefined;
  }

  async #admit(): Promise<void> {
    const ready: Promise<void>[] = [];
    for (const job of this.admission.admit()) {
      if (job.program.result === 'sample') ready.push(this.#writeHistory(job));
      if (job.drafter) ready.push(this.#drafting.prepare(job));
    }
    await Promise.all(ready);
  }

  /** The prompt as the penalties see it. */
  async #writeHistory(job: Job): Promise<void> {
    const ids = Int32Array.from(job.tokens);
    const offset = job.holding!.historyRow * this.host.plan.contextLength * ids.BYTES_PER_ELEMENT;
    this.admission.pin(job);
    try {
      await this.host.device.write(this.states.history, offset, new Uint8Array(ids.buffer));
    } catch (error) {
      job.fail(error);
    }
    this.admission.unpin(job);
  }

  /** Gives room to whoever decodes, begins their drafts, and plans the next step. */
  #plan(): PlannedSubmission<JobCandidate>[] {
    const { admission } = this;
    // Whoever decodes and gets no room waits for a later step.
    const decoding = [...admission.running].filter(
      (job) => job.holding && decodes(job) && admission.grow(job),
    );
    const guesses = this.#drafting.begin(decoding, this.host.plan.prefillChunk - 1);
    const roomy = new Set(decoding);
    const candidates: JobCandidate[] = [];
    for (const job of admission.running) {
      if (job.ended || (decodes(job) && !roomy.has(job))) continue;
      candidates.push({
        job,
        program: job.program.name,
        left: tokensLeft(job),
        decodes: roomy.has(job),
        guesses: guesses.get(job) ?? 0,
      });
    }
    return planStep(candidates, {
      chunk: this.host.plan.prefillChunk,
      tokensOf: ({ job }) => programTokens(job.program, this.host),
    });
  }
}
