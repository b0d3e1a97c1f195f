/** Gemma 3, text: five sliding layers to a full one, two rope thetas, norms on query and key. arXiv:2503.19786. */
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

const fullEvery = 6;
const theta = 1_000_000;
const slidingTheta = 10_000;
/** Layers of the 27B model, whose scores are scaled by another number than the head's. */
const layersOf27B = 62;

/** Gemma3TextConfig's, for keys that a file leaves out. */
const classDefaults = {
  vocab_size: 262_208,
  max_position_embeddings: 131_072,
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
  sliding_window_pattern: fullEvery,
};

const gguf: ModelDefinition['gguf'] = { kinds: everyNthFull(fullEvery) };

export const gemma3: Architecture = {
  id: 'gemma3',
  huggingFaceTypes: ['gemma3_text', 'gemma3'],
  ggufArchitectures: ['gemma3'],

  fromHuggingFace(file) {
    const fields = file.withDefaults(classDefaults);
    const dimensions = readDimensions(fields);
    const period = fields.integer('sliding_window_pattern', limits.layersRange);
    const config = {
      ...gemmaDecoder,
      ...dimensions,
      ...given('attentionSoftcap', fields.nullableNumber('attn_logit_softcapping', limits.softcapRange)),
      ...given('logitSoftcap', fields.nullableNumber('final_logit_softcapping', limits.softcapRange)),
      queryKeyNorm: true,
      layers: denseLayers(
        readLayerKinds(fields, dimensions.layerCount, everyNthFull(period)),
        readWidths(fields, dimensions),
      ),
      window: fields.integer('sliding_window', limits.contextRange),
      ropes: readRopes(fields, dimensions.headDim, { theta, slidingTheta }),
      embeddingScale: rootOf(dimensions.hidden),
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
      ...given('logitSoftcap', fields.number('final_logit_softcapping', limits.softcapRange, undefined)),
      queryKeyNorm: true,
      layers: denseLayers(kinds, readGgufWidths(fields, dimensions)),
      window: fields.integer('attention.sliding_window', limits.contextRange),
      ropes: await readGgufRopes(source, dimensions.headDim, 'half', slidingTheta),
      embeddingScale: rootOf(dimensions.hidden),
      attentionScale: gemmaScaleOfGguf(source, dimensions, layersOf27B),
      activation: 'geluTanh' as const,
      tiedHead: !source.has('output.weight'),
    };
    return { ...denseModel(config, source.weights.path), gguf };
  },
};
