/**
 * Guessing ahead, within a step: has drafters decide how much, as far as rows and memory allow, and has slices of the
 * model draw the guesses. Nobody loses memory to a guess. What was right is found out when the step has landed.
 *
 * A slice that guesses is submitted before its target, once for each guess; it reads the keys and values of the sequence's
 * own size and writes its own behind them, at positions that count as not computed. The target writes those positions
 * again, so that a sequence's cache is always what its own size computed.
 */
import type { DraftPolicy } from '../draft/draft-policy.js';
import type { Drafter } from '../draft/drafter.js';
import type { Admission } from './admission.js';
import type { Flights, StepEntry } from './flight.js';
import type { Job } from './job.js';
import type { RunnerPhase } from './phase.js';
import { checkingGuesses, inPhase, type ProgramKind } from './program-kind.js';
import { draftRows, programTokens, type ProgramCache, type ProgramHost } from './program.js';

export class Drafting {
  constructor(
    private readonly host: ProgramHost,
    private readonly programs: ProgramCache,
    private readonly admission: Admission,
    private readonly flights: Flights,
    private readonly policy: DraftPolicy,
    private readonly clock: () => number,
    /** Phase of guesses, all of which lie behind their prompt's end. */
    private readonly phase: RunnerPhase,
  ) {}

  /** Compiles what guessing takes before the first token, so that a size which the model refuses fails the request. */
  async prepare(job: Job): Promise<void> {
    const drafting = job.drafter!.program;
    const kinds = [checkingGuesses(job.program), ...(drafting ? [drafting] : [])];
    try {
      for (const kind of kinds) await this.programs.get(inPhase(kind, this.phase));
    } catch (error) {
      this.flights.failJob(job, error);
    }
  }

  /**
   * Begins the drafts of a step.
   *
   * @param decoding jobs whose next step gives a token, in order
   * @param room tokens that all drafts together may have
   * @returns how many tokens each of those that draft guesses at most
   */
  begin(decoding: readonly Job[], room: number): ReadonlyMap<Job, number> {
    const guesses = new Map<Job, number>();
    if (!decoding.some(({ drafter }) => drafter)) return guesses;
    const programs = new Map<string, { kind: ProgramKind; jobs: Job[] }>();
    for (const job of decoding) {
      const { program: kind } = job;
      const same = programs.get(kind.name);
      if (same) same.jobs.push(job);
      else programs.set(kind.name, { kind, jobs: [job] });
    }
    let left = room;
    for (const { kind, jobs } of programs.values()) left -= this.#beginProgram(kind, jobs, left, guesses);
    return guesses;
  }

  /** Begins those of one program; returns how many tokens they are together. */
  #beginProgram(kind: ProgramKind, jobs: readonly Job[], room: number, guesses: Map<Job, number>): number {
    const drafting: { readonly job: Job; readonly drafter: Drafter }[] = [];
    for (const job of jobs) if (job.drafter?.wake()) drafting.push({ job, drafter: job.drafter });
    if (drafting.length === 0) return 0;
    const { counts, rest } = this.policy.plan(
      kind.name,
      jobs.length,
      drafting.map(({ drafter }) => ({
        limit: drafter.lookAhead(),
        rates: drafter.rates,
        program: drafter.program?.name,
        adaptive: drafter.adaptive,
      })),
    );
    const most = Math.min(
      room,
      draftRows(this.host, this.phase),
      programTokens(kind, this.phase, this.host) - jobs.length,
    );
    let planned = 0;
    drafting.forEach(({ job, drafter }, index) => {
      if (counts[index] === 0 && drafter.adaptive) drafter.refuse(rest);
      const { kv } = job.holding!;
      let count = Math.min(counts[index]!, most - planned);
      while (count > 0 && !this.admission.cache.extend(kv, kv.computed + 1 + count)) count--;
      if (count <= 0) return;
      try {
        drafter.begin(count);
      } catch (error) {
        job.fail(error);
        return;
      }
      planned += count;
      guesses.set(job, count);
    });
    return planned;
  }

  /** Has slices guess, one token of every draft that is incomplete after the other. */
  async draw(target: ProgramKind, jobs: readonly Job[]): Promise<void> {
    for (;;) {
      const begin = this.clock();
      const drafting = jobs.filter((job) => !job.ended && job.drafter?.incomplete);
      const kind = drafting[0]?.drafter!.program;
      if (!kind) return;
      const entries: StepEntry[] = drafting
        .filter(({ drafter }) => drafter!.program!.name === kind.name)
        .map((job) => ({ job, portion: job.draftPortion!() }));
      const flight = await this.flights.launch(inPhase(kind, this.phase), entries);
      const sampled = flight && (await this.flights.sampled(flight));
      if (this.flights.lost) return;
      if (!sampled) continue;
      entries.forEach(({ job }, index) => {
        if (!this.admission.unpin(job)) job.drafter!.push(sampled.ids[index]!);
      });
      this.policy.learnDraft(target.name, kind.name, entries.length, this.clock() - begin);
    }
  }
}
