/**
 * The step loop: takes jobs from a queue, gives them memory, and turns what is left of each into ragged steps, decoding
 * sequences first, then prompts in chunks. One submission for each program that a step needs. It does not know what a
 * request is: see {@link Scheduler} for that.
 *
 * A sequence that speculates computes its last token and some guesses behind it in one part of a step. A slice that
 * guesses is submitted before the step, once for each guess; it reads the keys and values of the sequence's own size and
 * writes its own behind them, at positions that count as not computed. The step writes those positions again, so that a
 * sequence's cache is always what its own size computed.
 *
 * Where the device runs ahead, a step in which every sequence samples is followed by the next one before its tokens are
 * known: their ids go from step to step on the device. A sequence that turns out to have ended drops what was computed in
 * excess; whatever else may change the next step (a request that waits, a mask, a guess) ends the run, and the loop plans
 * again once what is in flight has landed.
 *
 * Life of a job: queued, admitted (blocks reserved for its tokens, a row of the history), stepped until it ends,
 * released (its blocks freed or kept for prefix reuse).
 *
 * Generations share the pool by what they hold, not by what they might: when an older one grows and nothing is left, the
 * youngest is put back at the head of the queue and starts again from its tokens. Results do not depend on how tokens
 * were batched and draws depend on the position only, so it goes on as if nothing had happened. The oldest always gets
 * on, since a job that could not run alone is refused at once.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { invariant, isUnicornError, type DeviceBuffer, type UnicornError } from '@unicorn-exec/tensor';
import type { Job } from './job.js';
import { DraftPolicy } from '../draft/draft-policy.js';
import type { Drafter } from '../draft/drafter.js';
import { KvCache } from '../kv/kv-cache.js';
import { programKind, sizeName, type ProgramKind } from './program-kind.js';
import { draftRows, ProgramCache, programTokens, type Program, type ProgramHost } from './program.js';
import { follower, StepBatch, type StepPart, type StepStates } from './step-batch.js';

/** One program's share of a step. */
interface StepGroup {
  readonly kind: ProgramKind;
  readonly jobs: { readonly job: Job; readonly count: number }[];
  tokensLeft: number;
  /** Whether some of its tokens are a prompt's. */
  prompts: boolean;
}

/** A job and its part of the submission at hand. */
interface StepEntry {
  readonly job: Job;
  readonly part: StepPart;
}

/** A submission on its way. */
interface Flight {
  readonly program: Program;
  readonly entries: readonly StepEntry[];
  /** Index of its buffer among those that the program samples into. */
  readonly buffer: number;
  readonly done: Promise<void>;
}

/**
 * Steps shorter than this have two behind them, not one: what is submitted then covers some milliseconds in which the
 * host is elsewhere (a garbage collection, a long prompt that is tokenized), at the price of a step in excess when a
 * sequence ends.
 */
const shortStepMs = 3;

export class StepLoop {
  readonly cache: KvCache;
  readonly programs: ProgramCache;
  readonly counts = {
    prefilledTokens: 0,
    reusedTokens: 0,
    generatedTokens: 0,
    preemptions: 0,
    steps: 0,
    submissions: 0,
    draftedTokens: 0,
    acceptedTokens: 0,
    speculationSteps: 0,
  };
  readonly policy = new DraftPolicy();
  readonly #queue: Job[] = [];
  /** In order of admission. */
  readonly #running = new Set<Job>();
  readonly #slots: number[];
  readonly #batch: StepBatch;
  /** The head of the queue, when there was no memory for it. */
  #refused: Job | undefined;
  /** Of the last step without a prompt. */
  #stepMs = Infinity;
  #loop: Promise<void> | undefined;

  constructor(
    private readonly host: ProgramHost,
    private readonly states: StepStates,
    private readonly clock: () => number,
    private readonly stepsAhead: number,
  ) {
    this.#slots = Array.from({ length: host.plan.maxSequences }, (_, slot) => slot).reverse();
    this.cache = new KvCache(host.plan);
    this.programs = new ProgramCache(host);
    this.#batch = new StepBatch(host.plan, host.model.vocabularySize, states);
  }

  get queued(): number {
    return this.#queue.length;
  }

  get running(): number {
    return this.#running.size;
  }

  /** Queues jobs; the loop runs while there are any. */
  submit(jobs: readonly Job[]): void {
    this.#queue.push(...jobs);
    this.#loop ??= this.#run();
  }

  /** A job ended: it leaves the queue or, unless the device is still at it, the running ones. */
  ended(job: Job): void {
    const waiting = this.#queue.indexOf(job);
    if (waiting >= 0) this.#queue.splice(waiting, 1);
    else if (job.inFlight === 0) this.#release(job);
  }

  /** Cancels every job, or fails it with `error`; waits for the device, frees what was compiled. */
  async close(error?: UnicornError): Promise<void> {
    for (const job of [...this.#queue, ...this.#running]) {
      if (error) job.fail(error);
      else job.cancel();
    }
    await this.#loop;
    await this.programs.dispose();
    this.cache.clear();
  }

  /** @throws UnicornError `internal/invariant` when a block or a row of the history is not where it should be */
  checkIntegrity(): void {
    this.cache.checkIntegrity();
    const { maxSequences } = this.host.plan;
    const held = [...this.#running].map(({ holding }) => holding!.slot);
    const distinct = new Set([...this.#slots, ...held]);
    invariant(distinct.size === maxSequences, 'a row of the history leaked');
    invariant(this.#slots.length + held.length === maxSequences, 'a row of the history is owned twice');
  }

  #release(job: Job): void {
    if (!this.#running.delete(job)) return;
    this.cache.close(job.holding!.kv, job.retain);
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
        if (groups.length > 0) this.counts.steps++;
        for (const group of groups) {
          await this.#draft(group);
          await this.#step(group);
        }
      } catch (error) {
        // A bug of ours: nobody may wait for ever because of it.
        for (const job of [...this.#queue, ...this.#running]) {
          job.inFlight = 0;
          job.fail(error);
          this.#release(job);
        }
      }
    }
    this.#loop = undefined;
  }

  /** Takes from the head of the queue while memory lasts. Nobody overtakes, so nobody waits for ever. */
  async #admit(): Promise<void> {
    const writes: Promise<void>[] = [];
    this.#refused = undefined;
    for (let job = this.#queue[0]; job && this.#slots.length > 0; job = this.#queue[0]) {
      const { tokens, reuse, program } = job;
      const kv = this.cache.open(tokens, { reuse, size: sizeName(program.size) });
      if (!kv) {
        this.#refused = job;
        break;
      }
      this.#queue.shift();
      job.holding = { kv, slot: this.#slots.pop()! };
      this.#running.add(job);
      this.counts.reusedTokens += kv.reused;
      job.admitted();
      if (program.result === 'sample') writes.push(this.#writeHistory(job));
      if (job.drafter) writes.push(this.#prepareDrafts(job));
    }
    await Promise.all(writes);
  }

  /** Compiles what guessing takes before the first token, so that a size which the model refuses fails the request. */
  async #prepareDrafts(job: Job): Promise<void> {
    const kinds = [checking(job.program), ...(job.drafter!.program ? [job.drafter!.program] : [])];
    try {
      for (const kind of kinds) await this.programs.get(kind);
    } catch (error) {
      job.fail(error);
    }
  }

  /** The prompt as the penalties see it. */
  async #writeHistory(job: Job): Promise<void> {
    const ids = Int32Array.from(job.tokens);
    const offset = job.holding!.slot * this.host.plan.contextLength * ids.BYTES_PER_ELEMENT;
    job.inFlight++;
    try {
      await this.host.device.write(this.states.history, offset, new Uint8Array(ids.buffer));
    } catch (error) {
      job.fail(error);
    }
    this.#landed(job);
  }

  /** Who computes what in the next step: every decoding sequence, then guesses and prompts within the chunk. */
  #planStep(): StepGroup[] {
    const groups = new Map<string, StepGroup>();
    const take = (job: Job, wanted: number): number => {
      let group = groups.get(job.program.name);
      if (!group) {
        const tokensLeft = programTokens(job.program, this.host);
        groups.set(job.program.name, (group = { kind: job.program, jobs: [], tokensLeft, prompts: false }));
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
    let chunk = this.host.plan.prefillChunk;
    for (const group of groups.values()) chunk -= this.#planDrafts(group, chunk - 1);
    for (const job of this.#running) {
      if (chunk === 0) break;
      if (this.#decodes(job)) continue;
      const count = take(job, Math.min(left(job), chunk));
      if (count > 0) groups.get(job.program.name)!.prompts = true;
      chunk -= count;
    }
    return [...groups.values()].filter(({ jobs }) => jobs.length > 0);
  }

  /** Who guesses how much, at most `room` tokens together. Nobody loses memory to a guess. Returns their number. */
  #planDrafts(group: StepGroup, room: number): number {
    const drafting: { readonly job: Job; readonly drafter: Drafter }[] = [];
    for (const { job } of group.jobs) {
      if (job.drafter?.awake()) drafting.push({ job, drafter: job.drafter });
    }
    if (drafting.length === 0) return 0;
    const { counts, rest } = this.policy.plan(
      group.kind.name,
      group.jobs.length,
      drafting.map(({ drafter }) => ({
        limit: drafter.look(),
        rates: drafter.rates,
        program: drafter.program?.name,
        adaptive: drafter.adaptive,
      })),
    );
    let free = Math.min(room, draftRows(this.host), group.tokensLeft);
    let planned = 0;
    drafting.forEach(({ job, drafter }, index) => {
      if (counts[index] === 0 && drafter.adaptive) drafter.refuse(rest);
      const { kv } = job.holding!;
      let count = Math.min(counts[index]!, free);
      while (count > 0 && !this.cache.extend(kv, kv.computed + 1 + count)) count--;
      if (count <= 0) return;
      try {
        drafter.begin(count);
      } catch (error) {
        job.fail(error);
        return;
      }
      free -= count;
      planned += count;
    });
    group.tokensLeft -= planned;
    return planned;
  }

  /** Has slices guess, one token of every draft that is incomplete after the other. */
  async #draft({ kind: target, jobs }: StepGroup): Promise<void> {
    for (;;) {
      const begin = this.clock();
      const drafting = jobs.flatMap(({ job }) => (!job.ended && job.drafter?.incomplete ? [job] : []));
      const kind = drafting[0]?.drafter!.program;
      if (!kind) return;
      const entries = drafting
        .filter(({ drafter }) => drafter!.program!.name === kind.name)
        .map((job) => ({ job, part: job.draftPart!() }));
      const flight = await this.#launch(kind, entries);
      const sampled = flight && (await this.#arrival(flight));
      if (!sampled) continue;
      entries.forEach(({ job }, index) => {
        if (!this.#landed(job)) job.drafter!.push(sampled[index]!);
      });
      this.policy.learnDraft(target.name, kind.name, entries.length, this.clock() - begin);
    }
  }

  /** One generated token is all that is left to compute. */
  #decodes(job: Job): boolean {
    return job.decoding && left(job) === 1;
  }

  /** Room for one token more, from younger generations if need be. False: this one waits. */
  #grow(job: Job): boolean {
    const { kv } = job.holding!;
    while (!this.cache.extend(kv, kv.computed + 1)) {
      const youngest = [...this.#running].reverse().find(({ preemptible }) => preemptible);
      if (youngest) this.#preempt(youngest);
      if (!job.holding || !youngest) return false;
    }
    return true;
  }

  #preempt(job: Job): void {
    this.counts.preemptions++;
    this.#release(job);
    this.#queue.unshift(job);
  }

  /** One step of a program, after its drafts, and those that follow from it on the device. */
  async #step(group: StepGroup): Promise<void> {
    let begin = this.clock();
    const entries: StepEntry[] = [];
    for (const { job, count } of group.jobs) {
      // An earlier submission of this step may have taken time enough for a job to be cancelled.
      if (job.ended) continue;
      try {
        const part = job.part(count + (job.drafter?.draft.length ?? 0));
        const roomy = this.cache.extend(part.kv, part.begin + part.count);
        invariant(roomy, 'a planned step was not reserved');
        entries.push({ job, part });
      } catch (error) {
        job.fail(error);
      }
    }
    if (entries.length === 0) return;
    const drafts = entries.some(({ part }) => part.draft.length > 0);
    const kind = drafts ? checking(group.kind) : group.kind;
    const chosen = drafts ? chosenPrograms(entries) : undefined;
    const first = await this.#launch(kind, entries);
    if (!first) return;
    const ahead = Math.min(
      this.stepsAhead,
      first.program.sampled.length - 1,
      this.#stepMs < shortStepMs ? 2 : 1,
    );
    const flights = [first];
    for (let flight = flights[0]; flight; flight = flights[0]) {
      while (flights.length <= ahead && this.#goesOn(flights)) {
        const next = this.#follow(flights.at(-1)!, ahead + 1);
        if (!next) break;
        flights.push(next);
      }
      const tokens = await this.#land(flight);
      flights.shift();
      const stepMs = this.clock() - begin;
      begin += stepMs;
      if (tokens !== undefined && kind.result === 'sample' && !(flight === first && group.prompts)) {
        const rows = flight.entries.reduce((sum, { part }) => sum + part.count, 0);
        const target = group.kind.name;
        this.policy.learnStep({ target, sequences: flight.entries.length, rows, tokens, stepMs, chosen });
        this.#stepMs = stepMs;
      }
      // As between steps that are planned.
      if (flights.length > 0) await nextTurn();
    }
  }

  /** Whether the next step is like the last of these, but for the ids. */
  #goesOn(flights: readonly Flight[]): boolean {
    const [head] = this.#queue;
    if (head && head !== this.#refused && this.#slots.length > 0) return false;
    const { entries } = flights.at(-1)!;
    if (entries.length !== this.#running.size) return false;
    return entries.every(({ job, part: { kv, begin, count, draft, sample } }) => {
      if (job.ended || sample?.count !== 1 || draft.length > 0 || !job.goesOn(flights.length)) return false;
      return this.cache.extend(kv, begin + count + 1);
    });
  }

  /** Submits the step after one whose tokens the device alone will know. */
  #follow({ program, entries, buffer }: Flight, buffers: number): Flight | undefined {
    this.counts.steps++;
    // Drafters that rest count their steps.
    for (const { job } of entries) job.drafter?.awake();
    const next = entries.map(({ job, part }) => ({ job, part: follower(part) }));
    for (const { job } of next) job.inFlight++;
    try {
      return this.#send(program, next, (buffer + 1) % buffers, program.sampled[buffer]);
    } catch (error) {
      this.#failStep(next, error);
      return undefined;
    }
  }

  /** Submits; a failure is that of the jobs, and answered with undefined. */
  async #launch(kind: ProgramKind, entries: readonly StepEntry[]): Promise<Flight | undefined> {
    for (const { job } of entries) job.inFlight++;
    try {
      const program = await this.programs.get(kind);
      await this.#writeGuesses(entries);
      return this.#send(program, entries, 0);
    } catch (error) {
      this.#failStep(entries, error);
      return undefined;
    }
  }

  /** One submission, of jobs that count as in flight. @param from where the device finds the ids */
  #send(program: Program, entries: readonly StepEntry[], buffer: number, from?: DeviceBuffer): Flight {
    const parts = entries.map(({ part }) => part);
    const bindings = this.#batch.bind(program, parts, { sampled: program.sampled[buffer], from });
    this.counts.submissions++;
    const { done } = program.executable.submit(bindings);
    // It is awaited later, and may fail before.
    done.catch(() => {});
    return { program, entries, buffer, done };
  }

  /** Waits for a submission and hands out what it computed. Returns the tokens that sequences got; undefined: it failed. */
  async #land(flight: Flight): Promise<number | undefined> {
    const sampled = await this.#arrival(flight);
    return sampled && this.#absorb(flight, sampled);
  }

  /** The ids that a submission sampled. A failure is that of its jobs, and answered with undefined. */
  async #arrival({ program, entries, buffer, done }: Flight): Promise<Int32Array | undefined> {
    try {
      await done;
      const count = entries.reduce((sum, { part }) => sum + (part.sample?.count ?? 0), 0);
      if (count === 0) return new Int32Array(0);
      const bytes = await this.#readOutput(program.sampled[buffer]!, count * Int32Array.BYTES_PER_ELEMENT);
      return new Int32Array(bytes.buffer, bytes.byteOffset, count);
    } catch (error) {
      this.#failStep(entries, error);
      return undefined;
    }
  }

  /** A submission no longer touches a job. Returns whether the job has ended. */
  #landed(job: Job): boolean {
    job.inFlight--;
    if (job.ended && job.inFlight === 0) this.#release(job);
    return job.ended;
  }

  /** Guesses that were looked up, where penalties see them; those that a slice drew it has written itself. */
  async #writeGuesses(entries: readonly StepEntry[]): Promise<void> {
    for (const { job, part } of entries) {
      if (part.draft.length === 0 || job.drafter!.program || !part.sample!.row.penalized) continue;
      const ids = Int32Array.from(part.draft);
      const index = part.sample!.slot * this.host.plan.contextLength + part.kv.tokens.length;
      const offset = index * ids.BYTES_PER_ELEMENT;
      await this.host.device.write(this.states.history, offset, new Uint8Array(ids.buffer));
    }
  }

  #failStep(entries: readonly StepEntry[], error: unknown): void {
    for (const { job } of entries) if (!this.#landed(job)) job.fail(error);
    // A device that was lost took the caches along.
    if (isUnicornError(error) && error.family === 'device') this.cache.clear();
  }

  /** Hands out what a step computed. Returns the number of tokens that its sequences got; undefined: it failed. */
  async #absorb({ program, entries }: Flight, sampled: Int32Array): Promise<number | undefined> {
    let rows = 0;
    for (const { part } of entries) rows += part.count;
    let outputs: ReadonlyMap<string, Float32Array> | undefined;
    if (program.kind.result !== 'sample') {
      try {
        outputs = await this.#readRows(program, rows);
      } catch (error) {
        this.#failStep(entries, error);
        return undefined;
      }
    }
    let row = 0;
    let output = 0;
    let given = 0;
    for (const { job, part } of entries) {
      const { kv, begin, count } = part;
      const first = row;
      row += count;
      const drawn = Array.from(sampled.subarray(output, (output += part.sample?.count ?? 0)));
      // It was submitted before anybody knew that the sequence had ended.
      if (job.ended && part.follows) {
        this.#landed(job);
        continue;
      }
      // Of an answer that has ended, what it had is kept; what the draft would have added is not.
      const standing = job.ended || !job.drafter ? Math.min(1, drawn.length) : job.drafter.standing(drawn);
      const tokens = drawn.slice(0, standing);
      if (program.kind.result === 'sample') {
        if (!this.#decodes(job)) this.counts.prefilledTokens += count;
        this.counts.generatedTokens += tokens.length;
      }
      given += tokens.length;
      this.cache.advance(kv, begin + count - (drawn.length - tokens.length));
      if (this.#landed(job)) continue;
      const begun = job.drafter?.begun ?? false;
      if (job.drafter?.engaged) this.#settle(job.drafter, drawn, tokens);
      try {
        job.absorb(outputs ? { tokens, rows: slice(outputs, first, count, rows) } : { tokens }, begin, count);
      } catch (error) {
        job.fail(error);
      }
      if (begun && job.holding) this.cache.retract(kv);
    }
    return given;
  }

  #settle(drafter: Drafter, drawn: readonly number[], standing: readonly number[]): void {
    const { drafted, accepted } = drafter.settle(drawn, standing);
    if (drafted === 0) return;
    this.counts.draftedTokens += drafted;
    this.counts.acceptedTokens += accepted;
    this.counts.speculationSteps++;
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

/** What drafted, where the policy chose all drafts. */
function chosenPrograms(entries: readonly StepEntry[]): Set<string | undefined> | undefined {
  const drafters = entries.flatMap(({ job, part }) => (part.draft.length > 0 ? [job.drafter!] : []));
  if (!drafters.every(({ adaptive }) => adaptive)) return undefined;
  return new Set(drafters.map(({ program }) => program?.name));
}

/** The program that also samples behind guesses. */
function checking(kind: ProgramKind): ProgramKind {
  return programKind(kind.result, { ...kind, drafts: true });
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
