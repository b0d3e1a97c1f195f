/** What the metadata of all decoders' GGUF files have in common. Keys are those of llama.cpp's `gguf` package. */
import type { Metadata, TensorInfo, Weights } from '@unicorn-exec/checkpoint';
import { UnicornError } from '@unicorn-exec/tensor';
import type { AttentionKind } from '../decoder/decoder-config.js';
import { makeRope, type Rope, type RopeScaling } from '../decoder/rope-frequencies.js';
import { ConfigFields, show } from './config-fields.js';
import type { Dimensions } from './hugging-face.js';
import * as limits from './limits.js';

/** A GGUF file as a source of configuration: its metadata below `<architecture>.`, and its tensors' shapes. */
export class GgufConfig {
  readonly fields: ConfigFields;

  constructor(
    readonly weights: Weights,
    readonly architecture: string,
  ) {
    const prefix = `${architecture}.`;
    this.fields = new ConfigFields(weights.path, (key) => plainValue(weights.metadata, prefix + key), prefix);
  }

  has(tensor: string): boolean {
    return this.weights.tensor(tensor) !== undefined;
  }

  /** @throws UnicornError `format/missing-tensor` */
  tensor(name: string): TensorInfo {
    const info = this.weights.tensor(name);
    if (info) return info;
    throw new UnicornError('format/missing-tensor', `${this.weights.path} has no tensor "${name}".`, {
      fields: { file: this.weights.path, tensor: name },
      fix: 'The file is incomplete, or only a part of a model (a projector, a split): use the complete model file.',
    });
  }

  /** Rows of a matrix, its first axis. */
  rows(name: string): number {
    return this.tensor(name).shape[0] ?? 1;
  }
}

function plainValue(metadata: Metadata, key: string): unknown {
  const value = metadata.get(key);
  return typeof value === 'object' ? value.values : value;
}

export function readGgufDimensions(source: GgufConfig): Dimensions {
  const { fields } = source;
  const hidden = fields.integer('embedding_length', limits.hiddenRange);
  const heads = fields.integer('attention.head_count', limits.headsRange);
  const headDim = fields.integer('attention.key_length', limits.headDimRange, hidden / heads);
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) {
    fields.fail('attention.key_length', `must be even, not ${headDim}`);
  }
  if (fields.integer('attention.value_length', limits.headDimRange, headDim) !== headDim) {
    fields.unsupported('attention.value_length', `the same as the key's, ${headDim}`);
  }
  if (fields.integer('expert_count', { min: 0, max: 2 ** 16 }, 0) > 0) {
    fields.unsupported('expert_count', 'models without experts');
  }
  return {
    vocabularySize: readGgufVocabulary(source),
    contextLength: readGgufContext(fields),
    hidden,
    heads,
    kvHeads: fields.integer('attention.head_count_kv', limits.headsRange, heads),
    headDim,
    layerCount: fields.integer('block_count', limits.layersRange),
    normEpsilon: fields.number('attention.layer_norm_rms_epsilon', limits.epsilonRange),
  };
}

/** The rows of the embedding table, which no reader of these files takes from their key; but it may not say nonsense. */
function readGgufVocabulary(source: GgufConfig): number {
  const rows = source.rows('token_embd.weight');
  source.fields.integer('vocab_size', limits.vocabularyRange, rows);
  return rows;
}

/** What the file contradicts, in sentences, where llama.cpp too goes by the tensors. */
export function ggufWarnings({ weights, fields }: GgufConfig, vocabularySize: number): string[] {
  const said = fields.integer('vocab_size', limits.vocabularyRange, vocabularySize);
  if (said === vocabularySize) return [];
  return [
    `${weights.path} says that it has ${said} tokens, but its embedding table has ${vocabularySize} rows: all are used.`,
  ];
}

/** YaRN stretches the positions that the model was trained on, whatever the file says of its context. */
function readGgufContext(fields: ConfigFields): number {
  const context = fields.integer('context_length', limits.contextRange);
  const scaling = readGgufScaling(fields);
  if (scaling.type !== 'yarn') return context;
  const stretched = Math.floor(scaling.originalContext * scaling.factor);
  return Math.min(Math.max(context, stretched), limits.contextRange.max);
}

/**
 * The rope of full and of sliding layers.
 *
 * @param slidingTheta of architectures whose sliding layers have a theta of their own and no scaling; the file may
 *   name another in `rope.freq_base_swa`
 */
export async function readGgufRopes(
  source: GgufConfig,
  headDim: number,
  layout: Rope['layout'],
  slidingTheta?: number,
): Promise<Record<AttentionKind, Rope>> {
  const { fields } = source;
  const theta = fields.number('rope.freq_base', limits.thetaRange, 10_000);
  const dims = fields.integer('rope.dimension_count', { min: 2, max: headDim }, headDim);
  if (dims % 2 !== 0) fields.fail('rope.dimension_count', `must be even, not ${dims}`);
  const scaling = source.has('rope_freqs.weight') ? await readDivisors(source) : readGgufScaling(fields);
  const full = makeRope({ theta, scaling }, dims, layout);
  if (slidingTheta === undefined) return { full, sliding: full };
  const own = fields.number('rope.freq_base_swa', limits.thetaRange, slidingTheta);
  return { full, sliding: makeRope({ theta: own, scaling: { type: 'default' } }, dims, layout) };
}

/** A divisor for each pair; a linear factor comes on top, as llama.cpp computes. */
async function readDivisors(source: GgufConfig): Promise<RopeScaling> {
  const divisors = await source.weights.decodeTensor('rope_freqs.weight');
  const { factor = 1 } = readGgufScaling(source.fields) as { factor?: number };
  return { type: 'divisors', divisors: divisors.map((divisor) => divisor * factor) };
}

/** llama.cpp takes scaling for linear where no type is named, under either name of the factor, and 0 for no scaling. */
function readGgufScaling(fields: ConfigFields): RopeScaling {
  const type = fields.string('rope.scaling.type', 'linear');
  const factorKey = fields.has('rope.scaling.factor') ? 'rope.scaling.factor' : 'rope.scale_linear';
  const factor = fields.raw(factorKey) === 0 ? 1 : fields.number(factorKey, limits.factorRange, 1);
  switch (type) {
    case 'none':
      return { type: 'default' };
    case 'linear':
      return factor === 1 ? { type: 'default' } : { type: 'linear', factor };
    case 'yarn': {
      // llama.cpp multiplies YaRN's own magnitude by this.
      const extra = fields.number('rope.scaling.attn_factor', limits.factorRange, 1);
      return {
        type: 'yarn',
        factor,
        originalContext:
          fields.integer('rope.scaling.original_context_length', limits.contextRange, undefined) ??
          fields.integer('context_length', limits.contextRange),
        betaFast: fields.number('rope.scaling.yarn_beta_fast', limits.factorRange, 32),
        betaSlow: fields.number('rope.scaling.yarn_beta_slow', limits.factorRange, 1),
        attentionFactor: extra * (factor <= 1 ? 1 : 0.1 * Math.log(factor) + 1),
        truncate: true,
      };
    }
    default:
      return fields.unsupported('rope.scaling.type', 'none, linear, yarn');
  }
}

/** `attention.sliding_window_pattern`: a flag for each layer, or a period of which the last layer is full. */
export function readGgufLayerKinds(
  fields: ConfigFields,
  count: number,
  byDefault: (layer: number) => AttentionKind,
): AttentionKind[] {
  const key = 'attention.sliding_window_pattern';
  if (!fields.has(key)) return Array.from({ length: count }, (_, layer) => byDefault(layer));
  if (!Array.isArray(fields.raw(key))) {
    const period = fields.integer(key, limits.layersRange);
    return Array.from({ length: count }, (_, layer) => ((layer + 1) % period === 0 ? 'full' : 'sliding'));
  }
  // Converters write booleans, or the numbers that these are in C.
  return fields.list(key, count).map((sliding, layer) => {
    if (typeof sliding !== 'boolean' && sliding !== 0 && sliding !== 1)
      fields.fail(`${key}[${layer}]`, `must be true or false, not ${show(sliding)}`);
    return sliding ? 'sliding' : 'full';
  });
}
