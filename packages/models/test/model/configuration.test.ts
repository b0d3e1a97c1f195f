/**
 * What a configuration means, against the configuration classes of Hugging Face transformers: every key left out alone,
 * all of them, and rope in each of its spellings. `tools/configuration-goldens.py` makes the golden.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { architectures, findHuggingFaceArchitecture } from '../../src/architecture/index.js';
import { ConfigFields } from '../../src/config/config-fields.js';
import type { DecoderConfig } from '../../src/decoder/decoder-config.js';
import { normalQuantile } from '../../src/normal-quantile.js';

interface Golden {
  readonly transformers: string;
  readonly cases: readonly {
    readonly name: string;
    readonly config: Record<string, unknown> & { readonly model_type: string };
    /** By the names of transformers. Absent where it refuses. */
    readonly expected?: Record<string, unknown> & {
      readonly rope: Record<string, { readonly frequencies: number[]; readonly magnitude: number }>;
    };
  }[];
}

const golden = JSON.parse(
  readFileSync(new URL('../goldens/configurations.json', import.meta.url), 'utf8'),
) as Golden;

const activations: Record<string, string> = { silu: 'silu', gelu_pytorch_tanh: 'geluTanh' };
const kinds: Record<string, string> = { full: 'full_attention', sliding: 'sliding_attention' };

/** A share of the gate to drop, as the layer's configuration has it. */
function deviations(share: number): number | undefined {
  return share > 0 ? Math.fround(normalQuantile(Math.fround(share))) : undefined;
}

/** Our number for each key of theirs, in their form. */
const ours: Record<string, (config: DecoderConfig & Record<string, unknown>) => unknown> = {
  vocab_size: (config) => config.vocabularySize,
  hidden_size: (config) => config.hidden,
  num_hidden_layers: (config) => config.layers.length,
  num_attention_heads: (config) => config.heads,
  num_key_value_heads: (config) => config.kvHeads,
  head_dim: (config) => config.headDim,
  rms_norm_eps: (config) => config.normEpsilon,
  hidden_act: (config) => config.activation,
  hidden_activation: (config) => config.activation,
  tie_word_embeddings: (config) => config.tiedHead,
  sliding_window: (config) => config.window ?? null,
  layer_types: (config) => config.layers.map(({ attention }) => kinds[attention]),
  no_rope_layers: (config) => config.layers.map(({ rope }) => (rope === 'none' ? 0 : 1)),
  intermediate_size: (config) => config.layers.map(({ feedForward }) => feedForward),
  query_pre_attn_scalar: (config) => Math.round(config.attentionScale ** -2),
  attn_logit_softcapping: (config) => config.attentionSoftcap ?? null,
  final_logit_softcapping: (config) => config.logitSoftcap ?? null,
  num_kv_shared_layers: (config) => config.layers.filter(({ kvSource }) => kvSource !== undefined).length,
  laurel_rank: (config) => config.laurelRank,
  hidden_size_per_layer_input: (config) => config.perLayerFeatures,
  vocab_size_per_layer_input: (config) => config.perLayerVocabulary,
  altup_num_inputs: (config) => config.streams,
  altup_active_idx: (config) => config.activeStream,
  altup_correct_scale: (config) => config.correctScale,
  activation_sparsity_pattern: (config) => config.layers.map(({ sparsityDeviations }) => sparsityDeviations),
};

const theirs: Record<string, (value: never, layers: number) => unknown> = {
  hidden_act: (value: string) => activations[value],
  hidden_activation: (value: string) => activations[value],
  intermediate_size: (value: number | number[], layers: number) =>
    Array.isArray(value) ? value : new Array<number>(layers).fill(value),
  activation_sparsity_pattern: (value: number[]) => value.map(deviations),
};

describe(`configurations as transformers ${golden.transformers} reads them`, () => {
  for (const { name, config, expected } of golden.cases) {
    it.skipIf(!expected)(name, () => {
      const { model_type: type } = config;
      const definition = findHuggingFaceArchitecture(type, 'config.json').fromHuggingFace(
        ConfigFields.fromJson('config.json', config),
      );
      const read = definition.config as DecoderConfig & Record<string, unknown>;
      for (const [key, value] of Object.entries(expected!)) {
        const form = theirs[key] as ((value: unknown, layers: number) => unknown) | undefined;
        const own = ours[key];
        if (own) expect(own(read), key).toEqual(form ? form(value, read.layers.length) : value);
      }
      for (const [kind, { frequencies, magnitude }] of Object.entries(expected!.rope)) {
        const rope = read.ropes[kind as keyof typeof read.ropes];
        expect(rope.frequencies.length).toBe(frequencies.length);
        // They round powers of theta as libm does; a bit of f32 is 6e-8 of the value.
        frequencies.forEach((frequency, pair) =>
          expect(Math.abs(rope.frequencies[pair]! / frequency - 1), `pair ${pair}`).toBeLessThan(2.5e-7),
        );
        expect(rope.magnitude).toBeCloseTo(magnitude, 6);
      }
    });
  }

  it('asked about every architecture', () => {
    const types = new Set(golden.cases.map(({ config }) => config.model_type));
    const asked = ({ huggingFaceTypes }: (typeof architectures)[number]): boolean =>
      huggingFaceTypes.some((type) => types.has(type));
    expect(architectures.filter((one) => !asked(one)).map(({ id }) => id)).toEqual([]);
  });

  it('compares every key that the golden has', () => {
    const apart = ['rope', 'max_position_embeddings'];
    const keys = new Set(golden.cases.flatMap(({ expected }) => Object.keys(expected ?? {})));
    expect([...keys].filter((key) => !ours[key] && !apart.includes(key))).toEqual([]);
  });
});

describe('the context', () => {
  const contextOf = (change: object): number => {
    const { config } = golden.cases.find(({ name }) => name === 'qwen3: everything')!;
    const fields = ConfigFields.fromJson('config.json', { ...config, ...change });
    return findHuggingFaceArchitecture('qwen3', 'config.json').fromHuggingFace(fields).config.contextLength;
  };

  it('is as long as YaRN stretches it', () => {
    const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 4096 };
    expect(contextOf({})).toBe(4096);
    expect(contextOf({ rope_scaling: yarn })).toBe(16_384);
    expect(contextOf({ rope_scaling: yarn, max_position_embeddings: 40_960 })).toBe(40_960);
    expect(contextOf({ rope_parameters: { ...yarn, rope_theta: 1e6 } })).toBe(16_384);
  });

  it('is the one of the file under every other scaling', () => {
    expect(contextOf({ rope_scaling: { rope_type: 'linear', factor: 8 } })).toBe(4096);
  });
});
