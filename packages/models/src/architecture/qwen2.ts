/** Qwen2 and Qwen2.5: a plain decoder with biases on query, key and value. arXiv:2407.10671, arXiv:2412.15115. */
import { readGgufDimensions, readGgufRopes } from '../config/gguf.js';
import { readActivation, readDimensions, readRopes } from '../config/hugging-face.js';
import type { Architecture } from './architecture.js';
import {
  allFull,
  denseLayers,
  denseModel,
  plainDecoder,
  readGgufWidths,
  readQwenWindow,
  readWidths,
  usualScale,
} from './dense.js';

/** Qwen2Config's, for keys that a file leaves out. */
const classDefaults = {
  vocab_size: 151_936,
  intermediate_size: 22_016,
  max_position_embeddings: 32_768,
  num_key_value_heads: 32,
  hidden_size: 4096,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  rms_norm_eps: 1e-6,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  use_sliding_window: false,
  max_window_layers: 28,
};

export const qwen2: Architecture = {
  id: 'qwen2',
  huggingFaceTypes: ['qwen2'],
  ggufArchitectures: ['qwen2'],

  fromHuggingFace(given) {
    const fields = given.withDefaults(classDefaults);
    const dimensions = readDimensions(fields);
    const { kinds, window } = readQwenWindow(fields, dimensions.layerCount);
    const config = {
      ...plainDecoder,
      ...dimensions,
      ...window,
      layers: denseLayers(kinds, readWidths(fields, dimensions)),
      ropes: readRopes(fields, dimensions.headDim, { theta: 10_000 }),
      attentionScale: usualScale(dimensions.headDim),
      activation: readActivation(fields, 'hidden_act'),
      tiedHead: fields.boolean('tie_word_embeddings'),
    };
    return denseModel(config, fields.file);
  },

  async fromGguf(source) {
    const dimensions = readGgufDimensions(source);
    const config = {
      ...plainDecoder,
      ...dimensions,
      layers: denseLayers(allFull(dimensions.layerCount), readGgufWidths(source.fields, dimensions)),
      ropes: await readGgufRopes(source, dimensions.headDim, 'half'),
      attentionScale: usualScale(dimensions.headDim),
      activation: 'silu' as const,
      tiedHead: !source.has('output.weight'),
    };
    return denseModel(config, source.weights.path);
  },
};
