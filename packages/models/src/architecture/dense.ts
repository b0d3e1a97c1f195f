/** What the plain decoders (Llama, Qwen, Gemma 2 and 3) share when their files are read. */
import type { GgufConfig } from '../config/gguf.js';
import { readLayerKinds, type Dimensions } from '../config/hugging-face.js';
import type { ConfigFields } from '../config/config-fields.js';
import * as limits from '../config/limits.js';
import {
  checkDecoderConfig,
  type AttentionKind,
  type DecoderConfig,
  type LayerConfig,
} from '../decoder/decoder-config.js';
import { buildDecoder } from '../decoder/decoder-graph.js';
import { decoderWeights } from '../decoder/decoder-weights.js';
import type { ModelDefinition } from './architecture.js';

/** Plain values of what most decoders do not have. */
export const plainDecoder = {
  normOffset: 0,
  embeddingScale: 1,
  queryKeyNorm: false,
  valueNorm: false,
  postNorms: false,
} as const satisfies Partial<DecoderConfig>;

/** What Gemma 2 and 3 have in common. Norms multiply by 1 + weight in Hugging Face files. */
export const gemmaDecoder = {
  normOffset: 1,
  queryKeyNorm: false,
  valueNorm: false,
  postNorms: true,
} as const satisfies Partial<DecoderConfig>;

export function denseModel(config: DecoderConfig, file: string): ModelDefinition {
  checkDecoderConfig(config, file);
  return { config, weights: decoderWeights(config), build: buildDecoder };
}

export function denseLayers(kinds: readonly AttentionKind[], widths: readonly number[]): LayerConfig[] {
  return kinds.map((attention, layer) => ({ attention, feedForward: widths[layer]! }));
}

export function allFull(count: number): AttentionKind[] {
  return new Array<AttentionKind>(count).fill('full');
}

/** `intermediate_size` of each layer. */
export function readWidths(fields: ConfigFields, { layerCount }: Dimensions): number[] {
  return fields.integerPerLayer('intermediate_size', layerCount, limits.feedForwardRange);
}

/** `feed_forward_length` of each layer. */
export function readGgufWidths(fields: ConfigFields, { layerCount }: Dimensions): number[] {
  return fields.integerPerLayer('feed_forward_length', layerCount, limits.feedForwardRange);
}

/** Scores of a head of d elements are divided by sqrt(d). */
export function usualScale(headDim: number): number {
  return headDim ** -0.5;
}

/** An optional number under our name. */
export function given<K extends string>(key: K, value: number | undefined): Partial<Record<K, number>> {
  return value === undefined ? {} : ({ [key]: value } as Record<K, number>);
}

/** Embeddings of Gemma are multiplied by the root of their features. */
export function rootOf(features: number): number {
  return Math.fround(Math.sqrt(features));
}

/** Gemma names the number whose root divides the scores; it is not always the head's. */
export function gemmaScale(fields: ConfigFields): number {
  return fields.number('query_pre_attn_scalar', { min: 1e-6, max: 1e6 }) ** -0.5;
}

/**
 * The same in a GGUF file, which has no such key: llama.cpp divides by the head's root, but in the 27B model, which it
 * tells by its layers, by the root of hidden / heads.
 */
export function gemmaScaleOfGguf(
  { fields }: GgufConfig,
  dimensions: Dimensions,
  layersOf27B: number,
): number {
  const { layerCount, hidden, heads, headDim } = dimensions;
  const scalar = layerCount === layersOf27B ? hidden / heads : headDim;
  return fields.number('attention.scale', { min: 1e-6, max: 1e6 }, scalar ** -0.5);
}

/** Qwen's `use_sliding_window`: layers from `max_window_layers` on slide. Off in published models. */
export function readQwenWindow(
  fields: ConfigFields,
  count: number,
): { kinds: AttentionKind[]; window: { window?: number } } {
  if (!fields.boolean('use_sliding_window')) return { kinds: allFull(count), window: {} };
  const first = fields.integer('max_window_layers', { min: 0, max: limits.layersRange.max });
  return {
    kinds: readLayerKinds(fields, count, (layer) => (layer >= first ? 'sliding' : 'full')),
    window: { window: fields.integer('sliding_window', limits.contextRange, 4096) },
  };
}
