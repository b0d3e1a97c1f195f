/**
 * The meter of a render. Every step pays before it runs, in units of about one character copied, and the render ends when
 * its purse is empty: the same template and conversation end at the same place on every machine, however busy, and nothing
 * that could fill the memory is begun. There is no clock and no watchdog.
 */
import { RenderFailure, WorkExceeded } from './failure.js';

/** Evaluating one node of the syntax tree: some 50 ns, the time in which 16 characters are scanned. */
export const nodeUnits = 16;
/** One entry of a list: 8 bytes, and as much again while the array grows. */
export const entryUnits = 8;
/** One entry of a dict: some 100 bytes. */
export const pairUnits = 64;
/**
 * Levels of calls, recursive loops and nested values. Python allows 1000 frames, of which a macro call takes some five;
 * 400 levels of ours fit in half of V8's default stack.
 */
const maxDepth = 400;

export class Work {
  #left: number;
  #depth = 0;

  constructor(private readonly limit: number) {
    this.#left = limit;
  }

  /** @throws WorkExceeded when less is left */
  spend(units: number): void {
    this.#left -= units;
    if (!(this.#left >= 0)) throw new WorkExceeded(`It took more than ${this.limit} units of work.`);
  }

  /** Runs a task one level deeper. @throws RenderFailure beyond the limit */
  nested<T>(task: () => T): T {
    if (this.#depth >= maxDepth) throw new RenderFailure('it is nested too deep');
    this.#depth++;
    try {
      return task();
    } finally {
      this.#depth--;
    }
  }
}
