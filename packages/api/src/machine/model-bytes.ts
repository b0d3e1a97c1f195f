/** What a model, or some of its layers, takes in memory beyond what a step computes: pure arithmetic over its headers. */
import type { Model } from '@unicorn-exec/models';
import { planKv } from '@unicorn-exec/tensor';
import type { KvType } from './load-options.js';
import type { DeviceShare } from './memory-pool.js';

/** What the keys and values of a model are kept as, and for how many sequences. */
export interface KvOptions {
  readonly kvType: KvType;
  readonly maxSequences: number;
}

/** What one device holds, wherever that is. */
export type ModelBytes = Omit<DeviceShare, 'purse'>;

/** Of all layers. Tables that stay in the mapped file are not resident but for the rows that were gathered. */
export function wholeBytes(model: Model, options: KvOptions): ModelBytes {
  return {
    weightBytes: model.weightBytes - model.hostBytes,
    kvBytes: layerKvBytes(model, options, () => true),
  };
}

/** Bytes of the KV cache of some layers, for a context. */
export function layerKvBytes(
  model: Model,
  { kvType: kvDType, maxSequences }: KvOptions,
  holds: (layer: number) => boolean,
): ModelBytes['kvBytes'] {
  const groups = model.kvGroups.map((group) => ({ ...group, layers: group.layers.filter(holds) }));
  return (contextLength) => planKv({ groups, contextLength, kvDType, maxSequences }).bytes;
}
