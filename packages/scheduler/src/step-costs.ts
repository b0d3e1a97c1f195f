/**
 * What a step of one program takes, by its number of rows: a moving median of measured times, and a guess between and
 * beyond the numbers that were measured. It measures nothing itself.
 */

/** Times kept for each number of rows. Nine hold four outliers (a collected heap, a busy neighbour) at bay. */
const windowLength = 9;

/** A number of rows that was not seen for so many steps is forgotten: the machine or the context may have changed. */
const forgetAfter = 512;

interface Measured {
  readonly times: number[];
  median: number;
  seen: number;
}

export class StepCosts {
  readonly #measured = new Map<number, Measured>();
  #steps = 0;

  /** The largest number of rows that was measured, 0 at first. */
  get reach(): number {
    return Math.max(0, ...this.#measured.keys());
  }

  add(rows: number, ms: number): void {
    this.#steps++;
    let entry = this.#measured.get(rows);
    if (!entry) this.#measured.set(rows, (entry = { times: [], median: ms, seen: 0 }));
    entry.times.push(ms);
    if (entry.times.length > windowLength) entry.times.shift();
    entry.median = [...entry.times].sort((a, b) => a - b)[entry.times.length >> 1]!;
    entry.seen = this.#steps;
    for (const [other, { seen }] of this.#measured) {
      if (this.#steps - seen > forgetAfter) this.#measured.delete(other);
    }
  }

  /** Milliseconds; undefined when nothing was measured. Linear between measured numbers, and on beyond the last two. */
  at(rows: number): number | undefined {
    const exact = this.#measured.get(rows);
    if (exact) return exact.median;
    const known = [...this.#measured.keys()].sort((a, b) => a - b);
    const above = known.findIndex((other) => other > rows);
    const median = (index: number): number => this.#measured.get(known[index]!)!.median;
    if (known.length < 2 || above === 0) return known.length > 0 ? median(0) : undefined;
    const high = above < 0 ? known.length - 1 : above;
    const [from, to] = [median(high - 1), median(high)];
    const slope = (to - from) / (known[high]! - known[high - 1]!);
    if (above >= 0) return from + slope * (rows - known[high - 1]!);
    return to + Math.max(0, slope) * (rows - known[high]!);
  }
}
