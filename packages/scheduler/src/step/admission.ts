/**
 * Who waits, who runs, and with what memory: the queue, the running jobs in order of admission, the blocks and the row of
 * the history that each of them holds. It knows nothing of steps but that what is in flight pins the jobs that it touches.
 *
 * Generations share the pool by what they hold, not by what they might: when an older one grows and nothing is left, the
 * youngest is put back at the head of the queue and starts again from its tokens. Results do not depend on how tokens
 * were batched and draws depend on the position only, so it goes on as if nothing had happened. The oldest always gets
 * on, since a job that could not run alone is refused at once.
 */
import { invariant, type KvPlan } from '@unicorn-exec/tensor';
import { KvCache, type OpenOptions } from '../kv/kv-cache.js';
import type { KvOrigin } from '../kv/kv-sequence.js';
import type { Job } from './job.js';
import { sizeName } from './program-kind.js';
import { Overtaking } from './overtaking.js';
import { SharedPrefixes } from './shared-prefix.js';
import type { StepCounts } from './step-counts.js';

export class Admission {
  #cache: KvCache;
  readonly #queue: Job[] = [];
  /** In order of admission. */
  readonly #running = new Set<Job>();
  readonly #freeRows: number[];
  /** Nobody in the queue could be admitted, and since then nobody has come, left, or given memory back. */
  #asked = false;
  readonly #overtaking = new Overtaking();
  #shared: SharedPrefixes;
  /** The job that waits for a younger one's memory until nothing pins that any more. */
  #starved: Job | undefined;

  /** @param numerics the classes of bits in which the device computes */
  constructor(
    private plan: KvPlan,
    private numerics: KvOrigin['numerics'],
    private readonly counts: StepCounts,
  ) {
    this.#cache = new KvCache(plan);
    this.#shared = new SharedPrefixes(plan.blockTokens);
    this.#freeRows = Array.from({ length: plan.maxSequences }, (_, row) => row).reverse();
  }

  get cache(): KvCache {
    return this.#cache;
  }

  get queued(): number {
    return this.#queue.length;
  }

  get running(): ReadonlySet<Job> {
    return this.#running;
  }

  /** Everybody who has not ended, and who has but is still pinned. */
  get jobs(): Job[] {
    return [...this.#queue, ...this.#running];
  }

  /** Whether somebody waits who might be admitted. */
  get waiting(): boolean {
    return this.#queue.length > 0 && !this.#asked && this.#freeRows.length > 0;
  }

  /** Behind everybody of the same or a higher priority. */
  enqueue(jobs: readonly Job[]): void {
    for (const job of jobs) this.#insert(job, ({ priority }) => priority < job.priority);
  }

  /**
   * Takes from the queue, in its order, while memory lasts. Where one has to wait for memory, smaller jobs of its priority
   * may overtake it, boundedly: see {@link Overtaking}. Who waits for a prefix keeps nobody else waiting.
   */
  admit(): Job[] {
    const admitted: Job[] = [];
    /** The first for which there was no memory. */
    let refused: Job | undefined;
    let sharing = false;
    for (let at = 0; at < this.#queue.length && this.#freeRows.length > 0;) {
      const job = this.#queue[at]!;
      if (refused && (this.#asked || job.priority !== refused.priority)) break;
      if (refused && !this.#overtaking.allows(refused, job)) {
        at++;
      } else if (this.cache.fits(job.tokens.length) !== 'now') {
        refused ??= job;
        at++;
      } else if (this.#sharesPrefix(job)) {
        sharing = true;
        at++;
      } else {
        if (refused) this.#overtaking.count(refused, job);
        this.#queue.splice(at, 1);
        this.#open(job);
        admitted.push(job);
      }
    }
    this.#asked = this.#freeRows.length > 0 && !sharing;
    return admitted;
  }

  /** Where a job's step has to end at the latest, since somebody waits for its prefix. */
  nextSharedEnd(job: Job): number {
    return this.#shared.nextEnd(job);
  }

  /** Whether a job of the queue waits for a prefix that another computes. */
  #sharesPrefix(job: Job): boolean {
    const { tokens, program } = job;
    const size = sizeName(program.size);
    const reusable = (): number => this.cache.reusable(tokens, this.#openOptions(job));
    return this.#shared.waits(job, size, this.#running, reusable);
  }

  #openOptions({ keys, spans, promptLength, reuse, program }: Job): OpenOptions {
    return { keys, spans, promptLength, reuse, size: sizeName(program.size), numerics: this.numerics };
  }

  /** Gives a job that fits memory, and lets it run. */
  #open(job: Job): void {
    const kv = this.cache.open(job.tokens, this.#openOptions(job));
    invariant(kv, 'a sequence that fits was refused');
    this.#shared.forget(job);
    job.holding = { kv, historyRow: this.#freeRows.pop()! };
    this.#running.add(job);
    this.counts.reusedTokens += kv.reused;
    job.admitted();
  }

  /** A job ended: it leaves the queue or, unless the device is still at it, the running ones. */
  remove(job: Job): void {
    const waiting = this.#queue.indexOf(job);
    if (waiting >= 0) {
      this.#queue.splice(waiting, 1);
      this.#shared.forget(job);
      this.#asked = false;
    } else if (job.pins === 0) this.release(job);
  }

  /** Something in flight may touch the job's memory from now on, so it is not released. */
  pin(job: Job): void {
    job.pins++;
  }

  /** That has come to its end. Returns whether the job has, too. */
  unpin(job: Job): boolean {
    job.pins--;
    if (job.ended && job.pins === 0) this.release(job);
    return job.ended;
  }

  /** Frees what the job holds, or keeps its blocks for prefix reuse. */
  release(job: Job): void {
    if (!this.#running.delete(job)) return;
    this.#asked = false;
    this.cache.close(job.holding!.kv, job.retain);
    this.#freeRows.push(job.holding!.historyRow);
    job.holding = undefined;
  }

  /** Makes room for one token more, from younger generations if need be. False: this one waits, or was preempted. */
  grow(job: Job): boolean {
    const { kv } = job.holding!;
    while (!this.cache.extend(kv, kv.computed + 1)) {
      const youngest = [...this.#running].reverse().find(({ preemptible }) => preemptible);
      if (!youngest) return false;
      if (youngest.pins > 0) {
        // Another runner is at it: nobody may write where the device still does.
        youngest.yields = true;
        this.#starved = job;
        return false;
      }
      this.#preempt(youngest);
      if (!job.holding) return false;
    }
    return true;
  }

  /** Preempts those who yield and are pinned no more, and gives their memory to whom they yield before anybody else asks. */
  preemptYielding(): void {
    const starved = this.#starved;
    if (!starved) return;
    const yielding = [...this.#running].filter((job) => job.yields);
    if (yielding.some(({ pins }) => pins > 0)) return;
    this.#starved = undefined;
    const waits = starved.holding !== undefined && !starved.ended;
    for (const job of yielding) {
      if (waits) this.#preempt(job);
      job.yields = false;
    }
    if (waits) this.grow(starved);
  }

  #preempt(job: Job): void {
    this.counts.preemptions++;
    this.release(job);
    this.#putBack(job);
  }

  /** Before everybody of the same or a lower priority: it had its turn already. */
  #putBack(job: Job): void {
    this.#insert(job, ({ priority }) => priority <= job.priority);
  }

  #insert(job: Job, isBehind: (other: Job) => boolean): void {
    this.#asked = false;
    const at = this.#queue.findIndex(isBehind);
    if (at < 0) this.#queue.push(job);
    else this.#queue.splice(at, 0, job);
  }

  /**
   * All memory was lost: who runs goes back to the head of the queue, in order, to start again from its tokens. Who cannot
   * fails with `error`.
   */
  restartAll(error: unknown): void {
    for (const job of [...this.#running].reverse()) {
      const goesOn = !job.ended && job.restart();
      if (!goesOn) job.fail(error);
      job.yields = false;
      this.release(job);
      if (goesOn) this.#putBack(job);
    }
    this.#starved = undefined;
    this.#cache.clear();
  }

  /** Other memory from now on. Nobody runs. */
  moveTo(plan: KvPlan, numerics: KvOrigin['numerics']): void {
    invariant(this.#running.size === 0, 'a running job cannot take its memory along');
    this.plan = plan;
    this.numerics = numerics;
    this.#cache = new KvCache(plan);
    this.#shared = new SharedPrefixes(plan.blockTokens);
  }

  /** @throws UnicornError `internal/invariant` when a block or a row of the history is not where it should be */
  checkIntegrity(): void {
    this.cache.checkIntegrity();
    const { maxSequences } = this.plan;
    const held = [...this.#running].map(({ holding }) => holding!.historyRow);
    const distinct = new Set([...this.#freeRows, ...held]);
    invariant(distinct.size === maxSequences, 'a row of the history leaked');
    invariant(this.#freeRows.length + held.length === maxSequences, 'a row of the history is owned twice');
  }
}
