/** Qwen3, dense: a plain decoder with a norm on each head's query and key. arXiv:2505.09388. */
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

/** Qwen3Config's, for files that leave it out. */
const headDim = 128;

export const qwen3: Architecture = {
  id: 'qwen3',
  huggingFaceTypes: ['qwen3'],
  ggufArchitectures: ['qwen3'],

  fromHuggingFace(fields) {
    const dimensions = readDimensions(fields, { headDim });
    const { kinds, window } = readQwenWindow(fields, dimensions.layerCount);
    const config = {
      ...plainDecoder,
      ...dimensions,
      ...window,
      queryKeyNorm: true,
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
      queryKeyNorm: true,
      layers: denseLayers(allFull(dimensions.layerCount), readGgufWidths(source.fields, dimensions)),
      ropes: await readGgufRopes(source, dimensions.headDim, 'half'),
      attentionScale: usualScale(dimensions.headDim),
      activation: 'silu' as const,
      tiedHead: !source.has('output.weight'),
    };
    return denseModel(config, source.weights.path);
  },
};
