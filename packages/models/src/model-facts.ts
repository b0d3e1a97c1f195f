/** Facts that lie beside the weights: end-of-turn ids, sampling defaults, nested sizes. */
import { join } from 'node:path';
import type { Metadata, Weights } from '@unicorn-exec/checkpoint';
import type { ElasticSize } from '@unicorn-exec/tensor';
import { ConfigFields } from './config/config-fields.js';
import * as limits from './config/limits.js';
import { optionalJson } from './text-side.js';
import { endIds, isEndSpelling } from './tokenizer/end-tokens.js';

/** What a model's makers recommend. Absent fields are left to the user. */
export interface SamplingDefaults {
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly typicalP?: number;
  readonly repetitionPenalty?: number;
}

export interface TextFacts {
  readonly bosId: number | undefined;
  readonly endOfTurnIds: readonly number[];
  readonly samplingDefaults: SamplingDefaults;
  readonly presets: ReadonlyMap<string, ElasticSize>;
}

const unit: limits.Range = { min: 0, max: 1 };
const temperatureRange: limits.Range = { min: 0, max: 100 };
const penaltyRange: limits.Range = { min: 2 ** -126, max: 100 };

/** From `generation_config.json` and `matformer.json` beside a Hugging Face configuration. */
export async function huggingFaceFacts(
  directory: string,
  root: ConfigFields,
  text: ConfigFields,
): Promise<TextFacts> {
  const path = join(directory, 'generation_config.json');
  const generation = ConfigFields.fromJson(path, (await optionalJson(path)) ?? {});
  const sources = [generation, root, text];
  const ids = sources.flatMap((fields) => readIds(fields, 'eos_token_id'));
  return {
    bosId: sources.flatMap((fields) => readIds(fields, 'bos_token_id'))[0],
    endOfTurnIds: [...new Set(ids)],
    samplingDefaults: readGenerationDefaults(generation),
    presets: await readMatformer(directory),
  };
}

/** One id, or a list of them, or none. */
function readIds(fields: ConfigFields, key: string): number[] {
  if (!fields.has(key)) return [];
  const range = { min: 0, max: limits.vocabularyRange.max };
  if (!Array.isArray(fields.raw(key))) return [fields.integer(key, range)];
  return fields.integerPerLayer(key, fields.list(key).length, range);
}

function readGenerationDefaults(fields: ConfigFields): SamplingDefaults {
  if (fields.raw('do_sample') === false) return { temperature: 0 };
  return present({
    temperature: fields.number('temperature', temperatureRange, undefined),
    topK: fields.integer('top_k', { min: 0, max: limits.vocabularyRange.max }, undefined),
    topP: fields.number('top_p', unit, undefined),
    minP: fields.number('min_p', unit, undefined),
    typicalP: fields.number('typical_p', unit, undefined),
    repetitionPenalty: fields.number('repetition_penalty', penaltyRange, undefined),
  });
}

function present<T extends Record<string, number | undefined>>(values: T): { [K in keyof T]?: number } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: number;
  };
}

/** `matformer.json`: `{granularities: {half: {intermediate_size: [...], skip?: [...]}}}`. */
async function readMatformer(directory: string): Promise<ReadonlyMap<string, ElasticSize>> {
  const path = join(directory, 'matformer.json');
  const json = await optionalJson(path);
  const presets = new Map<string, ElasticSize>();
  if (!json) return presets;
  const granularities = ConfigFields.fromJson(path, json).object('granularities');
  for (const name of Object.keys((json['granularities'] as object | undefined) ?? {})) {
    const size = granularities!.object(name);
    if (!size) continue;
    presets.set(name, {
      feedForward: readIntegers(size, 'intermediate_size', limits.feedForwardRange),
      skip: size.has('skip') ? readIntegers(size, 'skip', layerIndexRange) : [],
    });
  }
  return presets;
}

const layerIndexRange: limits.Range = { min: 0, max: limits.layersRange.max - 1 };

function readIntegers(fields: ConfigFields, key: string, range: limits.Range): number[] {
  return fields.integerPerLayer(key, fields.list(key).length, range);
}

/**
 * Keys of nested sizes in a GGUF file. They are ours; no other program writes or needs them.
 * `unicorn.matformer.sizes` lists names; for each name there are the widths of the layers it keeps and, where it leaves
 * layers out, their numbers.
 */
export const matformerKeys = {
  names: 'unicorn.matformer.sizes',
  widths: (name: string) => `unicorn.matformer.${name}.feed_forward_length`,
  skip: (name: string) => `unicorn.matformer.${name}.skipped_layers`,
};

/** From the metadata of a GGUF file. */
export function ggufFacts(weights: Weights): TextFacts {
  const { metadata, path } = weights;
  const fields = new ConfigFields(path, (key) => {
    const value = metadata.get(key);
    return typeof value === 'object' ? value.values : value;
  });
  const tokens = metadata.get('tokenizer.ggml.tokens');
  const count = typeof tokens === 'object' ? tokens.length : Infinity;
  // The tokenizer tells of ids that do not exist.
  const id = (name: string): number | undefined => {
    const value = metadata.number(`tokenizer.ggml.${name}_token_id`, undefined);
    return value !== undefined && Number.isInteger(value) && value >= 0 && value < count ? value : undefined;
  };
  return {
    bosId: id('bos'),
    endOfTurnIds: endIds([id('eos'), id('eot'), id('eom')], controlTokens(metadata)),
    samplingDefaults: present({
      temperature: fields.number('general.sampling.temp', temperatureRange, undefined),
      topK: fields.integer('general.sampling.top_k', { min: 0, max: limits.vocabularyRange.max }, undefined),
      topP: fields.number('general.sampling.top_p', unit, undefined),
      minP: fields.number('general.sampling.min_p', unit, undefined),
      repetitionPenalty: fields.number('general.sampling.penalty_repeat', penaltyRange, undefined),
    }),
    presets: ggufPresets(fields),
  };
}

function ggufPresets(fields: ConfigFields): ReadonlyMap<string, ElasticSize> {
  const presets = new Map<string, ElasticSize>();
  if (!fields.has(matformerKeys.names)) return presets;
  for (const name of fields.strings(matformerKeys.names)) {
    const skip = matformerKeys.skip(name);
    presets.set(name, {
      feedForward: readIntegers(fields, matformerKeys.widths(name), limits.feedForwardRange),
      skip: fields.has(skip) ? readIntegers(fields, skip, layerIndexRange) : [],
    });
  }
  return presets;
}

/** `tokenizer.ggml.token_type` of control tokens. */
const controlType = 3;

type ControlToken = Parameters<typeof endIds>[1][number];

function controlTokens(metadata: Metadata): ControlToken[] {
  const types = metadata.numbers('tokenizer.ggml.token_type', undefined);
  const tokens = types ? metadata.strings('tokenizer.ggml.tokens', undefined) : undefined;
  return (tokens ?? []).flatMap((content, id) =>
    types![id] === controlType || isEndSpelling(content)
      ? [{ id, content, special: true, normalized: false, singleWord: false, lstrip: false, rstrip: false }]
      : [],
  );
}
