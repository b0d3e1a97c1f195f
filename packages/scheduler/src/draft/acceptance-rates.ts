/**
 * How often drafted tokens turn out right, by depth: the first of a draft, the second where the first was right, and so
 * on. A moving average; it neither drafts nor checks.
 */

/** Weight of one observation in one sequence, which must notice within about five steps that its text has changed. */
const ownWeight = 0.2;
/** What is learned from many sequences should remember more than the last one. */
const parentWeight = 0.02;
/** Before anything was seen: hopeful enough to be tried. */
const hopeful = 0.75;
/** What can be watched before it is tried begins low: five right guesses raise it to `hopeful`. */
const cautious = 0.25;

export class AcceptanceRates {
  private constructor(
    /** By depth; a depth that was never seen is as good as the one before it. */
    private readonly rates: number[],
    private readonly weight: number,
    private readonly parent?: AcceptanceRates,
  ) {}

  /** The rates of all sequences that draft in one way. */
  static ofAll(): AcceptanceRates {
    return new AcceptanceRates([hopeful], parentWeight);
  }

  /** The rates of one sequence: they begin as those of all, and are handed on to these. */
  static of(all: AcceptanceRates): AcceptanceRates {
    return new AcceptanceRates([...all.rates], ownWeight, all);
  }

  /** The rates of one sequence whose guesses can be watched without checking them. */
  static watched(): AcceptanceRates {
    return new AcceptanceRates([cautious], ownWeight);
  }

  /** Learns that the first `accepted` of `drafted` tokens were right. */
  learn(drafted: number, accepted: number): void {
    // What lies behind the first wrong one says nothing.
    for (let depth = 0; depth < Math.min(drafted, accepted + 1); depth++)
      this.observe(depth, depth < accepted);
  }

  /** The guess at `depth` (from 0) was right or not, and those before it were right. */
  observe(depth: number, right: boolean): void {
    const before = this.at(depth);
    this.rates[Math.min(depth, this.rates.length)] = before + this.weight * ((right ? 1 : 0) - before);
    this.parent?.observe(depth, right);
  }

  /** Chance that the guess at `depth` (from 0) is right when those before it are. */
  at(depth: number): number {
    return this.rates[Math.min(depth, this.rates.length - 1)]!;
  }

  /** Chance that the guess at `depth` and all before it are right. */
  reaching(depth: number): number {
    let chance = 1;
    for (let each = 0; each <= depth; each++) chance *= this.at(each);
    return chance;
  }

  /** Tokens that a step with `drafted` of them yields on average: those accepted and the one after. */
  expectedTokens(drafted: number): number {
    let tokens = 1;
    for (let depth = 0; depth < drafted; depth++) tokens += this.reaching(depth);
    return tokens;
  }
}
