/**
 * Runs what was planned, one submission after the other: has guesses drawn, submits, hands out what comes back. Where a
 * device computes prompts and generated tokens in different classes of bits, each phase has a runner of its own, and the two
 * run at the same time, for different jobs.
 *
 * Where the device runs ahead, a step in which every sequence samples is followed by the next one before its tokens are
 * known: their ids go from step to step on the device. A sequence that turns out to have ended drops what was computed in
 * excess; whatever else may change the next step (a request that waits, a mask, a guess) ends the run, and the loop plans
 * again once what is in flight has landed.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { invariant } from '@unicorn-exec/tensor';
import type { DraftPolicy } from '../draft/draft-policy.js';
import type { Admission } from './admission.js';
import type { Drafting } from './drafting.js';
import type { Flight, Flights, StepEntry } from './flight.js';
import { phaseOf, type Holding, type Job } from './job.js';
import type { Landing } from './landing.js';
import type { LateSampling } from './late-sampling.js';
import type { RunnerPhase } from './phase.js';
import { checkingGuesses, inPhase, type ProgramKind } from './program-kind.js';
import type { StepCounts } from './step-counts.js';
import type { PlannedSubmission, StepCandidate } from './step-plan.js';

/**
 * Steps shorter than this have two behind them, not one: what is submitted then covers some milliseconds in which the
 * host is elsewhere (a garbage collection, a long prompt that is tokenized), at the price of a step in excess when a
 * sequence ends.
 */
const shortStepMs = 3;

export interface JobCandidate extends StepCandidate {
  readonly job: Job;
  /** What computes it, in whichever phase. */
  readonly kind: ProgramKind;
  /** What it held when it was planned. */
  readonly holding: Holding;
}

export interface RunnerHost {
  readonly admission: Admission;
  readonly flights: Flights;
  readonly landing: Landing;
  readonly drafting: Drafting;
  readonly late: LateSampling;
  readonly policy: DraftPolicy;
  readonly counts: StepCounts;
  /** Milliseconds from any origin. */
  readonly clock: () => number;
  /** Steps that may be submitted before the tokens of the one before them are known. */
  readonly stepsAhead: number;
}

export class Runner {
  /** Duration of the last submission that held no prompt. */
  #stepMs = Infinity;

  /** Whether it is at work: jobs of what it runs are not planned elsewhere. */
  busy = false;

  /** @param phase of everything that it runs; undefined where the device makes no difference and there is one runner */
  constructor(
    readonly phase: RunnerPhase,
    private readonly host: RunnerHost,
  ) {}

  /** Runs one, after its drafts, and those that follow from it on the device. */
  async run({ portions, prompts }: PlannedSubmission<JobCandidate>): Promise<void> {
    const { flights, landing, drafting, policy, clock } = this.host;
    const target = portions[0]!.candidate.kind;
    await drafting.draw(
      target,
      portions.map(({ candidate }) => candidate.job),
    );
    let begin = clock();
    const entries = flights.lost ? [] : this.#entries(portions);
    if (entries.length === 0) return;
    const checks = entries.some(({ portion }) => portion.draft.length > 0);
    const chosen = checks ? chosenPrograms(entries) : undefined;
    const kind = inPhase(checks ? checkingGuesses(target) : target, this.phase);
    const first = await flights.launch(kind, entries);
    if (!first) return;
    if (kind.late) return this.#landLogits(first);
    const ahead = this.#stepsAhead(first);
    const underWay = [first];
    for (let flight = underWay[0]; flight; flight = underWay[0]) {
      while (underWay.length <= ahead && this.#canFollow(underWay)) {
        const next = this.#follow(underWay.at(-1)!, ahead + 1);
        if (!next) break;
        underWay.push(next);
      }
      const tokens = await landing.land(flight);
      underWay.shift();
      const stepMs = clock() - begin;
      begin += stepMs;
      if (tokens !== undefined && target.result === 'sample' && !(flight === first && prompts)) {
        const rows = flight.entries.reduce((sum, { portion }) => sum + portion.count, 0);
        const sequences = flight.entries.length;
        policy.learnStep({ target: target.name, sequences, rows, tokens, stepMs, chosen });
        this.#stepMs = stepMs;
      }
      // As between steps that are planned.
      if (underWay.length > 0) await nextTurn();
    }
  }

  /** Lands a flight of jobs whose masks come late: leaves the logits, from which each is sampled when its mask is there. */
  async #landLogits(flight: Flight): Promise<void> {
    const { late, landing, flights } = this.host;
    late.askMasks(flight);
    try {
      await late.keepLogits(flight);
    } catch (error) {
      flights.fail(flight.entries, error);
      return;
    }
    if ((await landing.land(flight)) !== undefined) late.begin(flight);
  }

  /**
   * What is left of a plan: an earlier submission of the step may have taken time enough for jobs to be cancelled, or to lose
   * their memory to what the other runner runs.
   */
  #entries(portions: PlannedSubmission<JobCandidate>['portions']): StepEntry[] {
    const entries: StepEntry[] = [];
    for (const { candidate, count } of portions) {
      const { job } = candidate;
      if (job.ended || job.holding !== candidate.holding) continue;
      try {
        const portion = job.portion(count + (job.drafter?.draft.length ?? 0));
        const roomy = this.host.admission.cache.extend(portion.kv, portion.begin + portion.count);
        invariant(roomy, 'a planned step was not reserved');
        entries.push({ job, portion });
      } catch (error) {
        job.fail(error);
      }
    }
    return entries;
  }

  #stepsAhead({ program }: Flight): number {
    const most = this.#stepMs < shortStepMs ? 2 : 1;
    return Math.min(this.host.stepsAhead, program.sampled.length - 1, most);
  }

  /** Whether the next step is like the last of these, but for the ids. */
  #canFollow(underWay: readonly Flight[]): boolean {
    const { admission, flights } = this.host;
    const { entries } = underWay.at(-1)!;
    if (flights.lost) return false;
    // What follows a prompt is a generated token, and another runner's.
    if (this.phase === 'prompt' || !this.#hasAll(entries)) return false;
    return entries.every(({ job, portion: { kv, begin, count, draft, sample } }) => {
      if (job.ended || sample?.count !== 1 || draft.length > 0 || !job.goesOn(underWay.length)) return false;
      return admission.cache.extend(kv, begin + count + 1);
    });
  }

  /** Whether the next step of the runner would be of these jobs and no other. */
  #hasAll(entries: readonly StepEntry[]): boolean {
    const { running, waiting } = this.host.admission;
    // Whoever waits would join a runner of all phases. Runners of one phase do not keep it waiting.
    if (this.phase === undefined) return !waiting && entries.length === running.size;
    let jobs = 0;
    for (const job of running) if (phaseOf(job) === this.phase) jobs++;
    return entries.length === jobs;
  }

  /** Submits the step after one whose tokens the device alone will know. */
  #follow(flight: Flight, buffers: number): Flight | undefined {
    this.host.counts.steps++;
    // Drafters that rest count steps.
    for (const { job } of flight.entries) job.drafter?.wake();
    return this.host.flights.follow(flight, buffers);
  }
}

/** What drafted, where the policy chose all drafts. */
function chosenPrograms(entries: readonly StepEntry[]): Set<string | undefined> | undefined {
  const drafters = entries.flatMap(({ job, portion }) => (portion.draft.length > 0 ? [job.drafter!] : []));
  if (!drafters.every(({ adaptive }) => adaptive)) return undefined;
  return new Set(drafters.map(({ program }) => program?.name));
}
