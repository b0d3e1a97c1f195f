/**
 * Runs an automaton over bytes. A configuration is all places that a text may have reached: pairs of a state and of a stack
 * of states to return to. Configurations, stacks and transitions are made once and remembered.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import type { Automaton } from './automaton.js';

/** Where a rule that was called returns to. Equal stacks are one object while {@link Pushdown} remembers them. */
export interface Stack {
  readonly id: number;
  readonly returnState: number;
  /** Undefined: below it is the bottom. */
  readonly below: Stack | undefined;
}

/** A place: a state that reads bytes. An undefined stack is the bottom. */
export interface Place {
  readonly state: number;
  readonly stack: Stack | undefined;
}

export interface Configuration {
  readonly id: number;
  readonly places: readonly Place[];
  /** Whether the text may end here. */
  readonly isComplete: boolean;
  /** By byte; null where the byte may not follow, undefined where nobody has asked. */
  readonly next: (Configuration | null | undefined)[];
}

/** Configurations that are remembered; each takes about 2 KB. Those that are in use outlive being forgotten. */
const mostConfigurations = 20_000;

/** Places of one configuration. Grammars in use have a handful; more are ways to read the same text over and over. */
const mostPlaces = 10_000;

export class Pushdown {
  readonly #automaton: Automaton;
  /** States behind which a rule only ends: what is called there needs no return. */
  readonly #isLast: readonly boolean[];
  #stacks = new Map<number, Stack>();
  #configurations = new Map<string, Configuration>();
  #outer = new Map<Stack, Configuration>();
  #count = 0;
  readonly start: Configuration;

  constructor(automaton: Automaton) {
    this.#automaton = automaton;
    const { reads, jumps, calls, ends } = automaton;
    this.#isLast = ends.map(
      (isEnd, state) => isEnd && reads[state]!.length + jumps[state]!.length + calls[state]!.length === 0,
    );
    this.start = this.#closed([{ state: automaton.start, stack: undefined }])!;
  }

  /** What a byte leads to; null where it may not follow. @throws UnicornError `resource/grammar` when there are too many ways */
  step(from: Configuration, byte: number): Configuration | null {
    const known = from.next[byte];
    if (known !== undefined) return known;
    const reached: Place[] = [];
    for (const { state, stack } of from.places) {
      const reads = this.#automaton.reads[state]!;
      for (let i = 0; i < reads.length; i += 3) {
        if (byte >= reads[i]! && byte <= reads[i + 1]!) reached.push({ state: reads[i + 2]!, stack });
      }
    }
    const to = reached.length === 0 ? null : this.#closed(reached);
    from.next[byte] = to;
    return to;
  }

  /** The configuration of states alone, as if a rule had just begun: it is complete where the rule may end. */
  local(states: readonly number[]): Configuration {
    return this.#remembered(
      states.map((state) => ({ state, stack: undefined })),
      false,
    );
  }

  /** Where a text goes on when the rule on top has ended. */
  behind(stack: Stack): Configuration {
    let outer = this.#outer.get(stack);
    if (!outer) {
      outer = this.#closed([{ state: stack.returnState, stack: stack.below }]);
      this.#outer.set(stack, outer);
    }
    return outer;
  }

  /** Follows everything that reads nothing. */
  #closed(from: readonly Place[]): Configuration {
    const { reads, jumps, calls, ends } = this.#automaton;
    const seen = new Set<number>();
    const waiting: Place[] = [];
    const visit = (state: number, stack: Stack | undefined): void => {
      // Both numbers together stay below 2^53: there are at most a million states.
      const key = (stack?.id ?? 0) * 2 ** 20 + state;
      if (seen.has(key)) return;
      seen.add(key);
      waiting.push({ state, stack });
    };
    for (const { state, stack } of from) visit(state, stack);
    const places: Place[] = [];
    let isComplete = false;
    for (let place = waiting.pop(); place; place = waiting.pop()) {
      const { state, stack } = place;
      if (reads[state]!.length > 0) places.push(place);
      for (const to of jumps[state]!) visit(to, stack);
      const called = calls[state]!;
      for (let i = 0; i < called.length; i += 2) {
        const returnState = called[i + 1]!;
        visit(called[i]!, this.#isLast[returnState] ? stack : this.#pushed(returnState, stack));
      }
      if (ends[state]) {
        if (stack) visit(stack.returnState, stack.below);
        else isComplete = true;
      }
      if (seen.size > mostPlaces) {
        throw new UnicornError('resource/grammar', 'The grammar can read one text in too many ways.', {
          fields: { mostPlaces },
          fix: 'Make it less ambiguous.',
        });
      }
    }
    return this.#remembered(places, isComplete);
  }

  #pushed(returnState: number, below: Stack | undefined): Stack {
    const key = (below?.id ?? 0) * 2 ** 20 + returnState;
    const known = this.#stacks.get(key);
    if (known) return known;
    const stack = { id: ++this.#count, returnState, below };
    this.#stacks.set(key, stack);
    return stack;
  }

  #remembered(places: readonly Place[], isComplete: boolean): Configuration {
    const keys = places.map(({ state, stack }) => `${state}.${stack?.id ?? 0}`).sort();
    const key = `${isComplete ? '!' : ''}${keys.join()}`;
    const known = this.#configurations.get(key);
    if (known) return known;
    if (this.#configurations.size >= mostConfigurations) this.#forget();
    const made = { id: ++this.#count, places, isComplete, next: [] };
    this.#configurations.set(key, made);
    return made;
  }

  #forget(): void {
    this.#configurations = new Map();
    this.#stacks = new Map();
    this.#outer = new Map();
  }
}
