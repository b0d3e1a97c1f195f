/**
 * What one way of drafting may lose, in units of a plain step's time. A step with drafts pays in what it saved or takes
 * out what it lost, and no step may stake more than is there: a stake is what is lost if every guess is wrong. So
 * speculation that does not pay costs at most {@link headStart} once and {@link trialShare} of the time, whatever the
 * estimates say, but for the last step before its costs were measured and for noise in those measurements.
 */

/** There from the start: 2 % of an answer of 100 tokens, and enough to measure some numbers of rows. */
export const headStart = 2;
/** Given for each step that could have drafted and did not. A third of the 3 % that speculation may cost at most; the rest is for noise, and for time that is not measured. */
export const trialShare = 0.01;
/** What gains can be laid up, and so be lost again when a text changes for the worse: one full draft that is all wrong. */
export const mostSaved = 4;
/** Steps without drafts between trials of what the estimates advise against: doubled after each, up to the last. */
const firstPause = 64;
const longestPause = 1024;

export class DraftLedger {
  #funds = headStart;
  #pause = firstPause;
  #sinceTrial = 0;
  /** Steps for which the last refusal still holds. */
  rest = 0;

  /** The largest stake that a step may take. */
  get funds(): number {
    return this.#funds;
  }

  /** Whether something may be tried again that the estimates advise against. */
  get trialDue(): boolean {
    return this.#sinceTrial >= this.#pause;
  }

  /** A step passed without drafts. */
  idle(): void {
    this.#sinceTrial++;
    if (this.rest > 0) this.rest--;
    this.#funds = Math.max(this.#funds, Math.min(headStart, this.#funds + trialShare));
  }

  tried(): void {
    this.#sinceTrial = 0;
    this.#pause = Math.min(longestPause, 2 * this.#pause);
  }

  /** The estimates advise drafts: what they advise against later is worth an early trial. */
  promising(): void {
    this.#pause = firstPause;
  }

  /** A step with drafts gained so many plain steps' time, or lost it. */
  settle(gain: number): void {
    this.#funds = Math.min(mostSaved, this.#funds + gain);
    if (gain <= 0) return;
    // Worth another look at once, whatever the estimates still remember.
    this.#sinceTrial = this.#pause = firstPause;
    this.rest = 0;
  }
}
