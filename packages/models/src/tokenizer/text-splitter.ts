/**
 * From text to the pieces that byte-pair encoding sees one by one: normalization, then splitting patterns. The library
 * @huggingface/tokenizers does what is hard about it (Oniguruma's regular expressions in JavaScript, the normalizers);
 * what is done with a pattern's matches is here, since the library knows only two of the five behaviours.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import { DeadlineExceeded, withinDeadline } from '../deadline.js';
import { compilePattern, type NormalizerConfig, type SplitPattern } from './library.js';
import { Normalizer } from './normalizer.js';
import { knownPatterns } from './splitting-patterns.js';

export type SplitBehavior = 'Removed' | 'Isolated' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous';

/** One step of splitting; each piece of the step before goes through it. */
export type SplitStep =
  | { kind: 'pattern'; pattern: SplitPattern; behavior: SplitBehavior; invert: boolean }
  /** A space before the first piece, unless it begins with one (GPT-2's `add_prefix_space`). */
  | { kind: 'prefixSpace' }
  /** Llama's: spaces become `mark`, one is put in front, and words may be cut off before each. */
  | { kind: 'metaspace'; mark: string; prepend: 'always' | 'first' | 'never'; split: boolean };

export interface Splitting {
  /** As in tokenizer.json. */
  normalizers: readonly NormalizerConfig[];
  steps: readonly SplitStep[];
}

/** Some hundred times slower than the known patterns are on any text: what is slower is not going to finish. */
const graceMs = 2000;
const unitsPerMs = 100;

type Step = (text: string, first: boolean) => string[];

export class TextSplitter {
  readonly #normalizer: Normalizer | undefined;
  readonly #steps: Step[];
  /** False when a regular expression is none of ours: it may then take for ever on some text. */
  readonly #trusted: boolean;

  /** @throws UnicornError `format/tokenizer` for a pattern that is not a regular expression */
  constructor(splitting: Splitting) {
    this.#normalizer =
      splitting.normalizers.length === 0 ? undefined : construct(() => new Normalizer(splitting.normalizers));
    this.#steps = splitting.steps.map(compile);
    this.#trusted =
      splitting.steps.every((step) => step.kind !== 'pattern' || isKnown(step.pattern)) &&
      splitting.normalizers.every((normalizer) => !('pattern' in normalizer) || isKnown(normalizer.pattern));
  }

  normalize(text: string): string {
    return this.#normalizer === undefined ? text : this.#guard(text, () => this.#normalizer!.normalize(text));
  }

  /**
   * @param text normalized
   * @param first whether it is where the whole text begins
   */
  split(text: string, first: boolean): string[] {
    return this.#guard(text, () => {
      let pieces = [text];
      for (const step of this.#steps) {
        pieces =
          pieces.length === 1
            ? step(pieces[0]!, first)
            : pieces.flatMap((piece, i) => step(piece, first && i === 0));
      }
      return pieces;
    });
  }

  #guard<T>(text: string, task: () => T): T {
    const timeoutMs = graceMs + Math.ceil(text.length / unitsPerMs);
    try {
      return this.#trusted ? task() : withinDeadline(timeoutMs, task);
    } catch (error) {
      if (error instanceof DeadlineExceeded) {
        throw new UnicornError(
          'resource/tokenizer',
          `The tokenizer's own splitting pattern did not finish within ${timeoutMs} ms on ${text.length} characters.`,
          {
            fields: { timeoutMs, length: text.length },
            fix: 'Use a model from a source that you trust.',
            cause: error,
          },
        );
      }
      // V8 remembers a way back for each repetition, and gives up where they fill its stack: at millions of characters.
      if (error instanceof RangeError) {
        throw new UnicornError(
          'usage/text',
          'The text repeats one kind of character too often to be split into words.',
          {
            fields: { length: text.length },
            fix: 'Split the text into parts and encode each by itself.',
            cause: error,
          },
        );
      }
      throw error;
    }
  }
}

/** Plain strings cannot backtrack. */
function isKnown(pattern: { Regex?: string }): boolean {
  return pattern.Regex === undefined || knownPatterns.has(pattern.Regex);
}

function construct<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof UnicornError) throw error;
    throw new UnicornError('format/tokenizer', `The tokenizer cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function compile(step: SplitStep): Step {
  switch (step.kind) {
    case 'pattern': {
      const { behavior, invert } = step;
      const pattern = construct(() => compilePattern(step.pattern));
      return (text) => splitBy(text, pattern, behavior, invert);
    }
    case 'prefixSpace':
      return (text, first) => [first && !text.startsWith(' ') ? ` ${text}` : text];
    case 'metaspace':
      return (text, first) => {
        let marked = text.replaceAll(' ', step.mark);
        const prepend = step.prepend === 'always' || (step.prepend === 'first' && first);
        if (prepend && !marked.startsWith(step.mark)) marked = step.mark + marked;
        return step.split ? cutBefore(marked, step.mark) : [marked];
      };
  }
}

/** Cuts before each occurrence of `mark`. */
function cutBefore(text: string, mark: string): string[] {
  const pieces: string[] = [];
  let start = 0;
  for (let at = text.indexOf(mark, 1); at > 0; at = text.indexOf(mark, at + mark.length)) {
    pieces.push(text.slice(start, at));
    start = at;
  }
  pieces.push(text.slice(start));
  return pieces;
}

/** Cuts `text` into matches and what is between them, then joins or drops pieces as the behaviour says. */
function splitBy(text: string, pattern: RegExp, behavior: SplitBehavior, invert: boolean): string[] {
  const pieces: string[] = [];
  let afterMatch: boolean | undefined; // whether the last piece was a delimiter; undefined before the first
  let joinNext = false;
  const add = (piece: string, matched: boolean) => {
    if (piece === '') return;
    const delimiter = matched !== invert;
    switch (behavior) {
      case 'Removed':
        if (!delimiter) pieces.push(piece);
        break;
      case 'Isolated':
        pieces.push(piece);
        break;
      case 'MergedWithPrevious':
        if (delimiter && afterMatch === false) pieces[pieces.length - 1] += piece;
        else pieces.push(piece);
        break;
      case 'MergedWithNext':
        // A delimiter waits for the piece after it, unless that is a delimiter too.
        if (!delimiter && joinNext) pieces[pieces.length - 1] += piece;
        else pieces.push(piece);
        joinNext = delimiter;
        break;
      case 'Contiguous':
        if (delimiter === afterMatch) pieces[pieces.length - 1] += piece;
        else pieces.push(piece);
        break;
    }
    afterMatch = delimiter;
  };
  let done = 0;
  for (const match of text.matchAll(pattern)) {
    add(text.slice(done, match.index), false);
    add(match[0], true);
    done = match.index + match[0].length;
  }
  add(text.slice(done), false);
  return pieces;
}
