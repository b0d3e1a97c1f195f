/** Llama 1 to 3.3, and what is built like it (SmolLM, TinyLlama, ...). Touvron et al. 2023, arXiv:2302.13971. */
import { readGgufDimensions, readGgufRopes } from '../config/gguf.js';
import { readActivation, readDimensions, readRopes } from '../config/hugging-face.js';
import type { Architecture } from './architecture.js';
import {
  allFull,
  denseLayers,
  denseModel,
  plainDecoder,
  readGgufWidths,
  readWidths,
  usualScale,
} from './dense.js';

/** The converter reorders the rows of query and key so that neighbours turn together. */
const gguf = { interleaved: true };

/** LlamaConfig's, for keys that a file leaves out. */
const classDefaults = {
  vocab_size: 32_000,
  intermediate_size: 11_008,
  max_position_embeddings: 2048,
  hidden_size: 4096,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  rms_norm_eps: 1e-6,
  hidden_act: 'silu',
  tie_word_embeddings: false,
};

export const llama: Architecture = {
  id: 'llama',
  huggingFaceTypes: ['llama'],
  ggufArchitectures: ['llama'],

  fromHuggingFace(given) {
    const fields = given.withDefaults(classDefaults);
    const dimensions = readDimensions(fields);
    const config = {
      ...plainDecoder,
      ...dimensions,
      layers: denseLayers(allFull(dimensions.layerCount), readWidths(fields, dimensions)),
      ropes: readRopes(fields, dimensions.headDim, { theta: 10_000 }),
      attentionScale: usualScale(dimensions.headDim),
      activation: readActivation(fields, 'hidden_act'),
      tiedHead: fields.boolean('tie_word_embeddings'),
    };
    return { ...denseModel(config, fields.file), gguf };
  },

  async fromGguf(source) {
    const dimensions = readGgufDimensions(source);
    const config = {
      ...plainDecoder,
      ...dimensions,
      layers: denseLayers(allFull(dimensions.layerCount), readGgufWidths(source.fields, dimensions)),
      ropes: await readGgufRopes(source, dimensions.headDim, 'interleaved'),
      attentionScale: usualScale(dimensions.headDim),
      activation: 'silu' as const,
      tiedHead: !source.has('output.weight'),
    };
    return { ...denseModel(config, source.weights.path), gguf };
  },
};
