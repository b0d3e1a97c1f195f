/** Gemma 3n, text: configuration and weight names. The graph is in `gemma3n-graph.ts`. */
import type { MetadataEntry } from '@unicorn-exec/checkpoint';
import { GgufConfig, readGgufDimensions, readGgufLayerKinds, readGgufRopes } from '../config/gguf.js';
import {
  everyNthFull,
  readActivation,
  readDimensions,
  readLayerKinds,
  readRopes,
} from '../config/hugging-face.js';
import type { ConfigFields } from '../config/config-fields.js';
import * as limits from '../config/limits.js';
import { checkDecoderConfig, type AttentionKind, type LayerConfig } from '../decoder/decoder-config.js';
import {
  declareLayer,
  decoderLayerRows,
  rootWeights,
  type LayerRow,
  type WeightDeclaration,
} from '../decoder/decoder-weights.js';
import { normalQuantile } from '../normal-quantile.js';
import type { Architecture, ModelDefinition } from './architecture.js';
import { given, readGgufWidths, readWidths, rootOf } from './dense.js';
import { buildGemma3n, type Gemma3nConfig } from './gemma3n-graph.js';
import { publishedSizes } from './gemma3n-sizes.js';

/** AltUp streams: published models have 4, and a graph grows with their square. */
const streamsRange: limits.Range = { min: 2, max: 16 };
/** Published: 256. */
const perLayerRange: limits.Range = { min: 1, max: 2 ** 14 };
/** Published: 64. */
const laurelRange: limits.Range = { min: 1, max: 2 ** 14 };

/** What all published models have, whether or not their file says so. */
const constants = {
  normOffset: 0,
  attentionScale: 1,
  queryKeyNorm: true,
  valueNorm: true,
  postNorms: true,
} as const;
const theta = 1_000_000;
const slidingTheta = 10_000;
const logitSoftcap = 30;
const fullEvery = 5;

/** Gemma3nTextConfig's, for keys that a file leaves out. */
const classDefaults = {
  vocab_size: 262_400,
  hidden_size: 2048,
  intermediate_size: 16_384,
  num_hidden_layers: 35,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  head_dim: 256,
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-6,
  hidden_activation: 'gelu_pytorch_tanh',
  tie_word_embeddings: true,
  sliding_window: 512,
  final_logit_softcapping: logitSoftcap,
  num_kv_shared_layers: 15,
  laurel_rank: 64,
  hidden_size_per_layer_input: 256,
  vocab_size_per_layer_input: 262_144,
  altup_num_inputs: 4,
  altup_active_idx: 0,
  altup_correct_scale: true,
};

export const gemma3n: Architecture = {
  id: 'gemma3n',
  huggingFaceTypes: ['gemma3n_text', 'gemma3n'],
  ggufArchitectures: ['gemma3n'],

  fromHuggingFace(file) {
    const fields = file.withDefaults(classDefaults);
    const dimensions = readDimensions(fields);
    const { layerCount, hidden, headDim } = dimensions;
    const sharing = fields.integer('num_kv_shared_layers', { min: 0, max: layerCount - 1 });
    const kinds = readLayerKinds(fields, layerCount, everyNthFull(fullEvery));
    const streams = fields.integer('altup_num_inputs', streamsRange);
    return defineGemma3n(
      {
        ...constants,
        ...dimensions,
        layers: gemma3nLayers(
          kinds,
          readWidths(fields, dimensions),
          sharing,
          readSparsity(fields, layerCount),
          fields,
        ),
        window: fields.integer('sliding_window', limits.contextRange),
        ropes: readRopes(fields, headDim, { theta, slidingTheta }),
        embeddingScale: rootOf(hidden),
        ...given('logitSoftcap', fields.nullableNumber('final_logit_softcapping', limits.softcapRange)),
        activation: readActivation(fields, 'hidden_activation'),
        tiedHead: fields.boolean('tie_word_embeddings'),
        streams,
        activeStream: fields.integer('altup_active_idx', { min: 0, max: streams - 1 }),
        correctScale: fields.boolean('altup_correct_scale'),
        laurelRank: fields.integer('laurel_rank', laurelRange),
        perLayerFeatures: fields.integer('hidden_size_per_layer_input', perLayerRange),
        perLayerVocabulary: fields.integer('vocab_size_per_layer_input', limits.vocabularyRange),
      },
      fields.file,
    );
  },

  async fromGguf(source) {
    const { fields } = source;
    const dimensions = readGgufDimensions(source);
    const { layerCount, hidden, headDim } = dimensions;
    const sharing = fields.integer('attention.shared_kv_layers', { min: 0, max: layerCount - 1 });
    const kinds = readGgufLayerKinds(fields, layerCount, everyNthFull(fullEvery));
    const streams = fields.integer('altup.num_inputs', streamsRange);
    return defineGemma3n(
      {
        ...constants,
        ...dimensions,
        layers: gemma3nLayers(
          kinds,
          readGgufWidths(fields, dimensions),
          sharing,
          readGgufSparsity(source, layerCount),
          fields,
        ),
        window: fields.integer('attention.sliding_window', limits.contextRange),
        ropes: await readGgufRopes(source, headDim, 'half', slidingTheta),
        embeddingScale: rootOf(hidden),
        logitSoftcap: fields.number('final_logit_softcapping', limits.softcapRange, logitSoftcap),
        activation: 'geluTanh',
        tiedHead: !source.has('output.weight'),
        streams,
        activeStream: fields.integer('altup.active_idx', { min: 0, max: streams - 1 }, 0),
        correctScale: source.has('blk.0.altup_correct_scale.weight'),
        laurelRank: source.rows('blk.0.laurel_l.weight'),
        perLayerFeatures: fields.integer('embedding_length_per_layer_input', perLayerRange),
        perLayerVocabulary: source.rows('per_layer_token_embd.weight'),
      },
      source.weights.path,
    );
  },
};

function defineGemma3n(config: Gemma3nConfig, file: string): ModelDefinition {
  checkDecoderConfig(config, file);
  return {
    config,
    weights: gemma3nWeights(config),
    presets: publishedSizes(config),
    gguf: { fields: gemma3nFields(config) },
    build: (step) => buildGemma3n(step, config),
  };
}

/** Metadata that only this architecture has. */
function gemma3nFields(config: Gemma3nConfig): Record<string, MetadataEntry> {
  const { layers, streams, activeStream, perLayerFeatures } = config;
  const u32 = (value: number): MetadataEntry => ({ type: 'u32', value });
  return {
    'attention.sliding_window_pattern': {
      type: 'array',
      elementType: 'bool',
      values: layers.map(({ attention }) => attention === 'sliding'),
    },
    'attention.shared_kv_layers': u32(layers.filter(({ kvSource }) => kvSource !== undefined).length),
    'altup.num_inputs': u32(streams),
    'altup.active_idx': u32(activeStream),
    embedding_length_per_layer_input: u32(perLayerFeatures),
    activation_sparsity_scale: {
      type: 'array',
      elementType: 'f32',
      values: layers.map(({ sparsityDeviations }) => sparsityDeviations ?? -Infinity),
    },
  };
}

/** The last `sharing` layers read the keys and values of the last earlier layer of their kind that has its own. */
function gemma3nLayers(
  kinds: readonly AttentionKind[],
  widths: readonly number[],
  sharing: number,
  deviations: readonly (number | undefined)[],
  fields: ConfigFields,
): LayerConfig[] {
  const owners = kinds.slice(0, kinds.length - sharing);
  return kinds.map((attention, layer) => {
    const kvSource = layer < owners.length ? undefined : owners.lastIndexOf(attention);
    if (kvSource === -1)
      fields.fail('layer_types', `leaves layer ${layer} without an earlier layer to share with`);
    const sparsityDeviations = deviations[layer];
    return {
      attention,
      feedForward: widths[layer]!,
      ...(kvSource === undefined ? {} : { kvSource }),
      ...(sparsityDeviations === undefined ? {} : { sparsityDeviations }),
    };
  });
}

/** The share of the gate to drop, as the deviations above the mean of a normal distribution that cut it off. */
function readSparsity(fields: ConfigFields, layers: number): (number | undefined)[] {
  const key = 'activation_sparsity_pattern';
  const range = { min: 0, max: 1 - 2 ** -24 };
  const shares = !fields.has(key)
    ? classSparsity(layers)
    : Array.isArray(fields.raw(key))
      ? fields.numbers(key, layers, range)
      : new Array<number>(layers).fill(fields.number(key, range));
  // Rounded first: the quantile of a share that f32 takes for 0 is -Infinity, which makes every logit NaN.
  return shares.map(Math.fround).map((share) => (share > 0 ? Math.fround(normalQuantile(share)) : undefined));
}

/** What Gemma3nTextConfig assumes: all published models are sparse in their first ten layers. */
function classSparsity(layers: number): number[] {
  const sparse = layers > 10 ? 10 : 0;
  return Array.from({ length: layers }, (_, layer) => (layer < sparse ? 0.95 : 0));
}

/** GGUF has the deviations themselves, -Infinity where nothing is dropped. */
function readGgufSparsity({ fields }: GgufConfig, layers: number): (number | undefined)[] {
  const key = 'activation_sparsity_scale';
  if (!fields.has(key)) return [];
  return fields
    .numbers(key, layers, { min: -Infinity, max: 1e3 })
    .map((deviations) => (deviations === -Infinity ? undefined : deviations));
}

function gemma3nWeights(config: Gemma3nConfig): WeightDeclaration[] {
  const { hidden, streams, perLayerFeatures, perLayerVocabulary, layers } = config;
  const stacked = streams - 1;
  const projections = Array.from({ length: stacked }, (_, index): WeightDeclaration[] => [
    {
      name: `altUp.project.${index}`,
      shape: [hidden, hidden],
      huggingFace: `altup_projections.${index}.weight`,
      gguf: 'altup_proj.weight',
      ggufPart: { index, count: stacked },
    },
    {
      name: `altUp.unproject.${index}`,
      shape: [hidden, hidden],
      huggingFace: `altup_unembed_projections.${index}.weight`,
      gguf: 'altup_unembd_proj.weight',
      ggufPart: { index, count: stacked },
    },
  ]).flat();
  return [
    ...rootWeights(config),
    {
      name: 'perLayer.embed',
      shape: [perLayerVocabulary, layers.length * perLayerFeatures],
      huggingFace: 'embed_tokens_per_layer.weight',
      gguf: 'per_layer_token_embd.weight',
      residency: 'host',
    },
    {
      name: 'perLayer.project',
      shape: [layers.length * perLayerFeatures, hidden],
      huggingFace: 'per_layer_model_projection.weight',
      gguf: 'per_layer_model_proj.weight',
    },
    {
      name: 'perLayer.norm',
      shape: [perLayerFeatures],
      huggingFace: 'per_layer_projection_norm.weight',
      gguf: 'per_layer_proj_norm.weight',
    },
    ...projections,
    ...layers.flatMap((_, layer) =>
      declareLayer(layer, [...decoderLayerRows(config, layer), ...gemma3nLayerRows(config)]),
    ),
  ];
}

function gemma3nLayerRows(config: Gemma3nConfig): LayerRow[] {
  const { hidden, streams, laurelRank, perLayerFeatures, correctScale } = config;
  const rows: LayerRow[] = [
    ['altUp.routerNorm', [hidden], 'altup.router_norm.weight', 'altup_router_norm.weight'],
    ['altUp.router', [streams, hidden], 'altup.modality_router.weight', 'altup_router.weight'],
    ['altUp.predict', [streams ** 2, streams], 'altup.prediction_coefs.weight', 'altup_predict_coef.weight'],
    ['altUp.correct', [streams, streams], 'altup.correction_coefs.weight', 'altup_correct_coef.weight'],
    ['laurel.left', [laurelRank, hidden], 'laurel.linear_left.weight', 'laurel_l.weight'],
    ['laurel.right', [hidden, laurelRank], 'laurel.linear_right.weight', 'laurel_r.weight'],
    ['laurel.norm', [hidden], 'laurel.post_laurel_norm.weight', 'laurel_post_norm.weight'],
    ['perLayer.gate', [perLayerFeatures, hidden], 'per_layer_input_gate.weight', 'inp_gate.weight'],
    ['perLayer.project', [hidden, perLayerFeatures], 'per_layer_projection.weight', 'proj.weight'],
    ['perLayer.norm', [hidden], 'post_per_layer_input_norm.weight', 'post_norm.weight'],
  ];
  if (correctScale) {
    rows.push(['altUp.correctScale', [hidden], 'altup.correct_output_scale', 'altup_correct_scale.weight']);
  }
  return rows;
}
