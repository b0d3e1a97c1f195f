/**
 * What matching a regular expression at one place of a text may cost, told from its structure: a matcher that goes back
 * tries every way to divide a text among loops that follow each other, and in nested loops every way to cut it.
 */
import type { Sequence, Term } from './pattern-syntax.js';

/**
 * `constant`: an attempt that fails has looked at a number of characters that does not depend on the text, so that a search
 * is linear. `linear`: an attempt takes a time in proportion to the text, and a search may take one at each place.
 * `unbounded`: more, or nobody here knows.
 */
export type PatternCost = 'constant' | 'linear' | 'unbounded';

/** Ways to match an attempt that are tried at each length of its loop: more take seconds in the longest text. */
const maxWays = 256;
/** Copies that a bounded repetition of a group is unrolled to. */
const maxCopies = 64;

/** Of a part of a pattern and whatever follows it. */
interface Cost {
  /** Whether it can fail after its first characters. What cannot is never tried again. */
  readonly canFail: boolean;
  /** Power of the text's length that a failure takes. */
  readonly failing: number;
  /** The same of a success: of the failures before it. */
  readonly matching: number;
  readonly ways: number;
}

const end: Cost = { canFail: false, failing: 0, matching: 0, ways: 1 };
const unknown: Cost = { canFail: true, failing: Infinity, matching: Infinity, ways: Infinity };

export function patternCost(alternatives: readonly Sequence[]): PatternCost {
  const { failing, matching, ways } = costOfGroup(alternatives, end);
  if (Math.max(failing, matching) > 1 || ways > maxWays) return 'unbounded';
  return failing === 0 && matching === 0 ? 'constant' : 'linear';
}

function costOfGroup(alternatives: readonly Sequence[], rest: Cost): Cost {
  return eitherOf(
    alternatives.map((sequence) => sequence.reduceRight((after, term) => costOf(term, after), rest)),
  );
}

function costOf(term: Term, rest: Cost): Cost {
  switch (term.kind) {
    case 'character':
    case 'assertion':
      return { ...rest, canFail: true };
    case 'group':
      return costOfGroup(term.alternatives, rest);
    case 'look': {
      const { failing, matching, ways } = costOfGroup(term.alternatives, end);
      // What it runs over is not consumed: the next attempt runs over it again.
      const power = Math.max(failing, matching, term.alternatives.some(hasLoop) ? 1 : 0);
      return {
        canFail: true,
        failing: Math.max(power, rest.failing),
        matching: Math.max(power, rest.matching),
        ways: ways + rest.ways,
      };
    }
    case 'repeat':
      return costOfRepeat(term, rest);
  }
}

function costOfRepeat({ term, least, most }: Extract<Term, { kind: 'repeat' }>, rest: Cost): Cost {
  const isFixed = hasOneWay(term);
  if (most === Infinity) {
    if (!isFixed) return unknown;
    // Each length that it gives back is another attempt at the rest.
    const failing = rest.canFail ? 1 + rest.failing : 0;
    return {
      canFail: least > 0 || rest.canFail,
      failing,
      matching: Math.max(failing, rest.matching),
      ways: rest.ways,
    };
  }
  if (isFixed) {
    const lengths = rest.canFail ? most - least + 1 : 1;
    return { ...rest, canFail: least > 0 || rest.canFail, ways: rest.ways * lengths };
  }
  if (most > maxCopies) return unknown;
  let cost = rest;
  for (let copy = most; copy > 0; copy--) {
    cost = costOf(term, cost);
    if (copy > least) cost = eitherOf([cost, rest]);
  }
  return cost;
}

/** One after the other is tried until one matches. */
function eitherOf(costs: readonly Cost[]): Cost {
  const canFail = costs.every((cost) => cost.canFail);
  const failing = Math.max(...costs.map((cost) => cost.failing));
  return {
    canFail,
    failing: canFail ? failing : 0,
    matching: Math.max(failing, ...costs.map((cost) => cost.matching)),
    ways: costs.reduce((sum, { ways }) => sum + ways, 0),
  };
}

/** Whether it matches in one way at most, and always so many characters, at least one. */
function hasOneWay(term: Term): boolean {
  if (term.kind === 'character') return true;
  if (term.kind === 'group')
    return (
      term.alternatives.length === 1 &&
      term.alternatives[0]!.length > 0 &&
      term.alternatives[0]!.every(hasOneWay)
    );
  return term.kind === 'repeat' && term.least === term.most && term.least > 0 && hasOneWay(term.term);
}

function hasLoop(sequence: Sequence): boolean {
  return sequence.some((term) => {
    if (term.kind === 'repeat') return term.most === Infinity || hasLoop([term.term]);
    return (term.kind === 'group' || term.kind === 'look') && term.alternatives.some(hasLoop);
  });
}
