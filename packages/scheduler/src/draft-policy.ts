/**
 * How many tokens to draft in a step: the number that promises the most tokens for each millisecond, by measured times
 * and measured acceptance, counting every sequence of the step, also those that only wait. It neither drafts nor looks
 * at a clock.
 *
 * Estimates can be wrong: a {@link DraftLedger} for each way of drafting bounds what they may cost.
 */
import { AcceptanceRates } from './acceptance-rates.js';
import { DraftLedger } from './draft-ledger.js';
import { StepCosts } from './step-costs.js';

/** After the estimates advised against a slice's drafts, so many steps do not ask again: asking takes time, too. */
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
  /** Of all drafts before it: the sum of what {@link DraftPolicy.learnDraft} returned. */
  readonly draftMs: number;
  /** The `program`s of the drafts, where the policy chose them all: only then do they count against it. */
  readonly chosen: ReadonlySet<string | undefined>;
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

/** What is known of the steps of one target program. */
interface Target {
  readonly costs: StepCosts;
  /** By the program that drafts, undefined for what is looked up. */
  readonly ledgers: Map<string | undefined, DraftLedger>;
  sincePlain: number;
}

export class DraftPolicy {
  readonly #targets = new Map<string, Target>();
  readonly #drafts = new Map<string, StepCosts>();
  readonly #rates = new Map<string, AcceptanceRates>();

  /** The rates of a new sequence that drafts by a program. */
  newRates(program: string): AcceptanceRates {
    let parent = this.#rates.get(program);
    if (!parent) this.#rates.set(program, (parent = AcceptanceRates.ofAll()));
    return AcceptanceRates.of(parent);
  }

  /** Tokens to draft for each candidate in a step of `sequences` sequences, the candidates among them. */
  plan(name: string, sequences: number, candidates: readonly DraftCandidate[]): number[] {
    const counts = candidates.map(({ adaptive, limit }) => (adaptive ? 0 : limit));
    const free = candidates.filter(({ adaptive, limit }) => adaptive && limit > 0);
    if (free.length === 0) return counts;
    const target = this.#targetOf(name);
    const choice = this.#choose(target, sequences, candidates, free);
    if (!choice) {
      for (const program of new Set(free.map((one) => one.program))) ledgerOf(target, program).idle();
      return counts;
    }
    const drafting = new Set(free.slice(0, choice.taken));
    return candidates.map((one, index) =>
      drafting.has(one) ? Math.min(choice.depth, one.limit) : counts[index]!,
    );
  }

  /** A submission of a drafting program took so long. Returns what such a one takes when nothing disturbs it. */
  learnDraft(program: string, rows: number, ms: number): number {
    const costs = this.#draftCosts(program);
    costs.add(rows, ms);
    return costs.knows(rows) ? costs.at(rows)! : ms;
  }

  learnStep({ target: name, sequences, rows, tokens, stepMs, draftMs, chosen }: StepReport): void {
    const target = this.#targetOf(name);
    const { costs } = target;
    costs.add(rows, stepMs);
    if (rows === sequences) target.sincePlain = 0;
    if (rows === sequences || chosen.size === 0) return;
    target.sincePlain++;
    const plainMs = costs.at(sequences)!;
    // By what such steps take, not by this one's time: a disturbance is neither the drafts' merit nor their fault. The
    // first is cold; but what rows take one by one, they will not exceed together.
    const usualMs = costs.knows(rows) ? costs.at(rows)! : Math.min(stepMs, (rows * plainMs) / sequences);
    const gain = tokens / sequences - (draftMs + usualMs) / plainMs;
    for (const program of chosen) ledgerOf(target, program).settle(gain);
  }

  #targetOf(name: string): Target {
    let target = this.#targets.get(name);
    if (!target) {
      target = { costs: new StepCosts(), ledgers: new Map(), sincePlain: 0 };
      this.#targets.set(name, target);
    }
    return target;
  }

  #draftCosts(program: string): StepCosts {
    let costs = this.#drafts.get(program);
    if (!costs) this.#drafts.set(program, (costs = new StepCosts()));
    return costs;
  }

  /** Leaves in `free` those that may draft now, the best prospects first. Undefined: none of them is to draft. */
  #choose(
    target: Target,
    sequences: number,
    candidates: readonly DraftCandidate[],
    free: DraftCandidate[],
  ): Choice | undefined {
    const { costs } = target;
    const plainMs = costs.at(sequences);
    if (plainMs === undefined || target.sincePlain >= refreshEvery) return undefined;
    if (free.every(({ program }) => ledgerOf(target, program).rest > 0)) return undefined;
    const plain = { tokens: sequences, rows: sequences, draftMs: 0 };
    const given = candidates.filter(({ adaptive }) => !adaptive);
    const most = given.reduce((deepest, { limit }) => Math.max(deepest, limit), 0);
    for (let depth = 0; depth < most; depth++) this.#deepen(plain, given, depth, plainMs, ownChance);
    if (free.length > 1) free.sort((a, b) => b.rates.at(0) - a.rates.at(0));
    const enough = worthwhile * tokensPerMs(plain, costs);
    const best = this.#best(target, plain, free, plainMs, ownChance);
    if (best && best.tokensPerMs > enough) {
      for (const { program } of free.slice(0, best.taken)) ledgerOf(target, program).promising();
      return best;
    }
    return best && this.#trial(target, plain, free, plainMs, enough);
  }

  /**
   * Against the estimates: one sequence's draft by a slice, the shortest that would be worth it with every guess right.
   * What was looked up needs no trial: whether it was right is seen without checking it.
   */
  #trial(
    target: Target,
    plain: Prospect,
    free: DraftCandidate[],
    plainMs: number,
    enough: number,
  ): Choice | undefined {
    for (const one of free) {
      if (one.program === undefined) continue;
      const ledger = ledgerOf(target, one.program);
      ledger.rest = restSteps;
      if (!ledger.trialDue) continue;
      ledger.tried();
      const ideal = this.#best(target, plain, [one], plainMs, certain, enough);
      if (!ideal || ideal.tokensPerMs <= enough) continue;
      free.unshift(...free.splice(free.indexOf(one), 1));
      return ideal;
    }
    return undefined;
  }

  /**
   * Those with the best prospects, first in `free`, draft all as many tokens as they can up to a common depth. Undefined
   * when every choice would go beyond twice the rows that were measured, or stake more than a ledger has. The search ends
   * at the first choice that is faster than `enough`.
   */
  #best(
    target: Target,
    plain: Prospect,
    free: readonly DraftCandidate[],
    plainMs: number,
    chance: (rates: AcceptanceRates, depth: number) => number,
    enough = Infinity,
  ): Choice | undefined {
    const { costs } = target;
    const mostRows = 2 * costs.reach;
    const without = plain.draftMs + costs.at(plain.rows)!;
    const deepest = free.reduce((most, { limit }) => Math.max(most, limit), 0);
    let best: Choice | undefined;
    let funds = Infinity;
    for (let taken = 1; taken <= free.length; taken++) {
      funds = Math.min(funds, ledgerOf(target, free[taken - 1]!.program).funds);
      const drafting = free.slice(0, taken);
      const prospect = { ...plain };
      for (let depth = 1; depth <= deepest; depth++) {
        this.#deepen(prospect, drafting, depth - 1, plainMs, chance);
        const ms = prospect.draftMs + costs.at(prospect.rows)!;
        if (prospect.rows > mostRows || ms - without > funds * plainMs) break;
        const speed = prospect.tokens / Math.max(ms, Number.MIN_VALUE);
        if (speed > (best?.tokensPerMs ?? 0)) best = { taken, depth, tokensPerMs: speed };
        if (speed > enough) return best;
      }
    }
    return best;
  }

  /** One token more for each of `drafting` that can: its guess number `depth`, from 0. */
  #deepen(
    prospect: Prospect,
    drafting: readonly DraftCandidate[],
    depth: number,
    plainMs: number,
    chance: (rates: AcceptanceRates, depth: number) => number,
  ): void {
    let active: Map<string, number> | undefined;
    for (const { rates, limit, program } of drafting) {
      if (limit <= depth) continue;
      prospect.tokens += chance(rates, depth);
      prospect.rows++;
      if (program !== undefined) (active ??= new Map()).set(program, (active.get(program) ?? 0) + 1);
    }
    if (!active) return;
    for (const [program, rows] of active) {
      prospect.draftMs += this.#draftCosts(program).at(rows) ?? assumedDraftShare * plainMs;
    }
  }
}

/** Chance that all guesses up to `depth` are right. */
const ownChance = (rates: AcceptanceRates, depth: number): number => rates.reaching(depth);
const certain = (): number => 1;

function ledgerOf({ ledgers }: Target, program: string | undefined): DraftLedger {
  let ledger = ledgers.get(program);
  if (!ledger) ledgers.set(program, (ledger = new DraftLedger()));
  return ledger;
}

function tokensPerMs({ tokens, rows, draftMs }: Prospect, costs: StepCosts): number {
  return tokens / Math.max(draftMs + costs.at(rows)!, Number.MIN_VALUE);
}
