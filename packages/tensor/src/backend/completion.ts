/** Completions of devices that run their submissions in JavaScript, and what every device does with `after`. */
import { UnicornError } from '../error.js';
import type { Completion, SubmissionTime, SubmitOptions } from './executable.js';

/**
 * What a submission waits for, as a list.
 *
 * @throws UnicornError `usage/option` when it is not completions
 */
export function completionsOf({ after }: SubmitOptions): readonly Completion[] {
  if (after === undefined) return [];
  if (isCompletion(after)) return [after];
  if (Array.isArray(after) && after.every(isCompletion)) return after;
  throw new UnicornError('usage/option', 'The option "after" is not a completion, nor an array of them.', {
    fields: { option: 'after' },
    fix: 'Give what submit or copy returned.',
  });
}

function isCompletion(value: unknown): value is Completion {
  return typeof value === 'object' && value !== null && 'done' in value && 'times' in value;
}

/** Resolves when all have ended; rejects with the failure of the first that failed. Undefined when there are none. */
export function endOf(completions: readonly Completion[]): Promise<unknown> | undefined {
  return completions.length === 0 ? undefined : Promise.all(completions.map(({ done }) => done));
}

/** A queue, first in, first out, of work that runs on the event loop. */
export class SubmissionQueue {
  #last: Promise<void> = Promise.resolve();

  /** @param device `info.id` of the device that the work is of */
  constructor(private readonly device: string) {}

  /** Runs `work` after everything before it, whether that succeeded or not, and after all of `after`. */
  enqueue(work: () => Promise<void> | void, options: SubmitOptions = {}): Completion {
    const after = completionsOf(options);
    let times: readonly SubmissionTime[] = [];
    const done = this.#last.then(async () => {
      await endOf(after);
      const beginMs = performance.now();
      try {
        await work();
      } finally {
        times = [{ device: this.device, beginMs, endMs: performance.now() }];
      }
    });
    // A failure belongs to its own completion; the queue goes on, and an unawaited rejection must not end the process.
    this.#last = done.catch(() => {});
    return { done, times: () => times };
  }

  /** Resolves when everything enqueued so far has ended, well or not. */
  idle(): Promise<void> {
    return this.#last;
  }
}
