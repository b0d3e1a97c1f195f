/**
 * What a decoder-only transformer is, in numbers: the common form that every architecture's configuration is read into.
 * It knows no file format and no weights.
 */
import type { ActivationKind, KvGroup } from '@unicorn-exec/tensor';
import { UnicornError } from '@unicorn-exec/tensor';
import type { Rope } from './rope-frequencies.js';

/** A layer sees all earlier positions, or a window of them. */
export type AttentionKind = 'full' | 'sliding';

export interface LayerConfig {
  readonly attention: AttentionKind;
  /** Full width of the feed-forward. */
  readonly feedForward: number;
  /** The earlier layer whose keys and values this one reads; absent: it has its own. */
  readonly kvSource?: number;
  /** Gemma 3n: the gate keeps what lies so many deviations above its mean; absent: all of it. */
  readonly sparsityDeviations?: number;
}

export interface DecoderConfig {
  readonly vocabularySize: number;
  readonly contextLength: number;
  /** Features of the residual stream. */
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly layers: readonly LayerConfig[];
  /** Positions that a sliding layer sees. */
  readonly window?: number;
  readonly ropes: Readonly<Record<AttentionKind, Rope>>;
  readonly normEpsilon: number;
  /** Norms multiply by `offset + weight`: 1 in the files of Gemma 2 and 3. */
  readonly normOffset: number;
  readonly embeddingScale: number;
  /** Multiplies the scores. */
  readonly attentionScale: number;
  readonly attentionSoftcap?: number;
  readonly logitSoftcap?: number;
  readonly activation: ActivationKind;
  /** A norm on each head's query and key, before rope. */
  readonly queryKeyNorm: boolean;
  /** A norm without weight on each head's value (Gemma 3n). */
  readonly valueNorm: boolean;
  /** Norms after attention and feed-forward as well (Gemma). */
  readonly postNorms: boolean;
  /** The head is the embedding table. */
  readonly tiedHead: boolean;
}

/** The KV pools: layers that own keys and values, grouped by how far back they are read. */
export function kvGroupsOf(config: DecoderConfig): KvGroup[] {
  const { kvHeads, headDim, window } = config;
  return (['full', 'sliding'] as const).flatMap((kind) => {
    const layers = config.layers.flatMap(({ attention, kvSource }, index) =>
      attention === kind && kvSource === undefined ? [index] : [],
    );
    if (layers.length === 0) return [];
    return [{ name: kind, layers, kvHeads, headDim, ...(kind === 'sliding' && window ? { window } : {}) }];
  });
}

/** @throws UnicornError `format/config` when numbers that are legal alone do not fit together. */
export function checkDecoderConfig(config: DecoderConfig, file: string): void {
  const fail = (sentence: string): never => {
    throw new UnicornError('format/config', `${file}: ${sentence}.`, { fields: { file } });
  };
  const { heads, kvHeads, layers, window } = config;
  if (heads % kvHeads !== 0) fail(`${heads} attention heads are not a multiple of ${kvHeads} KV heads`);
  if (window === undefined && layers.some(({ attention }) => attention === 'sliding')) {
    fail('there are sliding layers, but no window is given');
  }
}
