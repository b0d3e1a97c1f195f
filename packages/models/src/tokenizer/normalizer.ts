/**
 * Normalization of text before it is split, one step after the other, as `tokenizer.json` lists them. Steps come with a
 * file, so that none may make a text grow without bound.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import { boundedPattern, PatternTime, type BoundedPattern } from './bounded-pattern.js';
import { SequenceNormalizer, type NormalizerConfig, type SplitPattern } from './library.js';

/** Length of a normalized text, in UTF-16 units: that of the longest text that is encoded. */
export const maxNormalizedLength = 2 ** 24;
/** Published tokenizers have at most five. */
const maxSteps = 64;

type Step = (text: string, time: PatternTime) => string;

export class Normalizer {
  readonly #steps: readonly Step[];

  /** @throws UnicornError `format/tokenizer` for too many steps; whatever a regular expression says that is not one */
  constructor(configs: readonly NormalizerConfig[]) {
    if (configs.length > maxSteps) {
      throw new UnicornError(
        'format/tokenizer',
        `The tokenizer has ${configs.length} normalizers; at most ${maxSteps} are read.`,
        { fields: { normalizers: configs.length, limit: maxSteps } },
      );
    }
    this.#steps = configs.map(compile);
  }

  /**
   * @throws UnicornError `resource/tokenizer` when the text becomes longer than {@link maxNormalizedLength}, or a pattern does
   * not finish in time
   */
  normalize(text: string): string {
    let normalized = text;
    const time = new PatternTime(text.length);
    for (const step of this.#steps) {
      normalized = step(normalized, time);
      checkLength(normalized.length, text.length);
    }
    return normalized;
  }
}

function compile(config: NormalizerConfig): Step {
  if (config.type !== 'Replace') {
    const library = new SequenceNormalizer({ type: 'Sequence', normalizers: [config] });
    return (text) => library.normalize(text);
  }
  const pattern = boundedPattern(config.pattern as SplitPattern);
  const content = config.content ?? '';
  return (text, time) => replaced(text, pattern, time, content);
}

/** Puts `content` as it stands in the place of each match; `$` means nothing in it. */
function replaced(text: string, pattern: BoundedPattern, time: PatternTime, content: string): string {
  const parts: string[] = [];
  let done = 0;
  let length = text.length;
  pattern.forEachMatch(text, time, (start, end) => {
    length += content.length - (end - start);
    // Before it is built: a short text can become longer than memory.
    checkLength(length, text.length);
    parts.push(text.slice(done, start), content);
    done = end;
  });
  return parts.length === 0 ? text : parts.join('') + text.slice(done);
}

function checkLength(length: number, before: number): void {
  if (length <= maxNormalizedLength) return;
  throw new UnicornError(
    'resource/tokenizer',
    `The tokenizer's normalizers make more than ${maxNormalizedLength} characters of ${before}.`,
    {
      fields: { length: before, limit: maxNormalizedLength },
      fix: 'Split the text into parts, or use a model from a source that you trust.',
    },
  );
}
