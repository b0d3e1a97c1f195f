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

export const llama: Architecture = {
  id: 'llama',
  huggingFaceTypes: ['llama'],
  ggufArchitectures: ['llama'],

  fromHuggingFace(fields) {
    const dimensions = readDimensions(fields);
    const config = {
      ...plainDecoder,
      ...dimensions,
      layers: denseLayers(allFull(dimensions.layerCount), readWidths(fields, dimensions)),
      ropes: readRopes(fields, dimensions.headDim, { theta: 10_000 }),
      attentionScale: usualScale(dimensions.headDim),
      activation: readActivation(fields, 'hidden_act'),
      tiedHead: fields.boolean('tie_word_embeddings', false),
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
