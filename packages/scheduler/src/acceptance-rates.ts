/**
 * How often drafted tokens turn out right, by depth: the first of a draft, the second where the first was right, and so
 * on. A sequence has its own rates, which begin as those that sequences before it had (its parent's).
 */

/** Weight of one observation. A sequence must notice within about five steps that its text has changed. */
const ownWeight = 0.2;
/** The parent sees many sequences and should remember more than the last one. */
const parentWeight = 0.02;
/** Before anything was seen: hopeful enough to be tried. */
const firstGuess = 0.75;

export class AcceptanceRates {
  /** By depth; a depth that was never seen is as good as the one before it. */
  readonly #rates: number[];

  constructor(private readonly parent?: AcceptanceRates) {
    this.#rates = parent ? [...parent.#rates] : [firstGuess];
  }

  /** Of `drafted` tokens the first `accepted` were right. */
  learn(drafted: number, accepted: number): void {
    const weight = this.parent ? ownWeight : parentWeight;
    // What lies behind the first wrong one says nothing.
    for (let depth = 0; depth < Math.min(drafted, accepted + 1); depth++) {
      const before = this.#rates[depth] ?? this.#rates.at(-1)!;
      this.#rates[depth] = before + weight * ((depth < accepted ? 1 : 0) - before);
    }
    this.parent?.learn(drafted, accepted);
  }

  /** Chance that the guess at `depth` (from 0) is right when those before it are. */
  at(depth: number): number {
    return this.#rates[Math.min(depth, this.#rates.length - 1)]!;
  }

  /** Tokens that a step with `drafted` of them yields on average: those accepted and the one after. */
  expectedTokens(drafted: number): number {
    let tokens = 1;
    let reached = 1;
    for (let depth = 0; depth < drafted; depth++) {
      reached *= this.at(depth);
      tokens += reached;
    }
    return tokens;
  }
}
