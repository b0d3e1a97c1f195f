/**
 * A model as the content of a GGUF file: llama.cpp's tensor names, stacks, reordered heads and norms, and its metadata.
 * The inverse of what `config/gguf.ts` and the architectures read. The tokenizer is `tokenizerToGguf`'s, and nested
 * sizes are `matformerKeys`'.
 */
import type { GgufContent, GgufTensor, MetadataEntry } from '@unicorn-exec/checkpoint';
import { decodeRow, readFileRange, UnicornError, type DType, type WeightEntry } from '@unicorn-exec/tensor';
import type { ModelDefinition } from './architecture/architecture.js';
import { findGgufArchitecture } from './architecture/index.js';
import type { DecoderConfig, LayerConfig } from './decoder/decoder-config.js';
import { makeRope, type Rope } from './decoder/rope-frequencies.js';
import type { Model } from './model.js';

const text = (value: string): MetadataEntry => ({ type: 'string', value });
const u32 = (value: number): MetadataEntry => ({ type: 'u32', value });
const f32 = (value: number): MetadataEntry => ({ type: 'f32', value });

export interface ModelToGgufOptions {
  /**
   * The type of each tensor, whose last dim must be whole blocks of it. Vectors are norms and biases, which others expect
   * in f32 whatever the rest is.
   */
  readonly dtypeOf: (tensor: { readonly name: string; readonly shape: readonly number[] }) => DType;
  /** Packs all rows of a tensor, in order, as one of these types: `encodeTensor` of `@unicorn-exec/quant`, or another. */
  readonly encode: (dtype: DType, values: Float32Array) => Uint8Array;
}

const unquantized: ModelToGgufOptions = {
  dtypeOf: () => 'f32',
  encode: (_, values) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
};

/**
 * The model for `writeGguf`. Weights are read, decoded and encoded tensor by tensor when they are due; the model must stay
 * open until then.
 *
 * @param options types and their encoder. Default: every tensor as f32
 * @throws UnicornError `unsupported/config` for a rope that GGUF cannot express; when tensors are due, as `encode`
 */
export function modelToGguf(model: Model, options = unquantized): GgufContent {
  const { definition } = model;
  const { dtypeOf, encode } = options;
  const entries = new Map(model.weights().map((entry) => [entry.name, entry]));
  const parts = new Map<string, WeightEntry[]>();
  for (const { name, gguf } of definition.weights) {
    const entry = entries.get(name);
    if (entry) parts.set(gguf, [...(parts.get(gguf) ?? []), entry]);
  }
  const reordered = definition.gguf?.interleaved === true && definition.config.ropes.full.layout === 'half';
  const tensors = [...parts].map(([name, stack]): GgufTensor => {
    const own = stack[0]!.shape;
    const shape = stack.length > 1 ? [stack.length, ...own] : own;
    const dtype = dtypeOf({ name, shape });
    const data = async (): Promise<Uint8Array> => {
      const values = await Promise.all(stack.map((entry) => readValues(entry)));
      const joined = new Float32Array(values.reduce((sum, { length }) => sum + length, 0));
      values.forEach((part, index) =>
        joined.set(asConverted(definition.config, stack[index]!, part, reordered), index * part.length),
      );
      return encode(dtype, joined);
    };
    return { name, dtype, shape, data };
  });
  const architecture = findGgufArchitecture(model.architecture, model.path).ggufArchitectures[0]!;
  const divisors = ropeDivisors(definition.config.ropes.full);
  return {
    metadata: [['general.name', text(model.name)], ...configToGguf(definition, architecture)],
    tensors: divisors ? [...tensors, divisors] : tensors,
  };
}

/**
 * The metadata of a model's configuration, `general.architecture` first.
 *
 * @param architecture what GGUF calls it
 * @throws UnicornError `unsupported/config` for a rope that GGUF cannot express, or layers whose attention differs
 */
export function configToGguf(
  { config, gguf }: ModelDefinition,
  architecture: string,
): [key: string, entry: MetadataEntry][] {
  const { layers, headDim, attentionScale, window, attentionSoftcap, logitSoftcap } = config;
  expectUniformAttention(layers, gguf?.implied);
  const pattern = slidingFlags(layers, gguf);
  const widths = layers.map(({ feedForward }) => feedForward);
  const fields: Record<string, MetadataEntry> = {
    vocab_size: u32(config.vocabularySize),
    context_length: u32(config.contextLength),
    embedding_length: u32(config.hidden),
    block_count: u32(layers.length),
    feed_forward_length:
      new Set(widths).size === 1 ? u32(widths[0]!) : { type: 'array', elementType: 'u32', values: widths },
    'attention.head_count': u32(config.heads),
    'attention.head_count_kv': u32(config.kvHeads),
    'attention.key_length': u32(headDim),
    'attention.value_length': u32(headDim),
    'attention.layer_norm_rms_epsilon': f32(config.normEpsilon),
    ...(window === undefined ? {} : { 'attention.sliding_window': u32(window) }),
    ...(pattern === undefined ? {} : { 'attention.sliding_window_pattern': pattern }),
    ...(attentionSoftcap === undefined ? {} : { attn_logit_softcapping: f32(attentionSoftcap) }),
    ...(logitSoftcap === undefined ? {} : { final_logit_softcapping: f32(logitSoftcap) }),
    ...(attentionScale === headDim ** -0.5 ? {} : { 'attention.scale': f32(attentionScale) }),
    ...ropeFields(config),
    ...gguf?.fields,
  };
  return [
    ['general.architecture', text(architecture)],
    ...Object.entries(fields).map(([key, entry]): [string, MetadataEntry] => [
      `${architecture}.${key}`,
      entry,
    ]),
  ];
}

/**
 * A flag for each layer, where readers would take others for sliding without it.
 *
 * @throws UnicornError `unsupported/config` when the architecture's readers know no sliding layers
 */
function slidingFlags(
  layers: readonly LayerConfig[],
  gguf: ModelDefinition['gguf'],
): MetadataEntry | undefined {
  const key = 'attention.sliding_window_pattern';
  const isUsual = layers.every(({ attention }, layer) => attention === (gguf?.kinds?.(layer) ?? 'full'));
  if (isUsual || gguf?.fields?.[key]) return undefined;
  if (gguf?.kinds) {
    return {
      type: 'array',
      elementType: 'bool',
      values: layers.map(({ attention }) => attention === 'sliding'),
    };
  }
  throw new UnicornError('unsupported/config', 'GGUF cannot say which layers of this architecture slide.', {
    fields: { key },
    fix: 'Open the Hugging Face directory itself.',
  });
}

/** @throws UnicornError `unsupported/config` when a layer's attention has numbers of its own, but for those `implied` */
function expectUniformAttention(
  layers: readonly LayerConfig[],
  implied: readonly (keyof LayerConfig)[] = [],
): void {
  const keys = ['heads', 'kvHeads', 'headDim', 'window', 'attentionScale', 'rope', 'values'] as const;
  const own = layers.findIndex((layer) =>
    keys.some((key) => layer[key] !== undefined && !implied.includes(key)),
  );
  if (own < 0) return;
  throw new UnicornError(
    'unsupported/config',
    `The attention of layer ${own} has numbers of its own, which this writer of GGUF cannot say.`,
    { fields: { layer: own } },
  );
}

function ropeFields({ ropes, headDim }: DecoderConfig): Record<string, MetadataEntry> {
  const { settings, frequencies } = ropes.full;
  const { theta, scaling } = settings;
  const dims = 2 * frequencies.length;
  const fields: Record<string, MetadataEntry> = { 'rope.freq_base': f32(theta) };
  if (dims !== headDim) fields['rope.dimension_count'] = u32(dims);
  const sliding = ropes.sliding.settings;
  if (sliding.theta !== theta) fields['rope.freq_base_swa'] = f32(sliding.theta);
  switch (scaling.type) {
    case 'default':
    // The last two are a tensor of their own, see ropeDivisors.
    case 'llama3':
    case 'divisors':
      return fields;
    case 'linear':
      return { ...fields, 'rope.scaling.type': text('linear'), 'rope.scaling.factor': f32(scaling.factor) };
    case 'yarn': {
      if (!scaling.truncate) {
        throw new UnicornError('unsupported/config', 'GGUF cannot say that YaRN does not round its borders.');
      }
      const { factor, originalContext, betaFast, betaSlow } = scaling;
      return {
        ...fields,
        'rope.scaling.type': text('yarn'),
        'rope.scaling.factor': f32(factor),
        'rope.scaling.original_context_length': u32(originalContext),
        'rope.scaling.yarn_beta_fast': f32(betaFast),
        'rope.scaling.yarn_beta_slow': f32(betaSlow),
        // llama.cpp multiplies YaRN's own magnitude by this.
        'rope.scaling.attn_factor': f32(
          ropes.full.magnitude / (factor <= 1 ? 1 : 0.1 * Math.log(factor) + 1),
        ),
      };
    }
  }
}

/** `rope_freqs.weight`: by what the plain frequencies are divided, where a formula has no key of its own. */
function ropeDivisors({ settings, frequencies }: Rope): GgufTensor | undefined {
  const { type } = settings.scaling;
  if (type !== 'llama3' && type !== 'divisors') return undefined;
  const plain = makeRope({ ...settings, scaling: { type: 'default' } }, 2 * frequencies.length).frequencies;
  const divisors = plain.map((frequency, pair) => frequency / frequencies[pair]!);
  return {
    name: 'rope_freqs.weight',
    dtype: 'f32',
    shape: [divisors.length],
    data: new Uint8Array(divisors.buffer),
  };
}

/** What llama.cpp's converter does to the numbers. */
function asConverted(
  config: DecoderConfig,
  { name, shape }: WeightEntry,
  values: Float32Array,
  reordered: boolean,
): Float32Array {
  if (/[nN]orm$/.test(name)) return values.map((value) => value + config.normOffset);
  if (reordered && /attention\.(query|key)(\.bias)?$/.test(name)) {
    return interleaveHalves(values, values.length / shape[0]!, config.headDim);
  }
  return values;
}

/** Rows of each head from halves to neighbours: row s * d/2 + i becomes row 2i + s. */
function interleaveHalves(values: Float32Array, columns: number, headDim: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < values.length / columns; row++) {
    const inHead = row % headDim;
    const to = row - inHead + 2 * (inHead % (headDim / 2)) + Math.floor(inHead / (headDim / 2));
    out.set(values.subarray(row * columns, (row + 1) * columns), to * columns);
  }
  return out;
}

async function readValues({ name, dtype, shape, source }: WeightEntry): Promise<Float32Array> {
  const count = shape.reduce((product, dim) => product * dim, 1);
  const values = new Float32Array(count);
  if (source.kind === 'bytes') {
    decodeRow(dtype, source.bytes, 0, count, values);
    return values;
  }
  const bytes = new Uint8Array(source.byteLength);
  await readFileRange(source.path, bytes, source.offset, name);
  decodeRow(dtype, bytes, 0, count, values);
  return values;
}
