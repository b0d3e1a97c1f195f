/**
 * What a step of one program takes, by its number of rows: a moving median of measured times, and a guess between and
 * beyond the numbers that were measured. It measures nothing itself.
 */

/** Times kept for each number of rows. Fifteen hold seven outliers (a collected heap, a busy neighbour) at bay. */
const windowLength = 15;

/**
 * Beyond what was measured each row is taken for so much cheaper than one within: a hope that is tried once is corrected,
 * a fear never is.
 */
const hope = 0.5;

/** Each time that so many steps have passed, a number of rows that was not seen in them is forgotten: the machine or the context may have changed. */
const forgetAfter = 512;

interface Measured {
  readonly times: number[];
  median: number;
  seen: number;
}

export class StepCosts {
  readonly #measured = new Map<number, Measured>();
  /** The keys of that, ascending. */
  #known: number[] = [];
  #steps = 0;

  /** The largest number of rows that was measured, 0 at first. */
  get reach(): number {
    return this.#known.at(-1) ?? 0;
  }

  add(rows: number, ms: number): void {
    this.#steps++;
    let entry = this.#measured.get(rows);
    if (!entry) {
      this.#measured.set(rows, (entry = { times: [], median: ms, seen: 0 }));
      this.#sort();
    }
    entry.times.push(ms);
    if (entry.times.length > windowLength) entry.times.shift();
    entry.median = [...entry.times].sort((a, b) => a - b)[entry.times.length >> 1]!;
    entry.seen = this.#steps;
    if (this.#steps % forgetAfter === 0) this.#forget();
  }

  /** Milliseconds; undefined when nothing was measured. Linear between measured numbers, hopeful beyond. */
  at(rows: number): number | undefined {
    const exact = this.#measured.get(rows);
    if (exact) return exact.median;
    const known = this.#known;
    const above = known.findIndex((other) => other > rows);
    const median = (index: number): number => this.#measured.get(known[index]!)!.median;
    if (known.length < 2 || above === 0) return known.length > 0 ? median(0) : undefined;
    const [low, high] = above < 0 ? [0, known.length - 1] : [above - 1, above];
    const slope = (median(high) - median(low)) / (known[high]! - known[low]!);
    if (above >= 0) return median(low) + slope * (rows - known[low]!);
    return median(high) + hope * Math.max(0, slope) * (rows - known[high]!);
  }

  #forget(): void {
    for (const [rows, { seen }] of this.#measured) {
      if (this.#steps - seen >= forgetAfter) this.#measured.delete(rows);
    }
    this.#sort();
  }

  #sort(): void {
    this.#known = [...this.#measured.keys()].sort((a, b) => a - b);
  }
}
