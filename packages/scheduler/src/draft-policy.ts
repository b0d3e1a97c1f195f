/**
 * How many tokens to draft in a step: the number that promises the most tokens for each millisecond, by measured times
 * and measured acceptance, counting every sequence of the step, also those that only wait. It neither drafts nor looks
 * at a clock.
 *
 * Estimates can be wrong, so an account bounds what they may cost, in units of a plain step's time: a step with drafts
 * pays in what it saved or takes out what it lost, and nothing is drafted while the account is overdrawn. It begins with
 * {@link headStart} and regains {@link trialShare} of the steps that could have drafted and did not; so in the long run
 * speculation that does not pay costs that share and no more.
 */
import { AcceptanceRates } from './acceptance-rates.js';
import { StepCosts } from './step-costs.js';

/** Steps' time that may be lost before anything was gained: enough to measure some numbers of rows. */
const headStart = 4;
/** A sixth of the 3 % that speculation may cost at most; the rest is for noise and for what is not measured. */
const trialShare = 0.005;
/** What gains can be laid up: a change for the worse is noticed before so many steps' time is lost. */
const mostSaved = 12;
/** What one step can take out: more is not the draft's doing, but a machine that was busy. */
const mostLost = 4;
/** Steps without drafts between trials of what the estimates advise against: doubled after each, up to the last. */
const firstPause = 64;
const longestPause = 1024;
/** After the estimates advised against drafts, so many steps do not ask again: asking takes time, too. */
const restSteps = 7;
/** One step in so many is plain although drafting pays, so that the time of a plain one stays known. */
const refreshEvery = 32;
/** Speed that drafts must promise, against a plain step's: less would be lost in what is not measured. */
const worthwhile = 1.08;
/** A draft's time before it was measured, as a share of a plain step: the most that is worth a trial. */
const assumedDraftShare = 0.5;

/** A sequence that may draft in this step. */
export interface DraftCandidate {
  readonly rates: AcceptanceRates;
  /** Tokens that it can draft at most. */
  readonly limit: number;
  /** Name of the program that drafts, one submission for each token; undefined: its drafts take no time. */
  readonly program: string | undefined;
  /** False: it always drafts `limit` tokens. */
  readonly adaptive: boolean;
}

/** What a step took and gave, for one target program, when it held no prompt. */
export interface StepReport {
  readonly target: string;
  readonly sequences: number;
  /** Rows of the target's submission: one for each sequence and each drafted token. */
  readonly rows: number;
  /** Tokens that the sequences got. */
  readonly tokens: number;
  /** Of the target's submission. */
  readonly stepMs: number;
  /** Of that and all drafts before it. */
  readonly totalMs: number;
  /** Whether the policy chose the drafts: only then do they count against it. */
  readonly chosen: boolean;
}

/** What a step is expected to give and to take. */
interface Prospect {
  tokens: number;
  rows: number;
  draftMs: number;
}

/** The first `taken` of those that may draft do so, up to `depth` tokens each. */
interface Choice {
  readonly taken: number;
  readonly depth: number;
  readonly tokensPerMs: number;
}

export class DraftPolicy {
  readonly #costs = new Map<string, StepCosts>();
  readonly #rates = new Map<string, AcceptanceRates>();
  #account = headStart;
  #sinceTrial = 0;
  #pause = firstPause;
  /** Steps for which the last answer still holds. */
  #rest = 0;
  #sincePlain = 0;

  /** The rates of a new sequence that drafts in the way that `name` names. */
  newRates(name: string): AcceptanceRates {
    let parent = this.#rates.get(name);
    if (!parent) this.#rates.set(name, (parent = new AcceptanceRates()));
    return new AcceptanceRates(parent);
  }

  /** Tokens to draft for each candidate in a step of `sequences` sequences, the candidates among them. */
  plan(target: string, sequences: number, candidates: readonly DraftCandidate[]): number[] {
    const counts = candidates.map(({ adaptive, limit }) => (adaptive ? 0 : limit));
    const free = candidates.filter(({ adaptive, limit }) => adaptive && limit > 0);
    if (free.length === 0) return counts;
    const choice = this.#choose(target, sequences, candidates, free);
    if (!choice) {
      this.#sinceTrial++;
      this.#account = Math.max(this.#account, Math.min(headStart, this.#account + trialShare));
      return counts;
    }
    const drafting = new Set(free.slice(0, choice.taken));
    return candidates.map((one, index) =>
      drafting.has(one) ? Math.min(choice.depth, one.limit) : counts[index]!,
    );
  }

  /** A submission of a drafting program took so long. */
  learnDraft(program: string, rows: number, ms: number): void {
    this.#costsOf(program).add(rows, ms);
  }

  learnStep({ target, sequences, rows, tokens, stepMs, totalMs, chosen }: StepReport): void {
    const costs = this.#costsOf(target);
    costs.add(rows, stepMs);
    if (rows === sequences) {
      this.#sincePlain = 0;
    } else if (chosen) {
      this.#sincePlain++;
      const plainMs = costs.at(sequences)!;
      const gain = tokens / sequences - totalMs / plainMs;
      this.#account = Math.min(mostSaved, this.#account + Math.max(-mostLost, gain));
      // A step that gained is worth another look at once, whatever the estimates still remember.
      if (tokens / sequences > worthwhile * (totalMs / plainMs)) {
        this.#sinceTrial = this.#pause = firstPause;
        this.#rest = 0;
      }
    }
  }

  #costsOf(program: string): StepCosts {
    let costs = this.#costs.get(program);
    if (!costs) this.#costs.set(program, (costs = new StepCosts()));
    return costs;
  }

  /** Sorts `free`, the best prospects first. Undefined: none of them is to draft. */
  #choose(
    target: string,
    sequences: number,
    candidates: readonly DraftCandidate[],
    free: DraftCandidate[],
  ): Choice | undefined {
    const costs = this.#costsOf(target);
    const plainMs = costs.at(sequences);
    if (plainMs === undefined || this.#account <= 0 || this.#sincePlain >= refreshEvery) return undefined;
    // What a slice promises changes slowly; what was looked up is another matter each time.
    if (this.#rest > 0 && free.every(({ program }) => program !== undefined)) {
      this.#rest--;
      return undefined;
    }
    const plain = { tokens: sequences, rows: sequences, draftMs: 0 };
    const given = candidates.filter(({ adaptive }) => !adaptive);
    const most = given.reduce((deepest, { limit }) => Math.max(deepest, limit), 0);
    for (let depth = 0; depth < most; depth++) this.#deepen(plain, given, depth, plainMs);
    if (free.length > 1) free.sort((a, b) => b.rates.at(0) - a.rates.at(0));
    const best = this.#best(costs, plain, free, plainMs);
    if (!best) return undefined;
    if (best.tokensPerMs > worthwhile * tokensPerMs(plain, costs)) {
      this.#pause = firstPause;
      return best;
    }
    if (this.#sinceTrial < this.#pause || this.#account < 1) {
      this.#rest = restSteps;
      return undefined;
    }
    this.#sinceTrial = 0;
    this.#pause = Math.min(longestPause, 2 * this.#pause);
    return best;
  }

  /**
   * Those with the best prospects, first in `free`, draft all as many tokens as they can up to a common depth. Undefined
   * when every choice would go beyond twice the rows that were measured.
   */
  #best(
    costs: StepCosts,
    plain: Prospect,
    free: readonly DraftCandidate[],
    plainMs: number,
  ): Choice | undefined {
    const mostRows = 2 * costs.reach;
    const deepest = free.reduce((most, { limit }) => Math.max(most, limit), 0);
    let best: Choice | undefined;
    for (let taken = 1; taken <= free.length; taken++) {
      const prospect = { ...plain };
      const drafting = free.slice(0, taken);
      for (let depth = 1; depth <= deepest; depth++) {
        this.#deepen(prospect, drafting, depth - 1, plainMs);
        if (prospect.rows > mostRows) break;
        const speed = tokensPerMs(prospect, costs);
        if (speed > (best?.tokensPerMs ?? 0)) best = { taken, depth, tokensPerMs: speed };
      }
    }
    return best;
  }

  /** One token more for each of `drafting` that can: its guess number `depth`, from 0. */
  #deepen(prospect: Prospect, drafting: readonly DraftCandidate[], depth: number, plainMs: number): void {
    const active = new Map<string, number>();
    for (const { rates, limit, program } of drafting) {
      if (limit <= depth) continue;
      prospect.tokens += rates.expectedTokens(depth + 1) - rates.expectedTokens(depth);
      prospect.rows++;
      if (program !== undefined) active.set(program, (active.get(program) ?? 0) + 1);
    }
    for (const [program, rows] of active) {
      prospect.draftMs += this.#costsOf(program).at(rows) ?? assumedDraftShare * plainMs;
    }
  }
}

function tokensPerMs({ tokens, rows, draftMs }: Prospect, costs: StepCosts): number {
  return tokens / Math.max(draftMs + costs.at(rows)!, Number.MIN_VALUE);
}
