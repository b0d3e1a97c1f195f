/**
 * What the steps of one program take, by their number of rows, with a guess between and beyond the numbers that were
 * measured; and the pace that this is relative to. They measure nothing themselves.
 *
 * Shares and not milliseconds: numbers of rows are measured at different times, and a busy neighbour makes a share wrong
 * only for as long as it takes the pace to follow.
 */

/**
 * Of so many times the lower quartile counts, since what disturbs a step (a collected heap, a busy neighbour) only adds to
 * it. While drafts pay, five plain steps are some 160 steps' time.
 */
export const paceWindow = 5;
const costWindow = 8;

/**
 * Beyond what was measured each row is taken for so much cheaper than one within: a hope that is tried once is corrected,
 * a fear never is.
 */
const hope = 0.5;

/** How long a certain step takes at present. */
export class Pace {
  readonly #times: number[] = [];
  #ms: number | undefined;

  /** Undefined until two were measured, the first of which may be a cold one. */
  get ms(): number | undefined {
    return this.#ms;
  }

  add(ms: number): void {
    this.#times.push(ms);
    if (this.#times.length > paceWindow) this.#times.shift();
    if (this.#times.length > 1) this.#ms = quartile(this.#times);
  }
}

/** In units of a pace. */
export class StepCosts {
  readonly #measured = new Map<number, { readonly shares: number[]; share: number }>();
  /** The numbers of rows of that, ascending. */
  #known: number[] = [];
  readonly #cold = new Set<number>();

  /** @param unit rows whose steps are the unit, if there are such */
  constructor(readonly unit?: number) {
    if (unit !== undefined) this.#know(unit, [], 1);
  }

  /** The largest number of rows that was measured, 0 at first. */
  get reach(): number {
    return this.#known.at(-1) ?? 0;
  }

  /** Whether so many rows were measured themselves, twice: the first time is a cold one. */
  knows(rows: number): boolean {
    return this.#measured.has(rows);
  }

  add(rows: number, share: number): void {
    if (rows === this.unit) return;
    const entry = this.#measured.get(rows);
    if (entry) {
      entry.shares.push(share);
      if (entry.shares.length > costWindow) entry.shares.shift();
      entry.share = quartile(entry.shares);
    } else if (this.#cold.has(rows)) {
      this.#know(rows, [share], share);
    } else {
      this.#cold.add(rows);
    }
  }

  /** Undefined when nothing is known. Linear between measured numbers, hopeful beyond. */
  at(rows: number): number | undefined {
    const exact = this.#measured.get(rows);
    if (exact) return exact.share;
    const known = this.#known;
    const above = known.findIndex((other) => other > rows);
    const share = (index: number): number => this.#measured.get(known[index]!)!.share;
    if (known.length < 2 || above === 0) return known.length > 0 ? share(0) : undefined;
    const [low, high] = above < 0 ? [0, known.length - 1] : [above - 1, above];
    const slope = (share(high) - share(low)) / (known[high]! - known[low]!);
    if (above >= 0) return share(low) + slope * (rows - known[low]!);
    return share(high) + hope * Math.max(0, slope) * (rows - known[high]!);
  }

  /** The same without hope: beyond what was measured each row adds `perRow`. */
  atMost(rows: number, perRow: number): number {
    const { reach } = this;
    return rows <= reach ? this.at(rows)! : (this.at(reach) ?? 0) + (rows - reach) * perRow;
  }

  #know(rows: number, shares: number[], share: number): void {
    this.#measured.set(rows, { shares, share });
    this.#known = [...this.#measured.keys()].sort((a, b) => a - b);
  }
}

/** The lower one: the least of up to four, then the second. */
function quartile(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[(values.length - 1) >> 2]!;
}
