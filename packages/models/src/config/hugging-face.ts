/**
 * What the `config.json` of all published decoders have in common, in the classic spelling and in that of
 * transformers 5 (`rope_parameters`, `layer_types`). Architectures add what is theirs.
 */
import type { ActivationKind } from '@unicorn-exec/tensor';
import type { AttentionKind } from '../decoder/decoder-config.js';
import {
  makeRope,
  yarnMagnitude,
  type Rope,
  type RopeScaling,
  type RopeSettings,
} from '../decoder/rope-frequencies.js';
import { ConfigFields } from './config-fields.js';
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

/** Keys and values have as many heads as queries, and heads share the features, where neither file nor class says otherwise. */
export function readDimensions(fields: ConfigFields): Dimensions {
  const hidden = fields.integer('hidden_size', limits.hiddenRange);
  const heads = fields.integer('num_attention_heads', limits.headsRange);
  return {
    vocabularySize: fields.integer('vocab_size', limits.vocabularyRange),
    contextLength: readContextLength(fields),
    hidden,
    heads,
    kvHeads: fields.integer('num_key_value_heads', limits.headsRange, heads),
    headDim: readHeadDim(fields, hidden / heads),
    layerCount: fields.integer('num_hidden_layers', limits.layersRange),
    normEpsilon: fields.number('rms_norm_eps', limits.epsilonRange),
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

export function readActivation(fields: ConfigFields, key: string): ActivationKind {
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

/** How rope was trained in full and in sliding layers, where the file says nothing else. */
export interface RopeDefaults {
  readonly theta: number;
  /** Theta of sliding layers, in architectures where they have their own. */
  readonly slidingTheta?: number;
}

/** The rope of full and of sliding layers. */
export function readRopes(
  fields: ConfigFields,
  headDim: number,
  defaults: RopeDefaults,
): Record<AttentionKind, Rope> {
  const groups = ropeGroups(fields, defaults);
  const rope = ({ settings, share }: RopeGroup): Rope => {
    const dims = headDim * share;
    if (!Number.isInteger(dims) || dims % 2 !== 0 || dims === 0) {
      fields.fail(
        'partial_rotary_factor',
        `must leave an even number of the ${headDim} elements, not ${dims}`,
      );
    }
    return makeRope(settings, dims);
  };
  return { full: rope(groups.full), sliding: rope(groups.sliding) };
}

interface RopeGroup {
  readonly settings: RopeSettings;
  /** Share of a head's elements that turn. */
  readonly share: number;
}

/**
 * As transformers standardizes the keys (`RotaryEmbeddingConfigMixin`, and the classes of Gemma 3 and 3n, whose two kinds
 * of layers have a group each). `rope_scaling` is the old name of `rope_parameters` and goes before it; what a group
 * does not say is said by the keys beside it, and then by the class.
 */
function ropeGroups(
  fields: ConfigFields,
  { theta, slidingTheta }: RopeDefaults,
): Record<AttentionKind, RopeGroup> {
  const parameters = fields.object('rope_parameters');
  const scaling = isEmpty(fields.raw('rope_scaling')) ? undefined : fields.object('rope_scaling');
  const topTheta = (byDefault: number): number => fields.number('rope_theta', limits.thetaRange, byDefault);
  const empty = ConfigFields.fromJson(fields.file, {});
  const group = (own: ConfigFields | undefined, byDefault: number): RopeGroup =>
    readRopeGroup(fields, { own: own ?? empty, outer: parameters ?? empty, isNested: true }, byDefault);
  if (slidingTheta !== undefined) {
    const localTheta = fields.number('rope_local_base_freq', limits.thetaRange, slidingTheta);
    // A scaling is for the full layers alone. It replaces single keys, and the type by its new name alone.
    const full = (parameters?.object('full_attention') ?? empty).withDefaults({ rope_type: 'default' });
    return {
      full: group(scaling?.withDefaults(full) ?? full, topTheta(theta)),
      sliding: group(parameters?.object('sliding_attention'), localTheta),
    };
  }
  const given = scaling ?? parameters;
  const kinds = { full: given?.object('full_attention'), sliding: given?.object('sliding_attention') };
  const isNested = fields.has('layer_types') && (kinds.full ?? kinds.sliding) !== undefined;
  if (isNested) {
    const full = group(kinds.full ?? kinds.sliding, topTheta(theta));
    return { full, sliding: group(kinds.sliding ?? kinds.full, topTheta(theta)) };
  }
  const own = given ?? empty;
  const both = readRopeGroup(fields, { own, outer: own, isNested: false }, topTheta(theta));
  return { full: both, sliding: both };
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}

/** Where the keys of one rope stand. */
interface RopeSource {
  readonly own: ConfigFields;
  /** What `own` lies in when it is one of several groups, else `own`. */
  readonly outer: ConfigFields;
  readonly isNested: boolean;
}

function readRopeGroup(fields: ConfigFields, source: RopeSource, theta: number): RopeGroup {
  const unit = { min: 0, max: 1 };
  const { own } = source;
  return {
    settings: {
      theta: own.number('rope_theta', limits.thetaRange, theta),
      scaling: readScaling(fields, source),
    },
    share: own.number('partial_rotary_factor', unit, fields.number('partial_rotary_factor', unit, 1)),
  };
}

function readScaling(fields: ConfigFields, source: RopeSource): RopeScaling {
  const group = source.own;
  const typeKey = group.has('rope_type') ? 'rope_type' : 'type';
  const type = group.string(typeKey, 'default');
  const factor = (): number => group.number('factor', limits.factorRange);
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
        originalContext: readOriginalContext(fields, source),
      };
    case 'yarn':
      return readYarn(fields, source);
    default:
      return group.unsupported(typeKey, 'default, linear, llama3, yarn');
  }
}

function readYarn(fields: ConfigFields, source: RopeSource): RopeScaling {
  const group = source.own;
  const originalContext = readOriginalContext(fields, source);
  const factor =
    group.number('factor', limits.factorRange, undefined) ??
    fields.integer('max_position_embeddings', limits.contextRange) / originalContext;
  const attentionFactor =
    group.number('attention_factor', limits.factorRange, undefined) ?? readYarnMagnitude(group, factor);
  return {
    type: 'yarn',
    factor,
    originalContext,
    betaFast: group.number('beta_fast', limits.factorRange, 32),
    betaSlow: group.number('beta_slow', limits.factorRange, 1),
    // Transformers looks for this one outside of the groups.
    truncate: source.outer.boolean('truncate', true),
    ...(attentionFactor === undefined ? {} : { attentionFactor }),
  };
}

/** The quotient of two magnitudes, where the file names both (as DeepSeek's do); undefined: the paper's. */
function readYarnMagnitude(group: ConfigFields, factor: number): number | undefined {
  const range = { min: 0, max: limits.factorRange.max };
  const scale = group.number('mscale', range, 0);
  const scaleOfAll = group.number('mscale_all_dim', range, 0);
  if (scale === 0 || scaleOfAll === 0) return undefined;
  return yarnMagnitude(factor, scale) / yarnMagnitude(factor, scaleOfAll);
}

/** A key beside the groups goes before one in the only group, and is not looked at where there are several. */
function readOriginalContext(
  fields: ConfigFields,
  { own, isNested }: Pick<RopeSource, 'own' | 'isNested'>,
): number {
  const key = 'original_max_position_embeddings';
  return (
    (isNested ? undefined : fields.integer(key, limits.contextRange, undefined)) ??
    own.integer(key, limits.contextRange, undefined) ??
    fields.integer('max_position_embeddings', limits.contextRange)
  );
}

/** Positions that the model was made for: YaRN stretches those that it was trained on, whatever is said beside it. */
function readContextLength(fields: ConfigFields): number {
  const trained = fields.integer('max_position_embeddings', limits.contextRange);
  let longest = trained;
  for (const key of ['rope_scaling', 'rope_parameters']) {
    const outer = fields.object(key);
    const nested = outer?.object('full_attention');
    const own = nested ?? outer;
    if (own?.raw(own.has('rope_type') ? 'rope_type' : 'type') !== 'yarn') continue;
    const original = readOriginalContext(fields, { own, isNested: nested !== undefined });
    longest = Math.max(longest, Math.floor(original * own.number('factor', limits.factorRange, 1)));
  }
  return Math.min(longest, limits.contextRange.max);
}
