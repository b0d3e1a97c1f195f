/** Gemma 2: sandwich norms, softcaps on scores and logits, every other layer sliding. arXiv:2408.00118. */
import { readGgufDimensions, readGgufLayerKinds, readGgufRopes } from '../config/gguf.js';
import {
  everyNthFull,
  readActivation,
  readDimensions,
  readLayerKinds,
  readRopes,
} from '../config/hugging-face.js';
import * as limits from '../config/limits.js';
import type { Architecture, ModelDefinition } from './architecture.js';
import {
  denseLayers,
  denseModel,
  gemmaDecoder,
  gemmaScale,
  gemmaScaleOfGguf,
  given,
  readGgufWidths,
  readWidths,
  rootOf,
} from './dense.js';

const fullEvery = 2;
/** The softcaps of all published models. */
const scoreSoftcap = 50;
const logitSoftcap = 30;
/** Layers of the 27B model, whose scores are scaled by another number than the head's. */
const layersOf27B = 46;

/** Gemma2Config's, for keys that a file leaves out. */
const classDefaults = {
  vocab_size: 256_000,
  max_position_embeddings: 8192,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  rms_norm_eps: 1e-6,
  hidden_activation: 'gelu_pytorch_tanh',
  tie_word_embeddings: true,
  query_pre_attn_scalar: 256,
  sliding_window: 4096,
  attn_logit_softcapping: scoreSoftcap,
  final_logit_softcapping: logitSoftcap,
};

const gguf: ModelDefinition['gguf'] = { kinds: everyNthFull(fullEvery) };

export const gemma2: Architecture = {
  id: 'gemma2',
  huggingFaceTypes: ['gemma2'],
  ggufArchitectures: ['gemma2'],

  fromHuggingFace(file) {
    const fields = file.withDefaults(classDefaults);
    const dimensions = readDimensions(fields);
    const { layerCount, hidden, headDim } = dimensions;
    const kinds = readLayerKinds(fields, layerCount, everyNthFull(fullEvery));
    const config = {
      ...gemmaDecoder,
      ...dimensions,
      ...given('attentionSoftcap', fields.nullableNumber('attn_logit_softcapping', limits.softcapRange)),
      ...given('logitSoftcap', fields.nullableNumber('final_logit_softcapping', limits.softcapRange)),
      layers: denseLayers(kinds, readWidths(fields, dimensions)),
      window: fields.integer('sliding_window', limits.contextRange),
      ropes: readRopes(fields, headDim, { theta: 10_000 }),
      embeddingScale: rootOf(hidden),
      attentionScale: gemmaScale(fields),
      activation: readActivation(fields, 'hidden_activation'),
      tiedHead: fields.boolean('tie_word_embeddings'),
    };
    return { ...denseModel(config, fields.file), gguf };
  },

  async fromGguf(source) {
    const { fields } = source;
    const dimensions = readGgufDimensions(source);
    const kinds = readGgufLayerKinds(fields, dimensions.layerCount, everyNthFull(fullEvery));
    const config = {
      ...gemmaDecoder,
      // The converter has added the 1 to the weights.
      normOffset: 0,
      ...dimensions,
      attentionSoftcap: fields.number('attn_logit_softcapping', limits.softcapRange, scoreSoftcap),
      logitSoftcap: fields.number('final_logit_softcapping', limits.softcapRange, logitSoftcap),
      layers: denseLayers(kinds, readGgufWidths(fields, dimensions)),
      window: fields.integer('attention.sliding_window', limits.contextRange),
      ropes: await readGgufRopes(source, dimensions.headDim, 'half'),
      embeddingScale: rootOf(dimensions.hidden),
      attentionScale: gemmaScaleOfGguf(source, dimensions, layersOf27B),
      activation: 'geluTanh' as const,
      tiedHead: !source.has('output.weight'),
    };
    return { ...denseModel(config, source.weights.path), gguf };
  },
};
