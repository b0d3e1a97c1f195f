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

export const qwen2: Architecture = {
  id: 'qwen2',
  huggingFaceTypes: ['qwen2'],
  ggufArchitectures: ['qwen2'],

  fromHuggingFace(fields) {
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
      tiedHead: fields.boolean('tie_word_embeddings', false),
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
