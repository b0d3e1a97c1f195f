/**
 * From text to the pieces that byte-pair encoding sees one by one: normalization, then splitting patterns. The library
 * @huggingface/tokenizers does what is hard about it (Oniguruma's regular expressions in JavaScript, the normalizers);
 * what is done with a pattern's matches is here, since the library knows only two of the five behaviours.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import { boundedPattern, PatternTime, type BoundedPattern } from './bounded-pattern.js';
import type { NormalizerConfig, SplitPattern } from './library.js';
import { Normalizer } from './normalizer.js';

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

type Step = (text: string, first: boolean, time: PatternTime) => string[];

export class TextSplitter {
  readonly #normalizer: Normalizer | undefined;
  readonly #steps: Step[];

  /**
   * @throws UnicornError `format/tokenizer` for a pattern that is not a regular expression, `unsupported/tokenizer` for one
   * that refers back to a group
   */
  constructor(splitting: Splitting) {
    this.#normalizer =
      splitting.normalizers.length === 0 ? undefined : construct(() => new Normalizer(splitting.normalizers));
    this.#steps = splitting.steps.map(compile);
  }

  normalize(text: string): string {
    return this.#normalizer === undefined ? text : guard(text, () => this.#normalizer!.normalize(text));
  }

  /**
   * @param text normalized
   * @param first whether it is where the whole text begins
   */
  split(text: string, first: boolean): string[] {
    return guard(text, () => {
      const time = new PatternTime(text.length);
      let pieces = [text];
      for (const step of this.#steps) {
        pieces =
          pieces.length === 1
            ? step(pieces[0]!, first, time)
            : pieces.flatMap((piece, i) => step(piece, first && i === 0, time));
      }
      return pieces;
    });
  }
}

/** V8 remembers a way back for each repetition, and gives up where they fill its stack: at millions of characters. */
function guard<T>(text: string, task: () => T): T {
  try {
    return task();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
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
      const pattern = construct(() => boundedPattern(step.pattern));
      return (text, _first, time) => splitBy(text, pattern, time, { behavior, invert });
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
function splitBy(
  text: string,
  pattern: BoundedPattern,
  time: PatternTime,
  { behavior, invert }: Pick<Extract<SplitStep, { kind: 'pattern' }>, 'behavior' | 'invert'>,
): string[] {
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
  pattern.forEachMatch(text, time, (start, end) => {
    add(text.slice(done, start), false);
    add(text.slice(start, end), true);
    done = end;
  });
  add(text.slice(done), false);
  return pieces;
}
