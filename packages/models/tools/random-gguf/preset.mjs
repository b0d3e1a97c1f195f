/**
 * The shapes of published models, in the words of their `config.json` (what is equal to the defaults of a family stands
 * with the family). They say nothing of any weight.
 */
const llama = {
  model_type: 'llama',
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
};
const qwen2 = {
  model_type: 'qwen2',
  vocab_size: 151_936,
  hidden_act: 'silu',
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-6,
  rope_theta: 1_000_000,
  tie_word_embeddings: true,
};
const gemma3 = {
  model_type: 'gemma3_text',
  vocab_size: 262_208,
  hidden_activation: 'gelu_pytorch_tanh',
  max_position_embeddings: 131_072,
  head_dim: 256,
  query_pre_attn_scalar: 256,
  rms_norm_eps: 1e-6,
  rope_theta: 1_000_000,
  rope_local_base_freq: 10_000,
  rope_scaling: { rope_type: 'linear', factor: 8 },
  sliding_window: 1024,
};
/** The smallest two were made for 32,768 positions, without stretching. */
const smallGemma3 = {
  ...gemma3,
  vocab_size: 262_144,
  max_position_embeddings: 32_768,
  rope_scaling: undefined,
};

/** The gate is sparse in the first ten layers; every fifth layer sees everything. */
const gemma3n = ({ layers, sharing, width }) => ({
  model_type: 'gemma3n_text',
  vocab_size: 262_144,
  vocab_size_per_layer_input: 262_144,
  hidden_size: 2048,
  hidden_size_per_layer_input: 256,
  num_hidden_layers: layers,
  num_kv_shared_layers: sharing,
  intermediate_size: width,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  head_dim: 256,
  hidden_activation: 'gelu_pytorch_tanh',
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-6,
  rope_theta: 1_000_000,
  rope_local_base_freq: 10_000,
  sliding_window: 512,
  final_logit_softcapping: 30,
  activation_sparsity_pattern: Array.from({ length: layers }, (_, layer) => (layer < 10 ? 0.95 : 0)),
  altup_num_inputs: 4,
  laurel_rank: 64,
});

/** Dimensions in the order in which model cards list them. */
const shape = (layers, hidden, width, heads, kvHeads) => ({
  num_hidden_layers: layers,
  hidden_size: hidden,
  intermediate_size: width,
  num_attention_heads: heads,
  num_key_value_heads: kvHeads,
});

export const presets = {
  'smollm2-135m': {
    ...llama,
    ...shape(30, 576, 1536, 9, 3),
    vocab_size: 49_152,
    max_position_embeddings: 8192,
    rope_theta: 100_000,
  },
  'smollm3-3b': {
    ...llama,
    ...shape(36, 2048, 11_008, 16, 4),
    model_type: 'smollm3',
    vocab_size: 128_256,
    max_position_embeddings: 65_536,
    rms_norm_eps: 1e-6,
    rope_theta: 5_000_000,
  },
  'qwen2.5-0.5b': { ...qwen2, ...shape(24, 896, 4864, 14, 2) },
  'qwen2.5-1.5b': { ...qwen2, ...shape(28, 1536, 8960, 12, 2) },
  'qwen2.5-7b': {
    ...qwen2,
    ...shape(28, 3584, 18_944, 28, 4),
    vocab_size: 152_064,
    tie_word_embeddings: false,
  },
  'qwen3-0.6b': {
    ...qwen2,
    ...shape(28, 1024, 3072, 16, 8),
    model_type: 'qwen3',
    head_dim: 128,
    max_position_embeddings: 40_960,
  },
  'gemma3-270m': { ...smallGemma3, ...shape(18, 640, 2048, 4, 1), sliding_window: 512 },
  'gemma3-1b': { ...smallGemma3, ...shape(26, 1152, 6912, 4, 1), sliding_window: 512 },
  'gemma3-4b': { ...gemma3, ...shape(34, 2560, 10_240, 8, 4) },
  'gemma3-12b': { ...gemma3, ...shape(48, 3840, 15_360, 16, 8) },
  'gemma3-27b': { ...gemma3, ...shape(62, 5376, 21_504, 32, 16), head_dim: 128, query_pre_attn_scalar: 168 },
  'gemma3n-e2b': gemma3n({ layers: 30, sharing: 10, width: 8192 }),
  'gemma3n-e4b': gemma3n({ layers: 35, sharing: 15, width: 16_384 }),
};
