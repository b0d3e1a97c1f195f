/**
 * How many tokens to draft in a step: the number that promises the most tokens for the time, by measured times and
 * measured acceptance, counting every sequence of the step, also those that only wait. It neither drafts nor looks at a
 * clock.
 *
 * Times are shares of a plain step of the target, the model's own size, at its present pace. Estimates can be wrong: a
 * {@link DraftLedger} for each way of drafting bounds what they may cost.
 */
import { AcceptanceRates } from './acceptance-rates.js';
import { DraftLedger } from './draft-ledger.js';
import { Pace, paceWindow, StepCosts } from './step-costs.js';

/** When nothing is to be drafted, nobody needs to ask again for so many steps at most: asking takes time, too. */
const longestRest = 63;
/** One step in so many is plain although drafting pays, so that the pace stays known. */
const refreshEvery = 32;
/** A time that is so many times another is not noise. */
const surprise = 1.5;
/** So many steps after a plain one the pace is the present one. */
const freshSteps = 2;
/** Plain steps of other numbers of rows than the pace was taken from, until it is taken from such: as many as it remembers. */
const strangeSteps = paceWindow;
/** Speed that drafts must promise, against a plain step's: less would be lost in what is not measured. */
const worthwhile = 1.08;
/**
 * In a trial so much of what drafts seem to cost is believed, since the rest may have been a disturbance while it was
 * measured. One guess alone would not do: where it does not pay and several would, their cost is never seen again.
 */
const believed = 0.5;
/** A draft's time before it was measured, as a share of the same rows' in the target: the most that is worth a trial. */
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

export interface DraftPlan {
  /** Tokens to draft, for each candidate. */
  readonly counts: readonly number[];
  /** Steps for which adaptive candidates that got none need not ask again, unless their guesses became better. */
  readonly rest: number;
}

/** What a step took and gave, for one target program, when it held no prompt. */
export interface StepReport {
  readonly target: string;
  readonly sequences: number;
  /** Rows of the target's submission: one for each sequence and each drafted token. */
  readonly rows: number;
  /** Tokens that the sequences got. */
  readonly tokens: number;
  /** Duration of the target's submission. */
  readonly stepMs: number;
  /** The `program`s of the drafts, where the policy chose them all: only then do they count against it. */
  readonly chosen?: ReadonlySet<string | undefined> | undefined;
}

/** What a step is expected to give and to take. */
interface Prospect {
  tokens: number;
  rows: number;
  /** Time of the drafts. */
  drafts: number;
  /** The most that it may be. */
  fearedDrafts: number;
}

/** The first `taken` of those that may draft do so, up to `depth` tokens each. */
interface Choice {
  readonly taken: number;
  readonly depth: number;
  /** Tokens for the time of a unit. */
  readonly speed: number;
}

export class DraftPolicy {
  readonly #targets = new Map<string, Target>();
  readonly #rates = new Map<string, AcceptanceRates>();

  /** The rates of a new sequence that drafts by a program. */
  newRates(program: string): AcceptanceRates {
    let parent = this.#rates.get(program);
    if (!parent) this.#rates.set(program, (parent = AcceptanceRates.ofAll()));
    return AcceptanceRates.of(parent);
  }

  /** What to draft in a step of `sequences` sequences, the candidates among them. */
  plan(target: string, sequences: number, candidates: readonly DraftCandidate[]): DraftPlan {
    const counts = candidates.map(({ adaptive, limit }) => (adaptive ? 0 : limit));
    const free = candidates.filter(({ adaptive, limit }) => adaptive && limit > 0);
    if (free.length === 0) return { counts, rest: 0 };
    const given = candidates.filter(({ adaptive }) => !adaptive);
    const choice = this.#targetOf(target).choose(sequences, given, free);
    if (typeof choice === 'number') return { counts, rest: choice };
    for (const one of free.slice(0, choice.taken)) {
      counts[candidates.indexOf(one)] = Math.min(choice.depth, one.limit);
    }
    return { counts, rest: 0 };
  }

  /** A submission that drafts for `target` took so long. */
  learnDraft(target: string, program: string, rows: number, ms: number): void {
    this.#targetOf(target).learnDraft(program, rows, ms);
  }

  learnStep(report: StepReport): void {
    this.#targetOf(report.target).learnStep(report);
  }

  #targetOf(name: string): Target {
    let target = this.#targets.get(name);
    if (!target) this.#targets.set(name, (target = new Target()));
    return target;
  }
}

/** What is known of the steps of one target program and of those that draft for it. */
class Target {
  /** Pace of the plain steps that were seen first. */
  #pace = new Pace();
  /** The number of rows whose plain steps tell the pace. */
  #paceRows = 0;
  /** Plain steps of other numbers since one of those. */
  #strangers = 0;
  /** Steps in a row that took otherwise than such steps do. */
  #surprises = 0;
  #costs = new StepCosts();
  readonly #draftCosts = new Map<string, StepCosts>();
  /** By the program that drafts, undefined for what is looked up. */
  readonly #ledgers = new Map<string | undefined, DraftLedger>();
  #steps = 0;
  #sincePlain = 0;
  /** Tokens drafted in this step. */
  #drafted = 0;

  learnDraft(program: string, rows: number, ms: number): void {
    const costs = this.#costsOf(program);
    const pace = this.#pace.ms;
    if (pace === undefined) return;
    costs.add(rows, ms / pace);
    // By what such steps take, not by this one's time: a disturbance is neither the drafts' merit nor their fault.
    this.#drafted += costs.knows(rows)
      ? this.#draftCost(program, rows)
      : Math.min(ms / pace, this.#costs.at(rows)!);
  }

  learnStep({ sequences, rows, tokens, stepMs, chosen }: StepReport): void {
    const drafted = this.#drafted;
    this.#drafted = 0;
    this.#steps++;
    if (rows === sequences) {
      this.#learnPlain(rows, stepMs);
      return;
    }
    const pace = this.#pace.ms;
    if (pace === undefined) return;
    if (chosen) this.#sincePlain++;
    if (!this.#surprising(rows, stepMs / pace)) this.#costs.add(rows, stepMs / pace);
    if (!chosen) return;
    const plain = this.#costs.at(sequences)!;
    const step = this.#costs.knows(rows)
      ? this.#stepCost(rows, sequences)
      : Math.min(stepMs / pace, (rows * plain) / sequences);
    const gain = tokens / sequences - (drafted + step) / plain;
    for (const program of chosen) this.#ledgerOf({ program }).settle(this.#steps, gain);
  }

  /**
   * Whether a step took so much more or less than such steps do that it says nothing about them: unless the pace is fresh
   * it may have changed. The second in a row makes it forgotten, and plain steps tell it anew.
   */
  #surprising(rows: number, share: number): boolean {
    const ratio = this.#costs.knows(rows) ? share / this.#costs.at(rows)! : 1;
    const surprises = this.#sincePlain > freshSteps && Math.max(ratio, 1 / ratio) > surprise;
    this.#surprises = surprises ? this.#surprises + 1 : 0;
    if (this.#surprises > 1) this.#pace = new Pace();
    return surprises;
  }

  #learnPlain(rows: number, stepMs: number): void {
    this.#sincePlain = 0;
    if (this.#costs.reach === 0) this.#costs = new StepCosts(rows);
    const pace = this.#pace.ms;
    // A time tells the pace or, if the pace is fresh from others, its share of that. Never both: each would follow the
    // other, and both drift away.
    if (rows === this.#costs.unit || rows === this.#paceRows || pace === undefined) {
      this.#pace.add(stepMs / this.#costs.at(rows)!);
    } else {
      this.#costs.add(rows, stepMs / pace);
      if (++this.#strangers < strangeSteps || !this.#costs.knows(rows)) return;
    }
    this.#paceRows = rows;
    this.#strangers = 0;
  }

  /**
   * Of `rows` rows for `sequences` sequences: no less than without drafts, and no more than one after the other. A
   * measurement beyond that was disturbed, and would forbid the trials that could correct it.
   */
  #stepCost(rows: number, sequences: number, hopeful = true): number {
    const plain = this.#costs.at(sequences)!;
    const perRow = plain / sequences;
    const cost = hopeful ? this.#costs.at(rows)! : this.#costs.atMost(rows, perRow);
    return Math.min(Math.max(cost, plain), rows * perRow);
  }

  /** Cost of one guess for each of `rows` sequences: no more than the target itself would take for them. */
  #draftCost(program: string, rows: number, assumedShare = assumedDraftShare): number {
    const most = this.#costs.at(rows)!;
    return Math.min(this.#costsOf(program).at(rows) ?? assumedShare * most, most);
  }

  #costsOf(program: string): StepCosts {
    let costs = this.#draftCosts.get(program);
    if (!costs) this.#draftCosts.set(program, (costs = new StepCosts()));
    return costs;
  }

  #ledgerOf({ program }: Pick<DraftCandidate, 'program'>): DraftLedger {
    let ledger = this.#ledgers.get(program);
    if (!ledger) this.#ledgers.set(program, (ledger = new DraftLedger(this.#steps)));
    return ledger;
  }

  /** Sorts `free`, those that are to draft first; or says for how many steps none of them needs to ask again. */
  choose(sequences: number, given: readonly DraftCandidate[], free: DraftCandidate[]): Choice | number {
    this.#drafted = 0;
    if (this.#pace.ms === undefined || this.#sincePlain >= refreshEvery) return 0;
    const plain: Prospect = { tokens: sequences, rows: sequences, drafts: 0, fearedDrafts: 0 };
    const most = given.reduce((deepest, { limit }) => Math.max(deepest, limit), 0);
    for (let depth = 0; depth < most; depth++) this.#deepen(plain, given, depth);
    if (free.length > 1) free.sort((a, b) => b.rates.at(0) - a.rates.at(0));
    const best = this.#best(plain, free, sequences);
    const enough = (worthwhile * plain.tokens) / (plain.drafts + this.#stepCost(plain.rows, sequences));
    if (best && best.speed > enough) {
      for (const one of free.slice(0, best.taken)) this.#ledgerOf(one).promising();
      return best;
    }
    return this.#trial(plain, free, sequences, enough);
  }

  /**
   * Against the estimates: what they would advise if drafts cost less than they seem to; else one guess of a slice, to
   * see how often it is right. Stakes are those of any step. Or for how many steps there is none.
   */
  #trial(plain: Prospect, free: DraftCandidate[], sequences: number, enough: number): Choice | number {
    const due = free.filter((one) => this.#ledgerOf(one).untilTrial(this.#steps) === 0);
    const hoped = due.length === free.length ? this.#best(plain, free, sequences, believed) : undefined;
    if (hoped && hoped.speed > enough) {
      for (const one of free.slice(0, hoped.taken)) this.#ledgerOf(one).tried(this.#steps);
      return hoped;
    }
    let rest = longestRest;
    for (const one of free) {
      // How often what was looked up is right is seen without a trial.
      if (one.program === undefined) continue;
      const ledger = this.#ledgerOf(one);
      const wait = ledger.untilTrial(this.#steps);
      const choice = wait > 0 ? undefined : this.#best(plain, [{ ...one, limit: 1 }], sequences);
      if (!choice) {
        if (wait > 0) rest = Math.min(rest, wait - 1);
        continue;
      }
      ledger.tried(this.#steps);
      free.unshift(...free.splice(free.indexOf(one), 1));
      return choice;
    }
    return rest;
  }

  /**
   * Those with the best prospects, first in `free`, draft all as many tokens as they can up to a common depth. Undefined
   * when every choice would go beyond twice the rows that were measured, or stake more than a ledger has.
   */
  #best(plain: Prospect, free: readonly DraftCandidate[], sequences: number, belief = 1): Choice | undefined {
    const mostRows = 2 * Math.max(plain.rows, this.#costs.reach);
    const unstakedStep = this.#stepCost(plain.rows, sequences);
    const unstaked = plain.drafts + unstakedStep;
    const unit = this.#costs.at(sequences)!;
    const deepest = free.reduce((most, { limit }) => Math.max(most, limit), 0);
    let best: Choice | undefined;
    let funds = Infinity;
    for (let taken = 1; taken <= free.length; taken++) {
      funds = Math.min(funds, this.#ledgerOf(free[taken - 1]!).funds(this.#steps));
      const drafting = free.slice(0, taken);
      const prospect = { ...plain };
      for (let depth = 1; depth <= deepest; depth++) {
        this.#deepen(prospect, drafting, depth - 1);
        const { rows, drafts, fearedDrafts, tokens } = prospect;
        const stake = fearedDrafts + this.#stepCost(rows, sequences, false) - unstaked;
        if (rows > mostRows || stake > funds * unit) break;
        const added = drafts - plain.drafts + this.#stepCost(rows, sequences) - unstakedStep;
        const speed = tokens / (unstaked + belief * added);
        if (speed > (best?.speed ?? 0)) best = { taken, depth, speed };
      }
    }
    return best;
  }

  /** One token more for each of `drafting` that can: its guess number `depth`, from 0. */
  #deepen(prospect: Prospect, drafting: readonly DraftCandidate[], depth: number): void {
    let active: Map<string, number> | undefined;
    for (const { rates, limit, program } of drafting) {
      if (limit <= depth) continue;
      prospect.tokens += rates.reaching(depth);
      prospect.rows++;
      if (program !== undefined) (active ??= new Map()).set(program, (active.get(program) ?? 0) + 1);
    }
    if (!active) return;
    for (const [program, rows] of active) {
      prospect.drafts += this.#draftCost(program, rows);
      prospect.fearedDrafts += this.#draftCost(program, rows, 1);
    }
  }
}
