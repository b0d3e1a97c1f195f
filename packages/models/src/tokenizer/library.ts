/** What is used of @huggingface/tokenizers, with the types that its entry point does not name. */
import { SequenceNormalizer, SplitPreTokenizer } from '@huggingface/tokenizers';

export { SequenceNormalizer, SplitPreTokenizer };

export type NormalizerConfig = ConstructorParameters<typeof SequenceNormalizer>[0]['normalizers'][number];
export type SplitPattern = { Regex: string; String?: never } | { String: string; Regex?: never };
