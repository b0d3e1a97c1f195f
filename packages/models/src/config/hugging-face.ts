/**
 * What the `config.json` of all published decoders have in common, in the classic spelling and in that of
 * transformers 5 (`rope_parameters`, `layer_types`). Architectures add what is theirs.
 */
import type { ActivationKind } from '@unicorn-exec/tensor';
import type { AttentionKind } from '../decoder/decoder-config.js';
import { makeRope, type Rope, type RopeScaling, type RopeSettings } from '../decoder/rope-frequencies.js';
import type { ConfigFields } from './config-fields.js';
import * as limits from './limits.js';

/** Sizes that every decoder has. */
export interface Dimensions {
  readonly vocabularySize: number;
  readonly contextLength: number;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly layerCount: number;
  readonly normEpsilon: number;
}

/** @param defaults what the architecture's class assumes where the file is silent; the rest must be in the file */
export function readDimensions(fields: ConfigFields, defaults: Partial<Dimensions> = {}): Dimensions {
  const integer = (key: string, range: limits.Range, byDefault: number | undefined): number =>
    byDefault === undefined ? fields.integer(key, range) : fields.integer(key, range, byDefault);
  const hidden = integer('hidden_size', limits.hiddenRange, defaults.hidden);
  const heads = integer('num_attention_heads', limits.headsRange, defaults.heads);
  return {
    vocabularySize: integer('vocab_size', limits.vocabularyRange, defaults.vocabularySize),
    contextLength: integer('max_position_embeddings', limits.contextRange, defaults.contextLength),
    hidden,
    heads,
    kvHeads: fields.integer('num_key_value_heads', limits.headsRange, defaults.kvHeads ?? heads),
    headDim: readHeadDim(fields, defaults.headDim ?? hidden / heads),
    layerCount: integer('num_hidden_layers', limits.layersRange, defaults.layerCount),
    normEpsilon: fields.number('rms_norm_eps', limits.epsilonRange, defaults.normEpsilon ?? 1e-6),
  };
}

function readHeadDim(fields: ConfigFields, byDefault: number): number {
  const headDim = fields.integer('head_dim', limits.headDimRange, byDefault);
  if (!Number.isInteger(headDim) || headDim % 2 !== 0)
    fields.fail('head_dim', `must be even, not ${headDim}`);
  return headDim;
}

const activations: Readonly<Record<string, ActivationKind>> = {
  silu: 'silu',
  swish: 'silu',
  gelu_pytorch_tanh: 'geluTanh',
  gelu_new: 'geluTanh',
};

/** @param keys the keys that may hold it, first come first served */
export function readActivation(fields: ConfigFields, ...keys: string[]): ActivationKind {
  const key = keys.find((candidate) => fields.has(candidate)) ?? keys[0]!;
  return activations[fields.string(key)] ?? fields.unsupported(key, Object.keys(activations).join(', '));
}

/** `layer_types`, or what the older keys would have made of it. */
export function readLayerKinds(
  fields: ConfigFields,
  count: number,
  byDefault: (layer: number) => AttentionKind,
): AttentionKind[] {
  if (!fields.has('layer_types')) return Array.from({ length: count }, (_, layer) => byDefault(layer));
  return fields.strings('layer_types', count).map((type) => {
    if (type === 'full_attention') return 'full';
    if (type === 'sliding_attention') return 'sliding';
    return fields.unsupported('layer_types', 'full_attention, sliding_attention');
  });
}

/** Every `period`-th layer is full, the others slide. */
export function everyNthFull(period: number): (layer: number) => AttentionKind {
  return (layer) => ((layer + 1) % period === 0 ? 'full' : 'sliding');
}

/**
 * The rope of full and of sliding layers.
 *
 * @param defaults `theta` where the file has none; `slidingTheta` of architectures whose sliding layers have their own
 */
export function readRopes(
  fields: ConfigFields,
  headDim: number,
  defaults: { readonly theta: number; readonly slidingTheta?: number },
): Record<AttentionKind, Rope> {
  const settings = readRopeSettings(fields, defaults);
  const unit = { min: 0, max: 1 };
  const inParameters = fields.object('rope_parameters')?.number('partial_rotary_factor', unit, 1);
  const share = fields.number('partial_rotary_factor', unit, inParameters ?? 1);
  const dims = headDim * share;
  if (!Number.isInteger(dims) || dims % 2 !== 0 || dims === 0) {
    fields.fail('partial_rotary_factor', `must leave an even number of the ${headDim} elements, not ${dims}`);
  }
  return { full: makeRope(settings.full, dims), sliding: makeRope(settings.sliding, dims) };
}

function readRopeSettings(
  fields: ConfigFields,
  defaults: { readonly theta: number; readonly slidingTheta?: number },
): Record<AttentionKind, RopeSettings> {
  const parameters = fields.object('rope_parameters');
  const full = parameters?.object('full_attention');
  if (parameters && full) {
    const sliding = parameters.object('sliding_attention') ?? full;
    return {
      full: readRopeGroup(fields, full, defaults.theta),
      sliding: readRopeGroup(fields, sliding, defaults.slidingTheta ?? defaults.theta),
    };
  }
  if (parameters) {
    const both = readRopeGroup(fields, parameters, defaults.theta);
    return { full: both, sliding: both };
  }
  const theta = fields.number('rope_theta', limits.thetaRange, defaults.theta);
  const scaling = fields.object('rope_scaling');
  const both = { theta, scaling: scaling ? readScaling(fields, scaling) : ({ type: 'default' } as const) };
  if (defaults.slidingTheta === undefined) return { full: both, sliding: both };
  // Where sliding layers have a theta of their own, the scaling is for the full layers alone.
  const slidingTheta = fields.number('rope_local_base_freq', limits.thetaRange, defaults.slidingTheta);
  return { full: both, sliding: { theta: slidingTheta, scaling: { type: 'default' } } };
}

function readRopeGroup(fields: ConfigFields, group: ConfigFields, theta: number): RopeSettings {
  return { theta: group.number('rope_theta', limits.thetaRange, theta), scaling: readScaling(fields, group) };
}

function readScaling(fields: ConfigFields, group: ConfigFields): RopeScaling {
  const type = group.string('rope_type', undefined) ?? group.string('type', 'default');
  const factor = (): number => group.number('factor', limits.factorRange);
  const originalContext = (): number =>
    group.integer('original_max_position_embeddings', limits.contextRange, undefined) ??
    fields.integer('max_position_embeddings', limits.contextRange);
  switch (type) {
    case 'default':
      return { type: 'default' };
    case 'linear':
      return { type: 'linear', factor: factor() };
    case 'llama3':
      return {
        type: 'llama3',
        factor: factor(),
        lowFrequencyFactor: group.number('low_freq_factor', limits.factorRange),
        highFrequencyFactor: group.number('high_freq_factor', limits.factorRange),
        originalContext: originalContext(),
      };
    case 'yarn': {
      const attentionFactor = group.number('attention_factor', limits.factorRange, undefined);
      return {
        type: 'yarn',
        factor: factor(),
        originalContext: originalContext(),
        betaFast: group.number('beta_fast', limits.factorRange, 32),
        betaSlow: group.number('beta_slow', limits.factorRange, 1),
        truncate: group.boolean('truncate', true),
        ...(attentionFactor === undefined ? {} : { attentionFactor }),
      };
    }
    default:
      return group.unsupported(
        group.has('rope_type') ? 'rope_type' : 'type',
        'default, linear, llama3, yarn',
      );
  }
}
