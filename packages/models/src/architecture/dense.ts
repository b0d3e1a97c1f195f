/** What the plain decoders (Llama, Qwen, Gemma 2 and 3) share when their files are read. */
import type { Dimensions } from '../config/hugging-face.js';
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
