/**
 * The weights of a plain decoder, one row each: our name, the shape, and the name in either kind of file. Names of
 * GGUF are those of llama.cpp's `gguf` package, names of Hugging Face those of its model classes.
 */
import { attentionShape, type DecoderConfig } from './decoder-config.js';

export interface WeightDeclaration {
  /** By which the graph knows it. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Without the model's prefix (`model.`), unless it lies beside the model. */
  readonly huggingFace: string;
  readonly gguf: string;
  /** GGUF stacks some families of matrices along a new first axis; this is one of them. */
  readonly ggufPart?: { readonly index: number; readonly count: number };
  /** Used where the file has it. */
  readonly optional?: boolean;
  /** The head lies beside the model, not inside it. */
  readonly beside?: boolean;
  readonly residency?: 'host';
}

/** Our name of a layer's weight. */
export function layerWeight(layer: number, part: string): string {
  return `layers.${layer}.${part}`;
}

/** The layer that a weight of ours belongs to; undefined for those of none. */
export function layerOfWeight(name: string): number | undefined {
  const digits = /^layers\.(\d+)\./.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** One layer's rows: part, shape, Hugging Face name, GGUF name. */
export type LayerRow = readonly [
  part: string,
  shape: readonly number[],
  huggingFace: string,
  gguf: string,
  options?: { readonly optional?: boolean },
];

export function declareLayer(layer: number, rows: readonly LayerRow[]): WeightDeclaration[] {
  return rows.map(([part, shape, huggingFace, gguf, options]) => ({
    name: layerWeight(layer, part),
    shape,
    huggingFace: `layers.${layer}.${huggingFace}`,
    gguf: `blk.${layer}.${gguf}`,
    ...options,
  }));
}

/** Embedding, final norm and head. */
export function rootWeights(config: DecoderConfig): WeightDeclaration[] {
  const { vocabularySize, hidden, tiedHead } = config;
  const table = [vocabularySize, hidden];
  const head = {
    name: 'head',
    shape: table,
    huggingFace: 'lm_head.weight',
    gguf: 'output.weight',
    beside: true,
  };
  return [
    { name: 'embed', shape: table, huggingFace: 'embed_tokens.weight', gguf: 'token_embd.weight' },
    { name: 'norm', shape: [hidden], huggingFace: 'norm.weight', gguf: 'output_norm.weight' },
    ...(tiedHead ? [] : [head]),
  ];
}

/** Attention and feed-forward of one layer. A layer that reads another's keys and values has no own here. */
export function decoderLayerRows(config: DecoderConfig, layer: number): LayerRow[] {
  const { hidden, queryKeyNorm, postNorms } = config;
  const { feedForward, kvSource, values = 'own' } = config.layers[layer]!;
  const { heads, kvHeads, headDim } = attentionShape(config, config.layers[layer]!);
  const [queries, keys] = [heads * headDim, kvHeads * headDim];
  const rows: LayerRow[] = [
    ['attention.norm', [hidden], 'input_layernorm.weight', 'attn_norm.weight'],
    ['attention.query', [queries, hidden], 'self_attn.q_proj.weight', 'attn_q.weight'],
    ['attention.query.bias', [queries], 'self_attn.q_proj.bias', 'attn_q.bias', { optional: true }],
    ['attention.output', [hidden, queries], 'self_attn.o_proj.weight', 'attn_output.weight'],
    ['attention.output.bias', [hidden], 'self_attn.o_proj.bias', 'attn_output.bias', { optional: true }],
    ['feedForward.gate', [feedForward, hidden], 'mlp.gate_proj.weight', 'ffn_gate.weight'],
    ['feedForward.gate.bias', [feedForward], 'mlp.gate_proj.bias', 'ffn_gate.bias', { optional: true }],
    ['feedForward.up', [feedForward, hidden], 'mlp.up_proj.weight', 'ffn_up.weight'],
    ['feedForward.up.bias', [feedForward], 'mlp.up_proj.bias', 'ffn_up.bias', { optional: true }],
    ['feedForward.down', [hidden, feedForward], 'mlp.down_proj.weight', 'ffn_down.weight'],
    ['feedForward.down.bias', [hidden], 'mlp.down_proj.bias', 'ffn_down.bias', { optional: true }],
  ];
  if (kvSource === undefined) {
    rows.push(
      ['attention.key', [keys, hidden], 'self_attn.k_proj.weight', 'attn_k.weight'],
      ['attention.key.bias', [keys], 'self_attn.k_proj.bias', 'attn_k.bias', { optional: true }],
    );
  }
  if (kvSource === undefined && values === 'own') {
    rows.push(
      ['attention.value', [keys, hidden], 'self_attn.v_proj.weight', 'attn_v.weight'],
      ['attention.value.bias', [keys], 'self_attn.v_proj.bias', 'attn_v.bias', { optional: true }],
    );
  }
  if (queryKeyNorm) {
    rows.push(['attention.queryNorm', [headDim], 'self_attn.q_norm.weight', 'attn_q_norm.weight']);
    if (kvSource === undefined) {
      rows.push(['attention.keyNorm', [headDim], 'self_attn.k_norm.weight', 'attn_k_norm.weight']);
    }
  }
  // Where there are norms after the parts too, Hugging Face calls the one after attention what others call the one before
  // the feed-forward.
  if (postNorms) {
    rows.push(
      ['attention.postNorm', [hidden], 'post_attention_layernorm.weight', 'post_attention_norm.weight'],
      ['feedForward.norm', [hidden], 'pre_feedforward_layernorm.weight', 'ffn_norm.weight'],
      ['feedForward.postNorm', [hidden], 'post_feedforward_layernorm.weight', 'post_ffw_norm.weight'],
    );
  } else {
    rows.push(['feedForward.norm', [hidden], 'post_attention_layernorm.weight', 'ffn_norm.weight']);
  }
  return rows;
}

export function decoderWeights(config: DecoderConfig): WeightDeclaration[] {
  return [
    ...rootWeights(config),
    ...config.layers.flatMap((_, layer) => declareLayer(layer, decoderLayerRows(config, layer))),
  ];
}
