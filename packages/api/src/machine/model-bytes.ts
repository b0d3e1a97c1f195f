/** What a model, or some of its layers, takes in memory beyond what a step computes: pure arithmetic over its headers. */
import type { Model } from '@unicorn-exec/models';
import { tokenChunk } from '@unicorn-exec/scheduler';
import { planKv, tensorBytes, type DeviceInfo, type LanguageModel } from '@unicorn-exec/tensor';
import type { KvType } from './load-options.js';
import type { DeviceShare } from './memory-pool.js';

/** What the keys and values of a model are kept as, and for how many sequences. */
export interface KvOptions {
  readonly kvType: KvType;
  readonly maxSequences: number;
  /** Tokens of all sequences together. Default: the context. */
  readonly kvTokens?: number | undefined;
  readonly prefillChunk?: number | undefined;
}

/** What keys and values are laid out for: the device, or one that decides for several. */
export type KvDevice = Pick<DeviceInfo, 'numerics'>;

/** What one device holds, wherever that is. */
export type ModelBytes = Omit<DeviceShare, 'purse'>;

/** Bytes of the model with all of its layers. Tables that stay in the mapped file are not resident but for the rows that were gathered. */
export function wholeBytes(model: Model, options: KvOptions, info: KvDevice): ModelBytes {
  return {
    weightBytes: model.weightBytes - model.hostBytes,
    kvBytes: layerKvBytes(model, options, info, () => true),
    historyBytes: historyBytes(options),
  };
}

/** Bytes of the tokens of each sequence that runs, for penalties, for a context. They lie where tokens are sampled. */
export function historyBytes({ maxSequences }: KvOptions): NonNullable<ModelBytes['historyBytes']> {
  return (contextLength) => tensorBytes('i32', [maxSequences, contextLength]);
}

/** Bytes of the KV cache and the sequence states of some layers, for a context. */
export function layerKvBytes(
  { kvGroups, sequenceStates = [] }: LanguageModel,
  { kvType: kvDType, maxSequences, kvTokens, prefillChunk }: KvOptions,
  info: KvDevice,
  holds: (layer: number) => boolean,
): ModelBytes['kvBytes'] {
  const groups = kvGroups.map((group) => ({ ...group, layers: group.layers.filter(holds) }));
  const states = sequenceStates.filter(({ layer }) => holds(layer));
  const layout = {
    groups,
    sequenceStates: states,
    kvDType,
    maxSequences,
    kvTokens,
    prefillChunk,
    tokenChunk: tokenChunk(info),
  };
  return (contextLength) => planKv({ ...layout, contextLength }).bytes;
}
