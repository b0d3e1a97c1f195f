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
import type { Architecture } from './architecture.js';
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
/** Gemma3TextConfig's: published multimodal files name only what differs from these. */
const defaults = {
  vocabularySize: 262_208,
  contextLength: 131_072,
  heads: 8,
  kvHeads: 4,
  headDim: 256,
  normEpsilon: 1e-6,
};
/** Of 27B, whose scores are scaled by another number than the head's. */
const layersOf27B = 62;

export const gemma3: Architecture = {
  id: 'gemma3',
  huggingFaceTypes: ['gemma3_text', 'gemma3'],
  ggufArchitectures: ['gemma3'],

  fromHuggingFace(fields) {
    const dimensions = readDimensions(fields, defaults);
    const period = fields.integer('sliding_window_pattern', limits.layersRange, fullEvery);
    const config = {
      ...gemmaDecoder,
      ...dimensions,
      ...given('attentionSoftcap', fields.number('attn_logit_softcapping', limits.softcapRange, undefined)),
      ...given('logitSoftcap', fields.number('final_logit_softcapping', limits.softcapRange, undefined)),
      queryKeyNorm: true,
      layers: denseLayers(
        readLayerKinds(fields, dimensions.layerCount, everyNthFull(period)),
        readWidths(fields, dimensions),
      ),
      window: fields.integer('sliding_window', limits.contextRange),
      ropes: readRopes(fields, dimensions.headDim, { theta, slidingTheta }),
      embeddingScale: rootOf(dimensions.hidden),
      attentionScale: gemmaScale(fields),
      activation: readActivation(fields, 'hidden_activation', 'hidden_act'),
      tiedHead: fields.boolean('tie_word_embeddings', true),
    };
    return denseModel(config, fields.file);
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
    return denseModel(config, source.weights.path);
  },
};
