/**
 * Runs a regular expression step by step, so that its work can be bounded: for those alone that V8 might never come back
 * from. It finds what V8 finds, some fifty times slower.
 */
import type { Sequence, Term } from './pattern-syntax.js';

/** What follows: takes where it begins, and returns where the match ends, or -1. */
type Rest = (at: number) => number;
type Matcher = (at: number, rest: Rest) => number;

/** Steps between two looks at the clock: some 0.1 ms. */
const stepsPerLook = 4096;

export class CountedPattern {
  readonly #match: Matcher;
  #text = '';
  #steps = 0;
  #look: () => void = () => {};

  constructor(alternatives: readonly Sequence[]) {
    this.#match = this.#group(alternatives);
  }

  /**
   * Where a match that begins here ends; -1 where there is none.
   *
   * @param look called again and again; ends the work by throwing
   */
  endOfMatchAt(text: string, at: number, look: () => void): number {
    this.#text = text;
    this.#look = look;
    return this.#match(at, (end) => end);
  }

  #step(): void {
    if (++this.#steps % stepsPerLook === 0) this.#look();
  }

  #group(alternatives: readonly Sequence[]): Matcher {
    const matchers = alternatives.map((sequence) => this.#sequence(sequence));
    return (at, rest) => {
      for (const match of matchers) {
        const end = match(at, rest);
        if (end >= 0) return end;
      }
      return -1;
    };
  }

  #sequence(sequence: Sequence): Matcher {
    const matchers = sequence.map((term) => this.#term(term));
    return matchers.reduceRight<Matcher>(
      (after, match) => (at, rest) => match(at, (next) => after(next, rest)),
      (at, rest) => rest(at),
    );
  }

  #term(term: Term): Matcher {
    switch (term.kind) {
      case 'character': {
        const lengthAt = this.#character(term.source);
        return (at, rest) => {
          const length = lengthAt(at);
          return length > 0 ? rest(at + length) : -1;
        };
      }
      case 'assertion': {
        const holds = new RegExp(term.source, 'uy');
        return (at, rest) => {
          this.#step();
          holds.lastIndex = at;
          return holds.test(this.#text) ? rest(at) : -1;
        };
      }
      case 'look': {
        const match = this.#group(term.alternatives);
        const holds = term.behind
          ? (at: number): boolean => {
              for (let from = at; from >= 0; from--) {
                if (match(from, (end) => (end === at ? end : -1)) >= 0) return true;
              }
              return false;
            }
          : (at: number): boolean => match(at, (end) => end) >= 0;
        return (at, rest) => (holds(at) === term.negated ? -1 : rest(at));
      }
      case 'group':
        return this.#group(term.alternatives);
      case 'repeat':
        return term.term.kind === 'character' && !term.lazy
          ? this.#run(term.term.source, term.least, term.most)
          : this.#repeat(term);
    }
  }

  /** Length of the character at a place where it is one of these, else 0. */
  #character(source: string): (at: number) => number {
    const holds = new RegExp(`^${source}$`, 'u');
    const known = new Map<number, boolean>();
    return (at) => {
      this.#step();
      const codePoint = this.#text.codePointAt(at);
      if (codePoint === undefined) return 0;
      let isOne = known.get(codePoint);
      if (isOne === undefined) {
        if (known.size > 4096) known.clear();
        known.set(codePoint, (isOne = holds.test(String.fromCodePoint(codePoint))));
      }
      return isOne ? (codePoint > 0xffff ? 2 : 1) : 0;
    };
  }

  /** A greedy loop over one character, without a call for each. */
  #run(source: string, least: number, most: number): Matcher {
    const lengthAt = this.#character(source);
    return (at, rest) => {
      const ends = [at];
      while (ends.length <= most) {
        const from = ends.at(-1)!;
        const length = lengthAt(from);
        if (length === 0) break;
        ends.push(from + length);
      }
      for (let count = ends.length - 1; count >= least; count--) {
        this.#step();
        const end = rest(ends[count]!);
        if (end >= 0) return end;
      }
      return -1;
    };
  }

  #repeat({ term, least, most, lazy }: Extract<Term, { kind: 'repeat' }>): Matcher {
    const match = this.#term(term);
    return (at, rest) => {
      const from = (start: number, count: number): number => {
        this.#step();
        const again = (): number =>
          count === most
            ? -1
            : // What it repeats without end must consume something.
              match(start, (next) => (next === start && count >= least ? -1 : from(next, count + 1)));
        const leave = (): number => (count >= least ? rest(start) : -1);
        const [first, second] = lazy ? [leave, again] : [again, leave];
        const end = first();
        return end >= 0 ? end : second();
      };
      return from(at, 0);
    };
  }
}
