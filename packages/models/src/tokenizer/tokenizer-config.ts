/**
 * What `tokenizer_config.json` and `special_tokens_map.json` say together, read as transformers reads them: which names
 * stand for which tokens, and what is said of added tokens beyond `tokenizer.json`.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import type { AddedToken } from './added-tokens.js';
import { isEndSpelling } from './end-tokens.js';

type Json = Readonly<Record<string, unknown>>;

/** Names of tokens that every model may have; all others are a model's own. */
const commonNames: ReadonlySet<string> = new Set(
  ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask'].map((name) => `${name}_token`),
);

/**
 * The configuration with what the map adds. It goes before the configuration for the names that every model may have, and
 * counts for nothing where the configuration lists the added tokens, since then it is what older programs were given.
 */
export function mergedTokenizerConfig(config: Json, specialTokensMap: Json | undefined): Json {
  if (!specialTokensMap || 'added_tokens_decoder' in config) return config;
  const own = Object.entries(config).filter(
    ([key]) => (key.endsWith('_token') && !commonNames.has(key)) || !(key in specialTokensMap),
  );
  return { ...specialTokensMap, ...Object.fromEntries(own) };
}

/** Spellings of tokens by their names: `{eos_token: '</s>'}`. Names without a token are absent. */
export function namedTokens(config: Json): Record<string, string> {
  const named: Record<string, string> = {};
  const extra = config['extra_special_tokens'];
  const byName = isObject(extra) ? Object.entries(extra) : [];
  for (const [name, value] of [
    ...Object.entries(config).filter(([key]) => key.endsWith('_token')),
    ...byName,
  ]) {
    const content = spellingOf(value);
    if (content !== undefined) named[name] = content;
  }
  return named;
}

function spellingOf(value: unknown): string | undefined {
  const content = isObject(value) ? value['content'] : value;
  return typeof content === 'string' ? content : undefined;
}

/** The flags of an added token, in `tokenizer.json` or in the configuration. */
export function addedTokenFlags(token: Json): Omit<AddedToken, 'id' | 'content'> {
  const special = token['special'] === true;
  return {
    special,
    normalized: typeof token['normalized'] === 'boolean' ? token['normalized'] : !special,
    singleWord: token['single_word'] === true,
    lstrip: token['lstrip'] === true,
    rstrip: token['rstrip'] === true,
  };
}

export interface KnownTokens {
  /** Of `tokenizer.json`. */
  readonly added: readonly AddedToken[];
  /** The id of a spelling, added or not. */
  readonly idOf: (content: string) => number | undefined;
  readonly hasId: (id: number) => boolean;
}

/**
 * The added tokens of `tokenizer.json` as the configuration changes them: its flags count, its tokens are added, and what it
 * names is special, and what ends a turn in every model that has it. A token whose id another has is left out.
 *
 * @throws UnicornError `format/tokenizer` for an entry that is not a token
 */
export function configuredTokens(config: Json, { added, idOf, hasId }: KnownTokens): AddedToken[] {
  const byContent = new Map(added.map((token) => [token.content, token]));
  const decoder = config['added_tokens_decoder'];
  for (const [key, value] of isObject(decoder) ? Object.entries(decoder) : []) {
    const content = spellingOf(value);
    if (content === undefined || !isObject(value)) {
      throw new UnicornError(
        'format/tokenizer',
        `The tokenizer cannot be read: added_tokens_decoder has no token of the id ${key}.`,
        { fields: { id: key } },
      );
    }
    const id = byContent.get(content)?.id ?? idOf(content) ?? Number(key);
    const isTaken = !byContent.has(content) && idOf(content) === undefined && hasId(id);
    if (content !== '' && !isTaken) byContent.set(content, { id, content, ...addedTokenFlags(value) });
  }
  for (const content of Object.values(namedTokens(config))) {
    const known = byContent.get(content);
    const id = known?.id ?? idOf(content);
    if (id === undefined || content === '') continue;
    const plain = { normalized: false, singleWord: false, lstrip: false, rstrip: false };
    byContent.set(content, { ...plain, ...known, id, content, special: true });
  }
  return [...byContent.values()]
    .map((token) => (isEndSpelling(token.content) ? { ...token, special: true } : token))
    .sort((a, b) => a.id - b.id);
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
