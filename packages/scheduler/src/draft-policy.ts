/**
 * How many tokens to draft in a step: the number that promises the most tokens for each millisecond, by measured times
 * and measured acceptance, counting every sequence of the step, also those that only wait. It neither drafts nor looks
 * at a clock.
 *
 * Estimates can be wrong, so an account bounds what they may cost, in units of a plain step's time: a step with drafts
 * pays in what it saved or takes out what it lost, and nothing is drafted while the account is overdrawn. It begins with
 * {@link headStart} and regains {@link trialShare} of the steps without drafts; so in the long run speculation that does
 * not pay costs that share and no more.
 */
import { AcceptanceRates } from './acceptance-rates.js';
import { StepCosts } from './step-costs.js';

/** Steps' time that may be lost before anything was gained: enough to measure some numbers of rows. */
const headStart = 4;
/** A third of the 3 % that speculation may cost at most; the rest is for noise. */
const trialShare = 0.01;
/** What gains can be laid up: a change for the worse is noticed before so many steps' time is lost. */
const mostSaved = 32;
/** What one step can take out: more is not the draft's doing, but a machine that was busy. */
const mostLost = 4;
/** Steps without drafts between trials of what the estimates advise against: doubled after each, up to the last. */
const firstPause = 64;
const longestPause = 1024;
/** One step in so many is plain although drafting pays, so that the time of a plain one stays known. */
const refreshEvery = 32;
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

interface Choice {
  readonly counts: number[];
  readonly tokensPerMs: number;
}

export class DraftPolicy {
  readonly #costs = new Map<string, StepCosts>();
  readonly #rates = new Map<string, AcceptanceRates>();
  #account = headStart;
  #sinceTrial = 0;
  #pause = firstPause;
  #sincePlain = 0;

  /** The rates of a new sequence that drafts in the way that `name` names. */
  newRates(name: string): AcceptanceRates {
    let parent = this.#rates.get(name);
    if (!parent) this.#rates.set(name, (parent = new AcceptanceRates()));
    return new AcceptanceRates(parent);
  }

  /** Tokens to draft for each candidate in a step of `sequences` sequences, the candidates among them. */
  plan(target: string, sequences: number, candidates: readonly DraftCandidate[]): number[] {
    const given = candidates.map(({ adaptive, limit }) => (adaptive ? 0 : limit));
    const free = candidates.flatMap(({ adaptive, limit }, index) => (adaptive && limit > 0 ? [index] : []));
    const plain = this.#evaluate(target, sequences, candidates, given);
    if (free.length === 0 || !plain || this.#account <= 0 || this.#sincePlain >= refreshEvery) return given;
    const best = this.#best(target, sequences, candidates, given, free);
    if (!best) return given;
    if (best.tokensPerMs > plain.tokensPerMs) {
      this.#pause = firstPause;
      return best.counts;
    }
    if (this.#sinceTrial < this.#pause || this.#account < 1) return given;
    this.#sinceTrial = 0;
    this.#pause = Math.min(longestPause, 2 * this.#pause);
    return best.counts;
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
      this.#sinceTrial++;
      this.#account = Math.max(this.#account, Math.min(headStart, this.#account + trialShare));
    } else if (chosen) {
      this.#sincePlain++;
      const plainMs = costs.at(sequences)!;
      const gain = tokens / sequences - totalMs / plainMs;
      this.#account = Math.min(mostSaved, this.#account + Math.max(-mostLost, gain));
      // A step that gained is worth another look at once, whatever the estimates still remember.
      if (gain > 0) this.#sinceTrial = this.#pause = firstPause;
    }
  }

  #costsOf(program: string): StepCosts {
    let costs = this.#costs.get(program);
    if (!costs) this.#costs.set(program, (costs = new StepCosts()));
    return costs;
  }

  /**
   * Those with the best prospects draft, all as many tokens as they can up to a common number. Undefined when every
   * choice would go beyond twice the rows that were measured.
   */
  #best(
    target: string,
    sequences: number,
    candidates: readonly DraftCandidate[],
    given: readonly number[],
    free: readonly number[],
  ): Choice | undefined {
    const prospect = (index: number): number => candidates[index]!.rates.expectedTokens(1);
    const order = [...free].sort((a, b) => prospect(b) - prospect(a));
    const deepest = Math.max(...free.map((index) => candidates[index]!.limit));
    const mostRows = 2 * this.#costsOf(target).reach;
    let best: Choice | undefined;
    for (let taken = 1; taken <= order.length; taken++) {
      for (let depth = 1; depth <= deepest; depth++) {
        const counts = [...given];
        for (const index of order.slice(0, taken)) counts[index] = Math.min(depth, candidates[index]!.limit);
        if (counts.reduce((sum, count) => sum + count, sequences) > mostRows) break;
        const choice = this.#evaluate(target, sequences, candidates, counts);
        if (choice && choice.tokensPerMs > (best?.tokensPerMs ?? 0)) best = choice;
      }
    }
    return best;
  }

  /** Undefined while the target was never measured. */
  #evaluate(
    target: string,
    sequences: number,
    candidates: readonly DraftCandidate[],
    counts: number[],
  ): Choice | undefined {
    const costs = this.#costsOf(target);
    const plainMs = costs.at(sequences);
    if (plainMs === undefined) return undefined;
    let tokens = sequences;
    let rows = sequences;
    /** For each drafting program how many sequences draft a first token, a second, ... */
    const drafting = new Map<string, number[]>();
    candidates.forEach(({ rates, program }, index) => {
      const count = counts[index]!;
      tokens += rates.expectedTokens(count) - 1;
      rows += count;
      if (program === undefined) return;
      const steps = drafting.get(program) ?? [];
      drafting.set(program, steps);
      for (let depth = 0; depth < count; depth++) steps[depth] = (steps[depth] ?? 0) + 1;
    });
    let ms = costs.at(rows)!;
    for (const [program, steps] of drafting) {
      for (const active of steps) ms += this.#costsOf(program).at(active) ?? assumedDraftShare * plainMs;
    }
    return { counts, tokensPerMs: tokens / Math.max(ms, Number.MIN_VALUE) };
  }
}
