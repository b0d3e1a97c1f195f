/**
 * Jobs of the queue that wait for a prefix which a running job is about to compute, instead of computing it again. They
 * hold no memory meanwhile, and they wait only for what runs and gets on: whoever waited for a job that ended or was
 * preempted looks anew. It knows no queue, and admits nobody.
 */
import type { KvSequence } from '../kv/kv-sequence.js';
import { wholeLength } from '../kv/prefix-search.js';
import { cutBefore } from '../kv/token-span.js';
import type { Job } from './job.js';

/** Waiting costs a step; it has to save so many blocks of tokens at least, or the step would be longer than what is saved. */
const leastBlocks = 2;

interface Wait {
  readonly leader: Job;
  /** What the leader held when the wait began. */
  readonly kv: KvSequence;
  /** Position behind the shared prefix. */
  readonly end: number;
}

export class SharedPrefixes {
  readonly #waits = new Map<Job, Wait>();

  constructor(private readonly blockTokens: number) {}

  /**
   * Whether the job had better wait.
   *
   * @param reusable how many tokens it could take from the prefix cache now
   */
  waits(job: Job, size: string, running: Iterable<Job>, reusable: () => number): boolean {
    const before = this.#waits.get(job);
    if (before && isUnderWay(before)) return true;
    this.#waits.delete(job);
    if (job.reuse === 'none') return false;
    let best: Wait | undefined;
    for (const leader of running) {
      const kv = leader.holding!.kv;
      if (leader.ended || leader.yields || kv.slots || kv.origin.size !== size) continue;
      const wait = { leader, kv, end: this.#sharedEnd(job, leader) };
      if (isUnderWay(wait) && wait.end > (best?.end ?? 0)) best = wait;
    }
    const least = leastBlocks * this.blockTokens;
    if (!best || best.end < least || best.end - reusable() < least) return false;
    this.#waits.set(job, best);
    return true;
  }

  /** The job left the queue. */
  forget(job: Job): void {
    this.#waits.delete(job);
  }

  /** The next position at which somebody waits for a running job: its step ends there, since a window may move on. */
  nextEnd(leader: Job): number {
    let next = Infinity;
    for (const wait of this.#waits.values()) {
      if (wait.leader === leader && isUnderWay(wait)) next = Math.min(next, wait.end);
    }
    return next;
  }

  /** Behind the prefix that a job could take over from another, once that has computed it. */
  #sharedEnd(job: Job, leader: Job): number {
    const limit = Math.min(job.promptLength, job.tokens.length - 1, leader.promptLength);
    let common = 0;
    while (common < limit && job.keys[common] === leader.keys[common]) common++;
    const end = wholeLength(job.spans, common, this.blockTokens);
    return cutBefore(leader.spans, end) === end ? end : 0;
  }
}

function isUnderWay({ leader, kv, end }: Wait): boolean {
  return leader.holding?.kv === kv && !leader.ended && !leader.yields && kv.computed < end;
}
