/**
 * SmolLM3: a plain decoder in which every fourth layer has no rope (Yang et al. 2025, arXiv:2501.18795).
 * https://huggingface.co/blog/smollm3
 */
import type { ConfigFields } from '../config/config-fields.js';
import { readGgufDimensions, readGgufRopes } from '../config/gguf.js';
import { readActivation, readDimensions, readLayerKinds, readRopes } from '../config/hugging-face.js';
import * as limits from '../config/limits.js';
import type { LayerConfig } from '../decoder/decoder-config.js';
import type { Architecture } from './architecture.js';
import {
  allFull,
  denseLayers,
  denseModel,
  given,
  plainDecoder,
  readGgufWidths,
  readWidths,
  usualScale,
} from './dense.js';

/** llama.cpp knows no other interval, and GGUF has no key for it. */
const usualInterval = 4;

/** SmolLM3Config's, for keys that a file leaves out. */
const classDefaults = {
  vocab_size: 128_256,
  hidden_size: 2048,
  intermediate_size: 11_008,
  num_hidden_layers: 36,
  num_attention_heads: 16,
  num_key_value_heads: 4,
  hidden_act: 'silu',
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-6,
  use_sliding_window: false,
  no_rope_layer_interval: usualInterval,
  tie_word_embeddings: true,
};

export const smollm3: Architecture = {
  id: 'smollm3',
  huggingFaceTypes: ['smollm3'],
  ggufArchitectures: ['smollm3'],
  switches: ['no_rope_layers', 'no_rope_layer_interval'],

  fromHuggingFace(file) {
    const fields = file.withDefaults(classDefaults);
    const dimensions = readDimensions(fields);
    const { layerCount, headDim } = dimensions;
    const turns = readTurns(fields, layerCount);
    const window = fields.integer('sliding_window', limits.contextRange, undefined);
    const slides = fields.boolean('use_sliding_window') && window !== undefined;
    const kinds = readLayerKinds(fields, layerCount, (layer) =>
      slides && !turns[layer] ? 'sliding' : 'full',
    );
    const config = {
      ...plainDecoder,
      ...dimensions,
      ...given('window', window),
      layers: withTurns(denseLayers(kinds, readWidths(fields, dimensions)), turns),
      ropes: readRopes(fields, headDim, { theta: 2_000_000 }),
      attentionScale: usualScale(headDim),
      activation: readActivation(fields, 'hidden_act'),
      tiedHead: fields.boolean('tie_word_embeddings'),
    };
    // GGUF files of it can say neither another pattern nor a window.
    const isUsual =
      turns.every((turn, layer) => turn === everyNthStill(usualInterval)(layer)) &&
      kinds.every((kind) => kind === 'full');
    return {
      ...denseModel(config, fields.file),
      gguf: { interleaved: true, implied: isUsual ? ['rope'] : [] },
    };
  },

  async fromGguf(source) {
    const dimensions = readGgufDimensions(source);
    const { layerCount, headDim } = dimensions;
    const turns = Array.from({ length: layerCount }, (_, layer) => everyNthStill(usualInterval)(layer));
    const layers = denseLayers(allFull(layerCount), readGgufWidths(source.fields, dimensions));
    const config = {
      ...plainDecoder,
      ...dimensions,
      layers: withTurns(layers, turns),
      ropes: await readGgufRopes(source, headDim, 'interleaved'),
      attentionScale: usualScale(headDim),
      activation: 'silu' as const,
      tiedHead: !source.has('output.weight'),
    };
    return {
      ...denseModel(config, source.weights.path),
      gguf: { interleaved: true, implied: ['rope'] },
    };
  },
};

/** Whether a layer turns its queries and keys, where every `interval`-th does not. */
function everyNthStill(interval: number): (layer: number) => boolean {
  return (layer) => (layer + 1) % interval !== 0;
}

/** `no_rope_layers` has a 1 for each layer with rope, in spite of its name, and may be longer than the model. */
function readTurns(fields: ConfigFields, count: number): boolean[] {
  const key = 'no_rope_layers';
  if (!fields.has(key)) {
    const interval = fields.integer('no_rope_layer_interval', limits.layersRange);
    return Array.from({ length: count }, (_, layer) => everyNthStill(interval)(layer));
  }
  const flags = fields.list(key);
  if (flags.length < count) fields.fail(key, `must have ${count} entries or more, not ${flags.length}`);
  return flags
    .slice(0, count)
    .map((flag) => (flag === 0 || flag === 1 ? flag === 1 : fields.fail(key, 'must be a list of 0 and 1')));
}

function withTurns(layers: readonly LayerConfig[], turns: readonly boolean[]): LayerConfig[] {
  return layers.map((layer, index) => (turns[index] ? layer : { ...layer, rope: 'none' }));
}
