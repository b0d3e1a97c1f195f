/**
 * A pattern that a file brought with it, run such that no text keeps it busy for ever. Known patterns, and those whose
 * structure makes a search linear, are V8's alone. Where an attempt is linear but a search may be quadratic, the clock is
 * looked at between attempts. All others run step by step. No watchdog: one in the process, as that of `node:vm`, needs
 * file descriptors and ends the process where there is none.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import { CountedPattern } from './counted-pattern.js';
import { compilePattern, type SplitPattern } from './library.js';
import { patternCost } from './pattern-cost.js';
import { BackReference, parsePattern, type Sequence } from './pattern-syntax.js';
import { knownPatterns } from './splitting-patterns.js';

/** Some hundred times slower than the known patterns are on any text: what is slower is not going to finish. */
const graceMs = 2000;
const unitsPerMs = 100;
/** Attempts between two looks at the clock, which cost as much as an attempt. */
const attemptsPerLook = 16;

/** Time for the patterns of one text. It begins when it is made. */
export class PatternTime {
  readonly #timeoutMs: number;
  readonly #end: number;
  #attempts = 0;

  constructor(private readonly length: number) {
    this.#timeoutMs = graceMs + Math.ceil(length / unitsPerMs);
    this.#end = performance.now() + this.#timeoutMs;
  }

  /** As {@link check}, now and then. */
  attempt(): void {
    if (++this.#attempts % attemptsPerLook === 0) this.check();
  }

  /** @throws UnicornError `resource/tokenizer` once it is over */
  readonly check = (): void => {
    if (performance.now() <= this.#end) return;
    throw new UnicornError(
      'resource/tokenizer',
      `The tokenizer's own splitting pattern did not finish within ${this.#timeoutMs} ms on ${this.length} characters.`,
      {
        fields: { timeoutMs: this.#timeoutMs, length: this.length },
        fix: 'Use a model from a source that you trust.',
      },
    );
  };
}

export interface BoundedPattern {
  /**
   * Calls for each match, in order; none overlaps another. No generator: words are many.
   *
   * @throws UnicornError `resource/tokenizer` when the time is over; V8's RangeError where repetitions fill its stack
   */
  forEachMatch(text: string, time: PatternTime, use: (start: number, end: number) => void): void;
}

/** @throws SyntaxError for what is no pattern; UnicornError `unsupported/tokenizer` for one that refers back to a group */
export function boundedPattern(pattern: SplitPattern): BoundedPattern {
  const regExp = compilePattern(pattern);
  const isKnown = pattern.Regex === undefined || knownPatterns.has(pattern.Regex);
  if (isKnown) return searching(regExp);
  const alternatives = parsed(regExp.source);
  switch (patternCost(alternatives)) {
    case 'constant':
      return searching(regExp);
    case 'linear': {
      const sticky = new RegExp(regExp.source, 'uy');
      return attempting((text, at) => {
        sticky.lastIndex = at;
        return sticky.test(text) ? sticky.lastIndex : -1;
      });
    }
    case 'unbounded': {
      const counted = new CountedPattern(alternatives);
      return attempting((text, at, time) => counted.endOfMatchAt(text, at, time.check));
    }
  }
}

function parsed(source: string): readonly Sequence[] {
  try {
    return parsePattern(source);
  } catch (cause) {
    if (!(cause instanceof BackReference)) throw cause;
    throw new UnicornError(
      'unsupported/tokenizer',
      `A pattern of the tokenizer refers back to what a group has matched: ${cause.message}.`,
      { fields: { pattern: source }, fix: 'Use a model whose tokenizer splits text without it.', cause },
    );
  }
}

function searching(regExp: RegExp): BoundedPattern {
  return {
    forEachMatch(text, _time, use): void {
      regExp.lastIndex = 0;
      for (let found = regExp.exec(text); found; found = regExp.exec(text)) {
        const end = regExp.lastIndex;
        use(found.index, end);
        if (end === found.index) regExp.lastIndex = nextCharacter(text, end);
      }
    },
  };
}

function attempting(endOfMatchAt: (text: string, at: number, time: PatternTime) => number): BoundedPattern {
  return {
    forEachMatch(text, time, use): void {
      for (let at = 0; at <= text.length;) {
        time.attempt();
        const end = endOfMatchAt(text, at, time);
        if (end >= 0) use(at, end);
        at = end > at ? end : nextCharacter(text, at);
      }
    },
  };
}

function nextCharacter(text: string, at: number): number {
  return at + (text.codePointAt(at)! > 0xffff ? 2 : 1);
}
