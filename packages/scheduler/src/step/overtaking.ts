/**
 * How often a job at the head of the queue, for which there is no memory, may be overtaken by smaller ones: so often that
 * memory which it cannot use does not lie idle, and so seldom that it never waits without bound. It holds no queue.
 */
import type { Job } from './job.js';

/**
 * Jobs that overtake one job at most, over its whole life. Each of them ends by itself, so the wait for them is bounded by
 * so many answers; while one answer of a usual length lasts, so many short ones come and go beside it.
 */
export const maxOvertaking = 16;

interface Overtaken {
  jobs: number;
  tokens: number;
}

export class Overtaking {
  readonly #overtaken = new WeakMap<Job, Overtaken>();

  /** Whether `job`, which stands behind `head`, may go first. */
  allows(head: Job, job: Job): boolean {
    if (job.priority !== head.priority) return false;
    const { jobs, tokens } = this.#overtaken.get(head) ?? { jobs: 0, tokens: 0 };
    // Together they take no more memory than the head waits for.
    return jobs < maxOvertaking && tokens + job.tokens.length <= head.tokens.length;
  }

  count(head: Job, job: Job): void {
    const { jobs, tokens } = this.#overtaken.get(head) ?? { jobs: 0, tokens: 0 };
    this.#overtaken.set(head, { jobs: jobs + 1, tokens: tokens + job.tokens.length });
  }
}
