/**
 * One sequence's speculation: its guesses at the next tokens, made in a step and judged at the step's end, and the
 * account of all of them. How many to make is the {@link DraftPolicy}'s business, submitting them the step loop's.
 *
 * A guess is checked by drawing, from the large model's own distribution, the token that plain decoding would draw at
 * that position: draws depend on the seed and the position alone, so drafting changes no token, only when it comes. The
 * draft model draws with the same number, which makes the two agree more often than independent draws would. This is
 * speculative sampling (Leviathan et al. 2023, arXiv:2211.17192) with another coupling of draft and target: Daliri et
 * al. 2024, arXiv:2408.07978, "drafter-invariant". The original accepts a little more often, but what it answers
 * depends on where drafts began, and that on measured times.
 */
import { AcceptanceRates } from './acceptance-rates.js';
import type { ProgramKind } from '../step/program-kind.js';
import { lookUp, type LookedUp } from './prompt-lookup.js';
import { defaultDraftTokens, type SpeculationOptions, type SpeculationUsage } from './speculation.js';

/** Steps between looks at a text that does not repeat itself: doubled after each vain one, up to this. */
const longestNap = 16;
/** So many looks in a row that showed something, and led to no draft, were vain too. */
const vainLooks = 6;

export interface DrafterSetup {
  readonly options: SpeculationOptions;
  /** Draws a draft's tokens; undefined for `ngram`. */
  readonly program: ProgramKind | undefined;
  /** The sequence, prompt and answer. Stays the owner's. */
  readonly tokens: readonly number[];
  readonly stopIds: ReadonlySet<number>;
  readonly vocabularySize: number;
  /** Tokens that the request may still get. */
  readonly remaining: () => number;
  /** What may follow the answer and these guesses. Throws for an impossible mask. */
  readonly allowed: (draft: readonly number[]) => Int32Array | undefined;
  /** Rates of a new sequence that drafts by a program. */
  readonly newRates: (program: string) => AcceptanceRates;
}

/** What was looked up, whether it was drafted or not: how far it was right is seen as the answer goes on. */
interface Watched {
  readonly rates: AcceptanceRates;
  readonly tokens: readonly number[];
  /** How many of them the answer has confirmed. */
  seen: number;
}

export class Drafter {
  readonly adaptive: boolean;
  readonly program: ProgramKind | undefined;
  /** The guesses of this step. */
  readonly draft: number[] = [];
  /** What may follow the first 0, 1, ... of them. */
  readonly masks: (Int32Array | undefined)[] = [];
  readonly #maxTokens: number;
  /** By the length of the match, 0 for those of a slice. */
  readonly #rates: AcceptanceRates[] = [];
  #watched: Watched[] = [];
  #found: LookedUp | undefined;
  #wanted = 0;
  /** Steps for which it need not be asked. */
  #rest = 0;
  #nap = 1;
  #looks = 0;
  #usage: SpeculationUsage = { draftedTokens: 0, acceptedTokens: 0, speculationSteps: 0 };

  constructor(private readonly setup: DrafterSetup) {
    const { options } = setup;
    this.adaptive = options.adaptive ?? true;
    this.program = setup.program;
    this.#maxTokens = options.maxTokens ?? defaultDraftTokens;
  }

  get usage(): SpeculationUsage {
    return this.#usage;
  }

  /** Whether the next step needs no draft of it. */
  get rests(): boolean {
    return this.#rest > 0;
  }

  /**
   * A step begins: one that rests counts it, and costs nothing else.
   *
   * @returns whether it is to be asked for a draft in this step
   */
  wake(): boolean {
    if (this.#rest === 0) return true;
    this.#rest--;
    return false;
  }

  /** Whether a draft was begun in this step. */
  get begun(): boolean {
    return this.masks.length > 0;
  }

  /** Whether it is to know what this step gave. */
  get engaged(): boolean {
    return this.begun || this.#found !== undefined || this.#watched.length > 0;
  }

  /** Looks for what could be drafted in the step that begins. Returns how many tokens that is at most. */
  lookAhead(): number {
    this.#clear();
    // The step itself gives a token, so the last one that is asked for needs no guess.
    const limit = Math.min(this.#maxTokens, this.setup.remaining() - 1);
    if (this.program) return limit;
    this.#found = lookUp(this.setup.tokens, limit);
    if (!this.#found) this.#doze();
    return this.#found?.tokens.length ?? 0;
  }

  /** How often guesses of the kind at hand were right: by the slice, or by the length of the match. */
  get rates(): AcceptanceRates {
    const { program, newRates } = this.setup;
    return (this.#rates[this.#found?.matched ?? 0] ??= program
      ? newRates(program.name)
      : AcceptanceRates.watched());
  }

  /** Nothing is to be drafted, and for so many steps that will not change by itself. */
  refuse(steps: number): void {
    if (this.program) this.#rest = steps;
    else if (++this.#looks % vainLooks === 0) this.#doze();
  }

  #doze(): void {
    this.#rest = this.#nap;
    this.#nap = Math.min(longestNap, 2 * this.#nap);
  }

  /** Begins a draft of `count` tokens; one that was looked up is complete at once. */
  begin(count: number): void {
    this.masks.push(this.setup.allowed([])?.slice());
    this.#wanted = count;
    if (this.program) return;
    for (const token of this.#found!.tokens.slice(0, count)) this.push(token);
    this.#wanted = 0;
  }

  /** Whether the draft model is to draw another token. */
  get incomplete(): boolean {
    return this.draft.length < this.#wanted;
  }

  /** One more guess. An impossible one, and one that ends the answer, end the draft. */
  push(token: number): void {
    if (this.draft.length >= this.#wanted) return;
    const end = this.#wanted;
    this.#wanted = 0;
    const mask = this.masks[this.draft.length];
    if (!(token >= 0 && token < this.setup.vocabularySize)) return;
    if (mask && ((mask[token >>> 5]! >>> (token & 31)) & 1) === 0) return;
    const draft = [...this.draft, token];
    const stop = this.setup.stopIds.has(token);
    let next: Int32Array | undefined;
    try {
      next = stop ? undefined : this.setup.allowed(draft)?.slice();
    } catch {
      // Whether anything may follow this guess matters only if it is right, and then a plain step will ask again.
      return;
    }
    this.draft.push(token);
    this.masks.push(next);
    if (!stop) this.#wanted = end;
  }

  /** How many of the tokens that the request's own size drew stand: up to the first wrong guess, or a stop id. */
  standing(sampled: readonly number[]): number {
    let count = 0;
    while (count < this.draft.length) {
      const token = sampled[count]!;
      if (token !== this.draft[count++] || this.setup.stopIds.has(token)) return count;
    }
    return count + 1;
  }

  /** The step came to nothing: forgets its guesses. */
  drop(): void {
    this.#clear();
  }

  /**
   * Closes the step's account: how many were guessed, and how many of them were right.
   *
   * @param sampled what the request's own size drew
   * @param standing the first of those, which became part of the answer
   */
  settle(
    sampled: readonly number[],
    standing: readonly number[],
  ): { readonly drafted: number; readonly accepted: number } {
    const drafted = this.draft.length;
    let accepted = 0;
    if (drafted > 0) {
      while (accepted < drafted && sampled[accepted] === this.draft[accepted]) accepted++;
      const { draftedTokens, acceptedTokens, speculationSteps } = this.#usage;
      this.#usage = {
        draftedTokens: draftedTokens + drafted,
        acceptedTokens: acceptedTokens + accepted,
        speculationSteps: speculationSteps + 1,
      };
      if (this.program) this.rates.learn(drafted, accepted);
      if (accepted > 0) [this.#nap, this.#looks] = [1, 0];
    }
    if (this.#found) {
      this.#watched.push({ rates: this.rates, tokens: this.#found.tokens, seen: 0 });
      if (standing.length > 0 && standing[0] !== this.#found.tokens[0]) this.#doze();
    }
    for (const token of standing) this.#compare(token);
    this.#clear();
    return { drafted, accepted };
  }

  /** The answer goes on with `token`. */
  #compare(token: number): void {
    if (this.#watched.length === 0) return;
    this.#watched = this.#watched.filter((guess) => {
      const right = guess.tokens[guess.seen] === token;
      guess.rates.observe(guess.seen++, right);
      return right && guess.seen < guess.tokens.length;
    });
  }

  #clear(): void {
    this.draft.length = 0;
    this.masks.length = 0;
    this.#wanted = 0;
    this.#found = undefined;
  }
}
