/**
 * What one way of drafting may lose, in units of a plain step's time. A step with drafts pays in what it saved or takes
 * out what it lost, and no step may stake more than is there: a stake is what is lost if every guess is wrong. So from
 * any step to any later one speculation loses no more than {@link mostSaved} and {@link trialShare} of the steps, from
 * the first step on no more than {@link headStart} and that share, whatever the estimates say; but for what cannot be
 * known: the time of a step before one like it was measured, and noise in the measurements.
 */

/** There from the start: 2 % of an answer of 100 tokens, and enough to measure some numbers of rows. */
export const headStart = 2;
/** Given for each step without drafts, up to `headStart`. A third of the 3 % that speculation may cost at most: the rest is for noise, and for time that is not measured. */
export const trialShare = 0.01;
/** What gains can be laid up, and so be lost again when a text changes for the worse: one full draft that is all wrong. */
export const mostSaved = 4;
/** Steps between trials of what the estimates advise against: doubled after each, up to the last. */
const firstPause = 64;
const longestPause = 1024;

export class DraftLedger {
  #funds = headStart;
  #pause = firstPause;
  #lastTrial: number;
  /** What was given for the steps before this one is in the funds. */
  #settled: number;

  /** @param step steps of the target so far, here as everywhere */
  constructor(step: number) {
    this.#lastTrial = this.#settled = step;
  }

  /** The largest stake that a step may take. */
  funds(step: number): number {
    const given = Math.min(headStart, this.#funds + trialShare * (step - this.#settled));
    this.#funds = Math.max(this.#funds, given);
    this.#settled = step;
    return this.#funds;
  }

  /** Steps until something may be tried again that the estimates advise against. */
  untilTrial(step: number): number {
    return Math.max(0, this.#lastTrial + this.#pause - step);
  }

  tried(step: number): void {
    this.#lastTrial = step;
    this.#pause = Math.min(longestPause, 2 * this.#pause);
  }

  /** The estimates advise drafts: what they advise against later is worth an early trial. */
  promising(): void {
    this.#pause = firstPause;
  }

  /** The step with drafts that has ended gained so many plain steps' time, or lost it. */
  settle(step: number, gain: number): void {
    this.#funds = Math.min(mostSaved, this.funds(step - 1) + gain);
    this.#settled = step;
    if (gain <= 0) return;
    // Worth another look at once, whatever the estimates still remember.
    this.#pause = firstPause;
    this.#lastTrial = step - firstPause;
  }
}
