/**
 * The inverse of `from-gguf.ts` for byte-level vocabularies: the metadata that lets a GGUF file carry the tokenizer of a
 * Hugging Face directory. Refuses what GGUF has no words for, so that what is read back is what was written.
 */
import type { MetadataEntry } from '@unicorn-exec/checkpoint';
import { UnicornError } from '@unicorn-exec/tensor';
import { readSplitting } from './from-json.js';
import { preTokenizers } from './splitting-patterns.js';

interface TokenizerJson {
  model: {
    type?: string;
    vocab: Record<string, number>;
    merges: (string | [string, string])[];
    ignore_merges?: boolean;
  };
  added_tokens?: {
    id: number;
    content: string;
    special: boolean;
    lstrip: boolean;
    rstrip: boolean;
    normalized: boolean;
  }[];
}

/**
 * The keys `tokenizer.*` for a tokenizer that `tokenizerFromJson` accepts.
 *
 * @returns in file order, as `checkpoint`'s GGUF writer takes them
 * @param tokenizerJson the parsed `tokenizer.json`
 * @param tokenizerConfigJson the parsed `tokenizer_config.json`: special tokens, `add_bos_token`, the chat template
 * @throws UnicornError `unsupported/tokenizer` when no `tokenizer.ggml.pre` splits text as this file does, or an id has no
 * token
 */
export function tokenizerToGguf(
  tokenizerJson: unknown,
  tokenizerConfigJson: unknown,
): Map<string, MetadataEntry> {
  const { model, added_tokens: added = [] } = tokenizerJson as TokenizerJson;
  const config = tokenizerConfigJson as Record<string, unknown>;
  const entries = new Map<string, MetadataEntry>();
  const text = (value: string) => ({ type: 'string', value }) as const;

  const tokens: string[] = [];
  for (const [piece, id] of Object.entries(model.vocab)) tokens[id] = piece;
  for (const { id, content } of added) tokens[id] = content;
  const hole = tokens.findIndex((token) => token === undefined);
  if (hole >= 0) throw unsupported(`id ${hole} has no token`);
  const odd = added.find((token) => token.lstrip || token.rstrip || (token.normalized && !token.special));
  if (odd !== undefined) throw unsupported(`the added token ${odd.content} changes the text around it`);
  const types = new Array<number>(tokens.length).fill(1);
  for (const { id, special } of added) types[id] = special ? 3 : 4;

  entries.set('tokenizer.ggml.model', text('gpt2'));
  entries.set('tokenizer.ggml.pre', text(preTokenizerName(tokenizerJson as Record<string, unknown>)));
  entries.set('tokenizer.ggml.tokens', { type: 'array', elementType: 'string', values: tokens });
  entries.set('tokenizer.ggml.token_type', { type: 'array', elementType: 'i32', values: types });
  entries.set('tokenizer.ggml.merges', {
    type: 'array',
    elementType: 'string',
    values: model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' '))),
  });
  for (const [name, key] of idKeys) {
    const value = config[name];
    const content =
      typeof value === 'string' ? value : (value as { content?: string } | null | undefined)?.content;
    const id = content === undefined ? -1 : tokens.indexOf(content);
    if (id >= 0) entries.set(`tokenizer.ggml.${key}`, { type: 'u32', value: id });
  }
  entries.set('tokenizer.ggml.add_bos_token', { type: 'bool', value: config['add_bos_token'] === true });
  if (typeof config['chat_template'] === 'string') {
    entries.set('tokenizer.chat_template', text(config['chat_template']));
  }
  return entries;
}

const idKeys = [
  ['bos_token', 'bos_token_id'],
  ['eos_token', 'eos_token_id'],
  ['unk_token', 'unknown_token_id'],
  ['pad_token', 'padding_token_id'],
] as const;

/** The first name in the table whose steps are exactly this file's. */
function preTokenizerName(tokenizerJson: Record<string, unknown>): string {
  const { normalizers, steps, byteLevel } = readSplitting(tokenizerJson);
  const ignoreMerges = (tokenizerJson['model'] as TokenizerJson['model']).ignore_merges === true;
  for (const [name, pre] of preTokenizers) {
    const sameNormalizer = normalizers.length === (pre.normalizer === undefined ? 0 : 1);
    const samePatterns =
      steps.length === pre.patterns.length &&
      steps.every(
        (step, i) =>
          step.kind === 'pattern' &&
          step.behavior === 'Isolated' &&
          !step.invert &&
          step.pattern.Regex === pre.patterns[i],
      );
    if (
      byteLevel &&
      samePatterns &&
      sameNormalizer &&
      normalizers.every(({ type }) => type === pre.normalizer) &&
      ignoreMerges === (pre.ignoreMerges ?? false)
    ) {
      return name;
    }
  }
  throw unsupported('no tokenizer.ggml.pre splits text as it does');
}

function unsupported(reason: string): UnicornError {
  return new UnicornError('unsupported/tokenizer', `GGUF cannot carry this tokenizer: ${reason}.`, {
    fields: { reason },
  });
}
