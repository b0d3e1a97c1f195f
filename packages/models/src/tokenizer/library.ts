/** What is used of @huggingface/tokenizers, with the types that its entry point does not name. */
import { SequenceNormalizer, SplitPreTokenizer } from '@huggingface/tokenizers';

export { SequenceNormalizer };

export type NormalizerConfig = ConstructorParameters<typeof SequenceNormalizer>[0]['normalizers'][number];
export type SplitPattern = { Regex: string; String?: never } | { String: string; Regex?: never };

/**
 * Oniguruma's pattern, or a plain string, as a global regular expression.
 *
 * @throws SyntaxError where it is not one
 */
export function compilePattern(pattern: SplitPattern): RegExp {
  const step = new SplitPreTokenizer({ type: 'Split', pattern, behavior: 'Isolated', invert: true });
  if (step.pattern === null) throw new SyntaxError('a step has no pattern');
  return step.pattern;
}
