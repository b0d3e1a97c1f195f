/**
 * What a step of one program takes, by its number of rows: the lower quartile of the times measured last, and a guess
 * between and beyond the numbers that were measured. It measures nothing itself.
 *
 * The quartile and not the mean, because what disturbs a step (a collected heap, a busy neighbour) only ever adds to it,
 * and numbers of rows that were measured at different times must stay comparable.
 */

/** Times kept for each number of rows: eleven of fifteen may be disturbed. */
const windowLength = 15;

/**
 * Beyond what was measured each row is taken for so much cheaper than one within: a hope that is tried once is corrected,
 * a fear never is.
 */
const hope = 0.5;

/** Each time that so many steps have passed, a number of rows that was not seen in them is forgotten: the machine or the context may have changed. */
const forgetAfter = 256;

interface Measured {
  readonly times: number[];
  /** Undefined while forgotten, and at first: the first time is a cold one. */
  quartile: number | undefined;
  seen: number;
}

export class StepCosts {
  readonly #measured = new Map<number, Measured>();
  /** The numbers of rows that have a quartile, ascending. */
  #known: number[] = [];
  #reach = 0;
  #steps = 0;

  /** The largest number of rows that was ever measured, 0 at first. */
  get reach(): number {
    return this.#reach;
  }

  /** Whether so many rows were measured themselves. */
  knows(rows: number): boolean {
    return this.#measured.get(rows)?.quartile !== undefined;
  }

  add(rows: number, ms: number): void {
    this.#steps++;
    const entry = this.#measured.get(rows);
    if (!entry) {
      this.#measured.set(rows, { times: [], quartile: undefined, seen: this.#steps });
      this.#reach = Math.max(this.#reach, rows);
    } else {
      const { times } = entry;
      times.push(ms);
      if (times.length > windowLength) times.shift();
      entry.seen = this.#steps;
      entry.quartile = [...times].sort((a, b) => a - b)[(times.length - 1) >> 2]!;
      if (times.length === 1) this.#sort();
    }
    if (this.#steps % forgetAfter === 0) this.#forget();
  }

  /** Milliseconds; undefined when nothing is known. Linear between measured numbers, hopeful beyond. */
  at(rows: number): number | undefined {
    const exact = this.#measured.get(rows)?.quartile;
    if (exact !== undefined) return exact;
    const known = this.#known;
    const above = known.findIndex((other) => other > rows);
    const quartile = (index: number): number => this.#measured.get(known[index]!)!.quartile!;
    if (known.length < 2 || above === 0) return known.length > 0 ? quartile(0) : undefined;
    const [low, high] = above < 0 ? [0, known.length - 1] : [above - 1, above];
    const slope = (quartile(high) - quartile(low)) / (known[high]! - known[low]!);
    if (above >= 0) return quartile(low) + slope * (rows - known[low]!);
    return quartile(high) + hope * Math.max(0, slope) * (rows - known[high]!);
  }

  #forget(): void {
    for (const entry of this.#measured.values()) {
      if (this.#steps - entry.seen < forgetAfter) continue;
      entry.times.length = 0;
      entry.quartile = undefined;
    }
    this.#sort();
  }

  #sort(): void {
    this.#known = [...this.#measured]
      .filter(([, { quartile }]) => quartile !== undefined)
      .map(([rows]) => rows)
      .sort((a, b) => a - b);
  }
}
