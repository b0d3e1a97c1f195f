/**
 * Reads a Hugging Face `tokenizer.json` (and `tokenizer_config.json` beside it): byte-pair encoding, byte-level or
 * SentencePiece-style. What it does not know is refused by name, since a step left out would give wrong ids silently.
 *
 * Checked by hand and not with zod, which takes longer to load (55 ms) than the whole tokenizer.
 */
import { UnicornError, parseJson } from '@unicorn-exec/tensor';
import type { AddedToken } from './added-tokens.js';
import { BpeTokenizer } from './bpe-tokenizer.js';
import { endIds } from './end-tokens.js';
import { jsonTables, type JsonTables } from './json-tables.js';
import type { NormalizerConfig, SplitPattern } from './library.js';
import { MergeList, type MergeEntry } from './merge-list.js';
import { RankedMerges } from './merge-rules.js';
import { patterns } from './splitting-patterns.js';
import type { SplitBehavior, Splitting, SplitStep } from './text-splitter.js';
import type { TokenSpelling } from './token-text.js';
import { addedTokenFlags, configuredTokens, namedTokens } from './tokenizer-config.js';
import type { Tokenizer } from './tokenizer.js';
import { Vocabulary } from './vocabulary.js';

type Json = Record<string, unknown>;

/**
 * @param tokenizerJson `tokenizer.json` as it is on disk (much the fastest for a large vocabulary), its text, or its
 * parsed value
 * @param tokenizerConfigJson the text of `tokenizer_config.json`, or its parsed value; names special tokens, and may know
 * more of the added ones
 * @throws UnicornError `format/tokenizer` for what is broken, `unsupported/tokenizer` for a part that is not known
 */
export function tokenizerFromJson(tokenizerJson: unknown, tokenizerConfigJson?: unknown): Tokenizer {
  const { root, vocabulary, merges } =
    (tokenizerJson instanceof Uint8Array ? jsonTables(tokenizerJson) : undefined) ??
    parsedTables(tokenizerJson);
  const config =
    tokenizerConfigJson === undefined ? {} : parsed(tokenizerConfigJson, 'tokenizer_config.json');
  const model = checkedModel(root);
  const own = array(root['added_tokens'] ?? [], 'added_tokens').map(addedToken);
  for (const { id, content } of own) vocabulary.setAdded(id, content);
  const added = configuredTokens(config, {
    added: own,
    idOf: (content) => vocabulary.idOf(content),
    hasId: (id) => vocabulary.has(id),
  });
  for (const { id, content } of added) {
    if (vocabulary.idOf(content) !== id || !own.some((token) => token.content === content))
      vocabulary.setAdded(id, content);
  }

  const splitting = readSplitting(root);
  const spelling = readSpelling(root['decoder'], model['byte_fallback'] === true);
  if ((spelling.kind === 'byteLevel') !== splitting.byteLevel) {
    throw unsupported('combination', `${splitting.byteLevel ? 'a ByteLevel' : 'no ByteLevel'} pre-tokenizer`);
  }
  const names = namedTokens(config);
  const named = (key: string): number | undefined =>
    names[key] === undefined ? undefined : vocabulary.idOf(names[key]);
  const firstId = firstTemplateToken(root['post_processor'], vocabulary);
  const bosId = named('bos_token') ?? firstId;
  const unknown = model['unk_token'];
  return new BpeTokenizer({
    vocabulary,
    added,
    merges: new RankedMerges(merges),
    splitting,
    spelling,
    ignoreMerges: model['ignore_merges'] === true,
    unknownId: typeof unknown === 'string' ? vocabulary.idOf(unknown) : undefined,
    fuseUnknown: model['fuse_unk'] === true,
    bosId,
    eosIds: endIds([named('eos_token')], added),
    addBos:
      bosId !== undefined &&
      (typeof config['add_bos_token'] === 'boolean' ? config['add_bos_token'] : firstId === bosId),
  });
}

/** The slow twin of {@link jsonTables}: for values, text, and files that look unusual or are broken. */
function parsedTables(tokenizerJson: unknown): JsonTables {
  const root = parsed(tokenizerJson, 'tokenizer.json');
  const model = checkedModel(root);
  const vocabulary = new Vocabulary();
  const vocab = object(model['vocab'], 'model.vocab');
  for (const piece of Object.keys(vocab)) vocabulary.set(number(vocab[piece], `id of ${piece}`), piece);
  const merges = MergeList.of(array(model['merges'], 'model.merges') as MergeEntry[], vocabulary);
  return { root, vocabulary, merges };
}

function checkedModel(root: Json): Json {
  const model = object(root['model'], 'model');
  // Files from before the key existed have no type; only byte-pair encoding has merges.
  if (model['type'] !== 'BPE' && !(model['type'] === undefined && 'merges' in model)) {
    throw unsupported('model', model['type']);
  }
  for (const key of ['continuing_subword_prefix', 'end_of_word_suffix'] as const) {
    if ((model[key] ?? '') !== '') throw unsupported(`model with ${key}`, model[key]);
  }
  return model;
}

/** Normalizers and splitting steps, as one canonical list; `byteLevel` tells whether a ByteLevel step ends it. */
export function readSplitting(root: Json): Splitting & { byteLevel: boolean } {
  const normalizers = flatten(root['normalizer'], 'normalizers').map(normalizer);
  const steps: SplitStep[] = [];
  let byteLevel = false;
  const preTokenizers = flatten(root['pre_tokenizer'], 'pretokenizers');
  if (preTokenizers.length > maxSplitSteps) {
    throw broken(`it has ${preTokenizers.length} splitting steps, and at most ${maxSplitSteps} are read`);
  }
  for (const step of preTokenizers) {
    if (byteLevel) throw unsupported('step after ByteLevel', step['type']);
    switch (step['type']) {
      case 'Split':
        steps.push({
          kind: 'pattern',
          pattern: splitPattern(step['pattern']),
          behavior: behavior(step['behavior']),
          invert: step['invert'] === true,
        });
        break;
      case 'Digits':
        // The library's own step knows ASCII digits only; the reference means every number of Unicode.
        steps.push(isolate(step['individual_digits'] === true ? patterns.digit : patterns.digits));
        break;
      case 'Metaspace':
        steps.push({
          kind: 'metaspace',
          mark: oneCharacter(step['replacement'] ?? spaceMark, 'replacement'),
          prepend: prependScheme(step),
          split: step['split'] !== false,
        });
        break;
      case 'ByteLevel':
        // The library's pattern takes JavaScript's idea of white space; ours goes through its translation.
        if (step['add_prefix_space'] === true) steps.push({ kind: 'prefixSpace' });
        if (step['use_regex'] !== false) steps.push(isolate(patterns.gpt2));
        byteLevel = true;
        break;
      default:
        throw unsupported('pre-tokenizer', step['type']);
    }
  }
  return { normalizers, steps, byteLevel };
}

/** With the parts that it has checked. */
function normalizer(step: Json): NormalizerConfig {
  const { type } = step;
  if (!knownNormalizers.has(type as string)) throw unsupported('normalizer', type);
  if (type === 'Replace') {
    const pattern = splitPattern(step['pattern']);
    return { type, pattern, content: optionalString(step['content'], 'content of a normalizer') ?? '' };
  }
  if (type === 'Prepend') {
    return { type, prepend: optionalString(step['prepend'], 'prepend of a normalizer') ?? '' };
  }
  return step as unknown as NormalizerConfig;
}

const knownNormalizers = new Set('NFC NFD NFKC NFKD Lowercase Prepend Replace Strip StripAccents'.split(' '));
const spaceMark = '\u2581';
/** Published tokenizers have at most five. */
const maxSplitSteps = 64;

function isolate(regex: string): SplitStep {
  return { kind: 'pattern', pattern: { Regex: regex }, behavior: 'Isolated', invert: false };
}

function prependScheme(step: Json): 'always' | 'first' | 'never' {
  const scheme = step['prepend_scheme'] ?? (step['add_prefix_space'] === false ? 'never' : 'always');
  if (scheme !== 'always' && scheme !== 'first' && scheme !== 'never')
    throw unsupported('prepend_scheme', scheme);
  return scheme;
}

function behavior(value: unknown): SplitBehavior {
  switch (value) {
    case 'Removed':
    case 'Isolated':
    case 'MergedWithPrevious':
    case 'MergedWithNext':
    case 'Contiguous':
      return value;
    default:
      throw unsupported('split behavior', value);
  }
}

function splitPattern(value: unknown): SplitPattern {
  const pattern = object(value, 'pattern');
  if (typeof pattern['Regex'] === 'string') return { Regex: pattern['Regex'] };
  if (typeof pattern['String'] === 'string') return { String: pattern['String'] };
  throw broken('a splitting pattern is neither Regex nor String');
}

/** The decoder, which must be one whose effect can be told token by token. */
function readSpelling(decoder: unknown, byteFallback: boolean): TokenSpelling {
  const steps = flatten(decoder, 'decoders');
  if (steps.some((step) => step['type'] === 'ByteLevel')) {
    const other = steps.find((step) => step['type'] !== 'ByteLevel');
    if (other !== undefined) throw unsupported('decoder beside ByteLevel', other['type']);
    return { kind: 'byteLevel' };
  }
  const spelling = {
    kind: 'text' as const,
    spaceMark: undefined as string | undefined,
    byteTokens: false,
    stripsFirstSpace: false,
  };
  for (const step of steps) {
    switch (step['type']) {
      case 'Replace': {
        const mark = splitPattern(step['pattern']).String;
        if (mark === undefined || mark === '' || step['content'] !== ' ')
          throw unsupported('decoder', 'Replace');
        spelling.spaceMark = mark;
        break;
      }
      case 'ByteFallback':
        spelling.byteTokens = true;
        break;
      case 'Fuse':
        break;
      case 'Strip':
        if (step['content'] !== ' ' || step['start'] !== 1 || (step['stop'] ?? 0) !== 0)
          throw unsupported('decoder', 'Strip');
        spelling.stripsFirstSpace = true;
        break;
      case 'Metaspace':
        spelling.spaceMark = oneCharacter(step['replacement'] ?? spaceMark, 'replacement');
        spelling.stripsFirstSpace = prependScheme(step) !== 'never';
        break;
      default:
        throw unsupported('decoder', step['type']);
    }
  }
  if (spelling.spaceMark === undefined)
    throw unsupported('decoder', decoder === null ? 'null' : 'without a space mark');
  if (byteFallback && !spelling.byteTokens)
    throw unsupported('decoder', 'without ByteFallback beside byte_fallback');
  return spelling;
}

/** The token that the post-processor puts before a single text, if any. */
function firstTemplateToken(postProcessor: unknown, vocabulary: Vocabulary): number | undefined {
  for (const step of flatten(postProcessor, 'processors')) {
    if (step['type'] !== 'TemplateProcessing' || !Array.isArray(step['single'])) continue;
    const first = (step['single'][0] as { SpecialToken?: { id?: unknown } } | undefined)?.SpecialToken?.id;
    if (typeof first === 'string') return vocabulary.idOf(first);
  }
  return undefined;
}

function addedToken(value: unknown, i: number): AddedToken {
  const token = object(value, `added_tokens[${i}]`);
  return {
    id: number(token['id'], `added_tokens[${i}].id`),
    content: optionalString(token['content'], `added_tokens[${i}].content`) ?? '',
    ...addedTokenFlags(token),
  };
}

/** A step, or the steps of a `Sequence` under `key`, or nothing: always a flat list. */
function flatten(value: unknown, key: string): Json[] {
  if (value === null || value === undefined) return [];
  const steps: Json[] = [];
  // Sequences nest, and a file can nest them without end: no recursion.
  const pending: unknown[] = [value];
  while (pending.length > 0) {
    const step = object(pending.pop(), key);
    if (step['type'] === 'Sequence') pending.push(...[...array(step[key], key)].reverse());
    else steps.push(step);
  }
  return steps;
}

function parsed(value: unknown, name: string): Json {
  const text = value instanceof Uint8Array ? Buffer.from(value).toString('utf8') : value;
  if (typeof text !== 'string') return object(text, name);
  try {
    return object(parseJson(text), name);
  } catch (error) {
    if (error instanceof UnicornError) throw error;
    throw new UnicornError('format/tokenizer', `${name} is not JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function object(value: unknown, name: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  throw broken(`${name} is not an object`);
}

function array(value: unknown, name: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw broken(`${name} is not an array`);
}

function number(value: unknown, name: string): number {
  if (typeof value === 'number') return value;
  throw broken(`${name} is not a number`);
}

/** As the Hugging Face library wants it. */
function oneCharacter(value: unknown, name: string): string {
  if (typeof value === 'string' && value.length <= 2 && [...value].length === 1) return value;
  throw broken(`${name} is not one character`);
}

function optionalString(value: unknown, name: string): string | undefined {
  if (value === undefined || typeof value === 'string') return value;
  throw broken(`${name} is not a string`);
}

function broken(what: string): UnicornError {
  return new UnicornError('format/tokenizer', `The tokenizer cannot be read: ${what}.`);
}

function unsupported(part: string, value: unknown): UnicornError {
  const name = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing');
  return new UnicornError('unsupported/tokenizer', `The tokenizer's ${part} is not supported: ${name}.`, {
    fields: { part, value: name },
    fix: 'Supported are byte-pair encodings, byte-level or with SentencePiece spelling.',
  });
}
