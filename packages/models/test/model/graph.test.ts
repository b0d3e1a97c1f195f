/** Graphs as text: what a backend is handed. A change here is a change for every device. */
import { describe, expect, it } from 'vitest';
import { GraphBuilder, printGraph, type StepOptions } from '@unicorn-exec/tensor';
import type { ModelDefinition } from '../../src/index.js';
import { findHuggingFaceArchitecture } from '../../src/architecture/index.js';
import { ConfigFields } from '../../src/config/config-fields.js';
import { DecoderStep } from '../../src/decoder/decoder-step.js';

const common = {
  vocab_size: 32,
  hidden_size: 16,
  intermediate_size: 24,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 8,
  num_hidden_layers: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
};
const llama = { ...common, model_type: 'llama', hidden_act: 'silu', tie_word_embeddings: true };
const gemma3n = {
  ...common,
  model_type: 'gemma3n_text',
  num_hidden_layers: 3,
  hidden_activation: 'gelu_pytorch_tanh',
  layer_types: ['sliding_attention', 'full_attention', 'sliding_attention'],
  sliding_window: 4,
  num_kv_shared_layers: 1,
  activation_sparsity_pattern: [0.95, 0, 0],
  altup_num_inputs: 2,
  laurel_rank: 4,
  hidden_size_per_layer_input: 4,
  vocab_size_per_layer_input: 30,
};

function define(config: { model_type: string }): ModelDefinition {
  return findHuggingFaceArchitecture(config.model_type, 'config.json').fromHuggingFace(
    ConfigFields.fromJson('config.json', config),
  );
}

function print(config: { model_type: string }, options: Partial<StepOptions> = {}): string {
  const definition = define(config);
  const required = definition.weights.filter(({ optional }) => !optional);
  const specs = new Map(required.map(({ name, shape }) => [name, { dtype: 'f32' as const, shape }]));
  const builder = new GraphBuilder(config.model_type);
  const all = { kvDType: 'f16', blockTokens: 16, logits: 'selected', ...options } as const;
  definition.build(new DecoderStep(builder, definition.config, specs, all));
  return printGraph(builder.build());
}

describe('the graph of a step', () => {
  it('of Llama', () => {
    expect(print(llama)).toMatchSnapshot();
  });

  it('of Gemma 3n, narrowed before the layer that shares keys and values', () => {
    expect(print(gemma3n)).toMatchSnapshot();
  });

  it('of a nested size takes views of gate, up and down', () => {
    const text = print(gemma3n, { size: { feedForward: [8, 24, 16], skip: [] } });
    expect(text).toContain(
      'weight "layers.0.feedForward.gate" rows 0+8 columns 0+16 of f32[24, 16] : f32[8, 16]',
    );
    expect(text).toContain(
      'weight "layers.0.feedForward.down" rows 0+16 columns 0+8 of f32[16, 24] : f32[16, 8]',
    );
    expect(text).toContain('weight "layers.1.feedForward.gate" : f32[24, 16]');
    expect(text).toContain(
      'weight "layers.2.feedForward.up" rows 0+16 columns 0+16 of f32[24, 16] : f32[16, 16]',
    );
  });

  it('leaves out skipped layers', () => {
    const text = print(gemma3n, { size: { feedForward: [24, 24], skip: [1] } });
    expect(text).not.toContain('layers.1.');
    expect(text).not.toContain('"kv.1"');
    expect(text).toContain('"kv.0"');
  });

  it('without logits ends with the last keys and values', () => {
    const text = print(gemma3n, { logits: 'none' });
    expect(text).not.toContain('layers.2.');
    expect(text).not.toContain('layers.1.feedForward');
    expect(text).not.toContain('layers.1.attention.query');
    expect(text).not.toContain('input "rows"');
    expect(text.trimEnd().split('\n').at(-1)).toContain('kvWrite');
  });

  it('with hidden states outputs the embedding and every layer, of all rows', () => {
    const text = print(gemma3n, { hidden: true });
    expect(text).toMatch(/output "hidden\.0"/);
    expect(text).toMatch(/output "hidden\.3"/);
    expect(text).not.toContain('input "rowStarts"');
    expect(print(gemma3n, { logits: 'all' })).not.toContain('input "rows"');
  });

  it('puts given rows in the place of embeddings and passes on how far tokens see', () => {
    const text = print(gemma3n, { given: true, reach: true });
    expect(text).toContain('input "given" : f32[given, 16]');
    expect(text).toContain('input "givenRows" : i32[given]');
    expect(text).toMatch(/ = putRows\(.*\) : f32\[tokens, 16\] @embedding/);
    // The narrowed layer takes its own rows' reach.
    const calls = text.split('\n').filter((line) => line.includes('= attention('));
    expect(calls).toHaveLength(3);
    for (const call of calls) expect(call).toContain('reach: %');
    expect(text).toMatch(/takeRows\(.*\) \{axis: 0\} : i32\[outputs\] @layer\.2\.attention/);
  });

  it('refuses a size that does not fit', () => {
    expect(() => print(gemma3n, { size: { feedForward: [24], skip: [] } })).toThrow(/1 widths for 3/);
    expect(() => print(gemma3n, { size: { feedForward: [24, 24], skip: [0] } })).toThrow(
      /Layer 0 cannot be left out: layer 2 reads/,
    );
  });
});
