/**
 * Reads the tokenizer that a GGUF file carries (`tokenizer.ggml.*`): `gpt2` (byte-level, ranked merges, the splitting
 * pattern known by its name) and `llama` (SentencePiece: scores, `<0xAB>` byte tokens, U+2581 for the space).
 */
import { UnicornError } from '@unicorn-exec/tensor';
import type { AddedToken } from './added-tokens.js';
import { BpeTokenizer, type TokenizerDefinition } from './bpe-tokenizer.js';
import { endIds, isEndSpelling } from './end-tokens.js';
import { FlatStrings } from './flat-strings.js';
import { MergeList, separatorIn } from './merge-list.js';
import { RankedMerges, ScoredMerges } from './merge-rules.js';
import { preTokenizers } from './splitting-patterns.js';
import type { Tokenizer } from './tokenizer.js';
import { Vocabulary } from './vocabulary.js';

/** What is needed of a GGUF file's metadata; `checkpoint`'s reader satisfies it. A getter throws where the type is another. */
export interface GgufTokenizerMetadata {
  has(key: string): boolean;
  string(key: string): string;
  number(key: string): number;
  boolean(key: string): boolean;
  strings(key: string): readonly string[];
  /** The same as they are in the file; where it is there, `strings` is not called unless something is wrong. */
  packedStrings?(key: string): { readonly count: number; readonly bytes: Uint8Array };
  numbers(key: string): ArrayLike<number>;
}

/** `tokenizer.ggml.token_type`, as GGUF numbers it. */
const tokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;
const mark = '\u2581';

/** @throws UnicornError `format/tokenizer` for what is broken, `unsupported/tokenizer` for a model or `pre` not known */
export function tokenizerFromGguf(metadata: GgufTokenizerMetadata): Tokenizer {
  const key = (name: string) => `tokenizer.ggml.${name}`;
  const optional = <T>(name: string, get: (key: string) => T): T | undefined =>
    metadata.has(key(name)) ? get(key(name)) : undefined;
  const flag = (name: string) => optional(name, (k) => metadata.boolean(k));

  const model = optional('model', (k) => metadata.string(k));
  if (model === undefined) throw broken('the file has no tokenizer.ggml.model');
  if (model !== 'gpt2' && model !== 'llama') throw unsupported('model', model, 'gpt2, llama');
  const flat = (k: string): FlatStrings =>
    (metadata.packedStrings && FlatStrings.unpacked(metadata.packedStrings(k))) ??
    FlatStrings.of(metadata.strings(k));
  const tokens = optional('tokens', flat);
  if (tokens === undefined || tokens.length === 0) throw broken('tokenizer.ggml.tokens is empty or missing');
  const perToken = (name: string): ArrayLike<number> | undefined => {
    const values = optional(name, (k) => metadata.numbers(k));
    if (values !== undefined && values.length !== tokens.length) {
      throw broken(`tokenizer.ggml.${name} has ${values.length} entries for ${tokens.length} tokens`);
    }
    return values;
  };
  const warnings: string[] = [];
  const types = correctedTypes(perToken('token_type'), tokens, warnings);
  const typeOf = (id: number): number => types?.[id] ?? tokenType.normal;
  const vocabulary = new Vocabulary({ ids: tokens.length, textBytes: tokens.text.length });
  for (let id = 0; id < tokens.length; id++) {
    if (isSpecial(typeOf(id))) vocabulary.setAdded(id, tokens.at(id));
    else vocabulary.setBytes(id, tokens.text, tokens.start(id), tokens.end(id));
  }
  const idAt = (name: string): number | undefined => {
    const id = optional(name, (k) => metadata.number(k));
    if (id === undefined) return undefined;
    if (Number.isInteger(id) && id >= 0 && id < tokens.length) return id;
    warnings.push(`${key(name)} is ${id}, but there are ${tokens.length} tokens: it is not used.`);
    return undefined;
  };

  const added = addedTokens(tokens, typeOf);
  const bosId = idAt('bos_token_id');
  const shared = {
    vocabulary,
    added,
    padding: paddingOf(tokens, typeOf),
    bosId,
    eosIds: endIds([idAt('eos_token_id'), idAt('eot_token_id'), idAt('eom_token_id')], added),
    warnings,
  };
  const addBos = (byDefault: boolean) => bosId !== undefined && (flag('add_bos_token') ?? byDefault);

  if (model === 'llama') {
    const scores = perToken('scores');
    if (scores === undefined) throw broken('tokenizer.ggml.scores is missing');
    const addSpacePrefix = flag('add_space_prefix') ?? true;
    const byteTokens = types === undefined || Array.prototype.includes.call(types, tokenType.byte);
    return new BpeTokenizer({
      ...shared,
      merges: new ScoredMerges(scores, vocabulary, (id) => mergeable(typeOf(id))),
      splitting: {
        normalizers: [
          ...(addSpacePrefix ? [{ type: 'Prepend' as const, prepend: mark }] : []),
          { type: 'Replace' as const, pattern: { String: ' ' }, content: mark },
        ],
        steps: [],
      },
      spelling: { kind: 'text', spaceMark: mark, byteTokens, stripsFirstSpace: addSpacePrefix },
      ignoreMerges: false,
      unknownId: idAt('unknown_token_id'),
      fuseUnknown: true,
      addBos: addBos(true),
    });
  }

  const given = optional('pre', (k) => metadata.string(k));
  if (given === undefined) {
    warnings.push(
      `${key('pre')} is absent: text is split as GPT-2 splits it, which may not be how the model was trained.`,
    );
  }
  const name = given ?? 'default';
  const pre = preTokenizers.get(name);
  if (pre === undefined) throw unsupported('pre', name, [...preTokenizers.keys()].join(', '));
  const merges = optional('merges', flat);
  if (merges === undefined) throw broken('tokenizer.ggml.merges is missing');
  const definition: TokenizerDefinition = {
    ...shared,
    merges: new RankedMerges(mergeList(merges, vocabulary)),
    splitting: {
      normalizers: pre.normalizer === undefined ? [] : [{ type: pre.normalizer }],
      steps: [
        ...(flag('add_space_prefix') === true ? [{ kind: 'prefixSpace' as const }] : []),
        ...pre.patterns.map((regex) => ({
          kind: 'pattern' as const,
          pattern: { Regex: regex },
          behavior: 'Isolated' as const,
          invert: false,
        })),
      ],
    },
    spelling: { kind: 'byteLevel' },
    ignoreMerges: pre.ignoreMerges ?? false,
    // `unknown_token_id` is often set to any token at all here; a byte-level vocabulary drops what it cannot spell.
    unknownId: undefined,
    fuseUnknown: false,
    addBos: addBos(pre.addBos ?? false),
  };
  return new BpeTokenizer(definition);
}

/** The file's types, but that tokens which end a turn or a text are control tokens whatever the file calls them. */
function correctedTypes(
  types: ArrayLike<number> | undefined,
  tokens: FlatStrings,
  warnings: string[],
): ArrayLike<number> | undefined {
  if (types === undefined) return undefined;
  const corrected = Int32Array.from(types);
  const { text } = tokens;
  for (let id = 0; id < corrected.length; id++) {
    if (isSpecial(corrected[id]!) || text[tokens.start(id)] !== firstOfEnds) continue;
    if (tokens.end(id) - tokens.start(id) > longestEnd || !isEndSpelling(tokens.at(id))) continue;
    corrected[id] = tokenType.control;
    warnings.push(
      `Token ${id}, ${tokens.at(id)}, is not a control token in the file: it is taken for one, and ends answers.`,
    );
  }
  return corrected;
}

/** All spellings of ends begin so, and have no more bytes: most of a vocabulary need not be looked at. */
const firstOfEnds = '<'.charCodeAt(0);
const longestEnd = 32;

/** What converters spell where a head has more rows than the vocabulary has tokens: unused, `[PAD<id>]`. */
function paddingOf(tokens: FlatStrings, typeOf: (id: number) => number): ReadonlySet<number> {
  const padding = new Set<number>();
  for (let id = 0; id < tokens.length; id++) {
    if (typeOf(id) === tokenType.unused && tokens.at(id) === `[PAD${id}]`) padding.add(id);
  }
  return padding;
}

/** @throws UnicornError `format/tokenizer` */
function mergeList(entries: FlatStrings, vocabulary: Vocabulary): MergeList {
  const list = new MergeList(vocabulary, entries.length);
  const { text } = entries;
  for (let i = 0; i < entries.length; i++) {
    const [start, end] = [entries.start(i), entries.end(i)];
    const space = separatorIn(text, start, end);
    const added = space < end && list.addBytes(text, start, space, text, space + 1, end);
    if (!added) list.add(entries.at(i)); // says what is wrong
  }
  return list;
}

/** Control and unknown tokens are special; user-defined ones are found in any text but belong to it. */
function addedTokens(tokens: FlatStrings, typeOf: (id: number) => number): AddedToken[] {
  const added: AddedToken[] = [];
  for (let id = 0; id < tokens.length; id++) {
    const type = typeOf(id);
    if (!isSpecial(type) && type !== tokenType.userDefined) continue;
    added.push({
      id,
      content: tokens.at(id),
      special: isSpecial(type),
      normalized: false,
      singleWord: false,
      lstrip: false,
      rstrip: false,
    });
  }
  return added;
}

function isSpecial(type: number): boolean {
  return type === tokenType.control || type === tokenType.unknown;
}

/** Byte tokens stand for bytes, unused ones for nothing, whatever their spelling. */
function mergeable(type: number): boolean {
  return type === tokenType.normal || type === tokenType.userDefined;
}

function broken(what: string): UnicornError {
  return new UnicornError('format/tokenizer', `The tokenizer in the GGUF file cannot be read: ${what}.`);
}

function unsupported(keyName: string, value: string, known: string): UnicornError {
  return new UnicornError(
    'unsupported/tokenizer',
    `tokenizer.ggml.${keyName} is not supported: ${JSON.stringify(value)}.`,
    {
      fields: { key: `tokenizer.ggml.${keyName}`, value },
      fix: `Supported: ${known}.`,
    },
  );
}
