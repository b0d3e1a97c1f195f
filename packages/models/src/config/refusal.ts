/** Checkpoints that look like a model of ours, and would compute something else. */
import type { Weights } from '@unicorn-exec/checkpoint';
import { UnicornError } from '@unicorn-exec/tensor';
import type { ConfigFields } from './config-fields.js';

/**
 * Switches that change what a layer computes, with the values under which it computes what is built here. They are those
 * of the supported classes that are not implemented, and those of their descendants, whose files often keep the type of
 * the model that they began as.
 */
const switches: Readonly<Record<string, readonly unknown[]>> = {
  use_bidirectional_attention: [false],
  is_causal: [true],
  alibi: [false],
  use_alibi: [false],
  parallel_residual: [false],
  use_parallel_residual: [false],
  parallel_attn: [false],
  num_experts: [0, 1],
  num_local_experts: [0, 1],
  n_routed_experts: [0],
  enable_moe_block: [false],
  attention_chunk_size: [],
  no_rope_layers: [],
  no_rope_layer_interval: [],
  attention_multiplier: [],
  embedding_multiplier: [1],
  residual_multiplier: [1],
  logits_scaling: [1],
  logit_scale: [1],
  scale_emb: [1],
  scale_depth: [],
  dim_model_base: [],
  clip_qkv: [],
  attention_sinks: [false],
  rope_interleaved: [false],
};

/**
 * @param fields the text model's part of `config.json`
 * @param read switches that the architecture reads itself
 * @throws UnicornError `unsupported/config` naming the key
 */
export function refuseOtherMaths(fields: ConfigFields, read: readonly string[] = []): void {
  for (const [key, harmless] of Object.entries(switches)) {
    const value = fields.raw(key);
    if (value === undefined || harmless.includes(value) || read.includes(key)) continue;
    const values = harmless.length > 0 ? harmless.map(String).join(', ') : 'models without it';
    fields.unsupported(key, values);
  }
}

/** How the quantizers of Hugging Face checkpoints are called, by their `quant_method` or by what MLX writes. */
const quantizers: Readonly<Record<string, string>> = {
  gptq: 'GPTQ',
  awq: 'AWQ',
  bitsandbytes: 'bitsandbytes',
  fp8: 'FP8',
  fbgemm_fp8: 'FP8',
  'compressed-tensors': 'compressed-tensors',
  mxfp4: 'MXFP4',
  aqlm: 'AQLM',
  quanto: 'Quanto',
  hqq: 'HQQ',
  eetq: 'EETQ',
  torchao: 'torchao',
  quark: 'Quark',
  modelopt: 'ModelOpt',
  'auto-round': 'AutoRound',
};

/** What quantizers store beside, or instead of, a weight. */
const quantizedParts =
  /\.(qweight|qzeros|g_idx|scales|weight_scale(_inv)?|weight_scale_2|weight_packed|weight_zero_point|input_scale|weight\.(absmax|quant_map|quant_state\..*)|SCB)$/;

/**
 * @param root of `config.json`
 * @throws UnicornError `unsupported/quantization` naming the method, when weights are not plain numbers: a scale beside
 *   weights of an ordinary type would be ignored silently
 */
export function refuseQuantized(root: ConfigFields, weights: Weights): void {
  const method = methodOf(root);
  const part = weights.tensors.find(({ name }) => quantizedParts.test(name));
  if (method === undefined && !part) return;
  const named = method ?? 'a method that the configuration does not name';
  throw new UnicornError(
    'unsupported/quantization',
    `${weights.path}: the weights are quantized by ${named}, which is not read here.`,
    {
      fields: { file: weights.path, ...(method ? { method } : {}), ...(part ? { tensor: part.name } : {}) },
      fix: 'Use the original checkpoint in BF16, F16 or F32, or a GGUF file of the model, in whichever quantization.',
    },
  );
}

function methodOf(root: ConfigFields): string | undefined {
  const config =
    root.object('quantization_config') ?? root.object('text_config')?.object('quantization_config');
  if (config) {
    const given = config.raw('quant_method');
    const method =
      typeof given === 'string' ? given : config.raw('load_in_4bit') ? 'bitsandbytes' : 'unknown';
    return quantizers[method] ?? method.slice(0, 60);
  }
  return root.has('quantization') ? 'MLX' : undefined;
}
