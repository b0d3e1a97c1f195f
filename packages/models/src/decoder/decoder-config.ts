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
  /** Where this layer's attention has other numbers than the decoder's. */
  readonly heads?: number;
  readonly kvHeads?: number;
  readonly headDim?: number;
  /** Window of a sliding layer. */
  readonly window?: number;
  readonly attentionScale?: number;
  /** Where it does not turn as the other layers of its kind; `none`: positions do not turn it at all. */
  readonly rope?: Rope | 'none';
  /**
   * Where values come from: a projection of their own, the key projection (before norm and rope, as in the full layers of
   * Gemma 4), or the cached keys themselves, so that no values are stored. Default: `own`.
   */
  readonly values?: 'own' | 'keyProjection' | 'keys';
}

/** The numbers of one layer's attention. */
export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Positions that it sees; undefined: all earlier ones. */
  readonly window: number | undefined;
  readonly scale: number;
}

export function attentionShape(config: DecoderConfig, layer: LayerConfig): AttentionShape {
  return {
    heads: layer.heads ?? config.heads,
    kvHeads: layer.kvHeads ?? config.kvHeads,
    headDim: layer.headDim ?? config.headDim,
    window: layer.attention === 'sliding' ? (layer.window ?? config.window) : undefined,
    scale: layer.attentionScale ?? config.attentionScale,
  };
}

/** What turns the layer's queries and keys; undefined: nothing does. */
export function ropeOf(config: DecoderConfig, layer: LayerConfig): Rope | undefined {
  const rope = layer.rope ?? config.ropes[layer.attention];
  return rope === 'none' ? undefined : rope;
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

/**
 * The KV pools: layers that own keys and values, grouped by how far back they are read and by the shape of what they
 * store. A group is named by its kind of attention, and where a kind has several by its shape too.
 */
export function kvGroupsOf(config: DecoderConfig): KvGroup[] {
  return (['full', 'sliding'] as const).flatMap((kind) => {
    const groups = new Map<string, KvGroup & { readonly layers: number[] }>();
    config.layers.forEach((layer, index) => {
      if (layer.attention !== kind || layer.kvSource !== undefined) return;
      const { kvHeads, headDim, window } = attentionShape(config, layer);
      const valuesAreKeys = layer.values === 'keys';
      const name = [
        `${kind}.${kvHeads}x${headDim}`,
        ...(window === undefined ? [] : [window]),
        ...(valuesAreKeys ? ['keys'] : []),
      ].join('.');
      const known = groups.get(name) ?? {
        name,
        layers: [],
        kvHeads,
        headDim,
        ...(window === undefined ? {} : { window }),
        ...(valuesAreKeys ? { valuesAreKeys } : {}),
      };
      known.layers.push(index);
      groups.set(name, known);
    });
    const list = [...groups.values()];
    return list.length === 1 ? [{ ...list[0]!, name: kind }] : list;
  });
}

/** @throws UnicornError `format/config` when numbers that are legal alone do not fit together. */
export function checkDecoderConfig(config: DecoderConfig, file: string): void {
  const fail = (sentence: string): never => {
    throw new UnicornError('format/config', `${file}: ${sentence}.`, { fields: { file } });
  };
  const { layers } = config;
  layers.forEach((layer, index) => {
    const { heads, kvHeads, headDim, window } = attentionShape(config, layer);
    if (heads % kvHeads !== 0) fail(`${heads} attention heads are not a multiple of ${kvHeads} KV heads`);
    if (layer.attention === 'sliding' && window === undefined) {
      fail('there are sliding layers, but no window is given');
    }
    const turned = 2 * (ropeOf(config, layer)?.frequencies.length ?? 0);
    if (turned > headDim) fail(`layer ${index} has heads of ${headDim} elements, of which ${turned} turn`);
    const source = layer.kvSource === undefined ? undefined : layers[layer.kvSource];
    if (!source) return;
    const stored = attentionShape(config, source);
    if (stored.kvHeads !== kvHeads || stored.headDim !== headDim) {
      fail(`layer ${index} cannot read the keys and values of layer ${layer.kvSource}: their heads differ`);
    }
  });
}
