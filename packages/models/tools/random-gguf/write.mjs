/** A GGUF file of a model's shapes with random weights, under llama.cpp's names. */
import { dtypeLayout, writeGguf } from '@unicorn-exec/quant';
import { Random, randomBlocks, randomFloats } from './random-weights.mjs';

const text = (value) => ({ type: 'string', value });
const u32 = (value) => ({ type: 'u32', value });
const f32 = (value) => ({ type: 'f32', value });
const list = (elementType, values) => ({ type: 'array', elementType, values });

/** What llama.cpp's quantizer makes of a model for each name: matrices, and the embeddings and the head. */
const mixtures = {
  Q4_0: { matrix: 'q4_0', table: 'q6_k', fileType: 2 },
  Q8_0: { matrix: 'q8_0', table: 'q8_0', fileType: 7 },
  Q4_K: { matrix: 'q4_k', table: 'q6_k', fileType: 15 },
};
export const mixtureNames = Object.keys(mixtures);

/** Below this many rows a matrix is left in f32, as AltUp's are. */
const quantizedRowsMin = 32;

/**
 * @param options.source the `config.json` that `definition` was made of
 * @param options.mixture one of `mixtureNames`
 */
export async function writeRandomGguf(path, { name, architecture, definition, source, mixture }) {
  const { matrix, table, fileType } = mixtures[mixture];
  const random = new Random(7);
  const tensors = tensorsOf(definition, architecture).map(({ name: tensor, shape }) => {
    const elements = shape.reduce((product, dim) => product * dim, 1);
    if (shape.length === 1 || shape.at(-2) < quantizedRowsMin) {
      const mean = /norm/.test(tensor) ? 1 : 0;
      return { name: tensor, dtype: 'f32', shape, data: () => randomFloats(elements, mean, random) };
    }
    const wanted = /^(token_embd|output)\./.test(tensor) ? table : matrix;
    // Rows that no super-block divides take blocks of 32, as the quantizer does it.
    const dtype = shape.at(-1) % dtypeLayout(wanted).blockSize === 0 ? wanted : 'q8_0';
    return { name: tensor, dtype, shape, data: () => randomBlocks(dtype, elements, random) };
  });
  const metadata = [
    ['general.architecture', text(architecture)],
    ['general.name', text(`${name} (random weights)`)],
    ['general.file_type', u32(fileType)],
    ...Object.entries(configuration(definition.config, source)).map(([key, entry]) => [
      `${architecture}.${key}`,
      entry,
    ]),
    ...tokenizer(definition.config.vocabularySize),
  ];
  await writeGguf(path, { metadata, tensors });
}

/** Name and shape of each tensor: stacks joined; biases where the architecture has them. */
function tensorsOf({ weights }, architecture) {
  const biased = architecture === 'qwen2' ? /attn_[qkv]\.bias$/ : /(?!)/;
  const tensors = new Map();
  for (const { gguf, shape, ggufPart, optional } of weights) {
    if (optional && !biased.test(gguf)) continue;
    tensors.set(gguf, { name: gguf, shape: ggufPart ? [ggufPart.count, ...shape] : shape });
  }
  return [...tensors.values()];
}

function configuration(config, source) {
  const { layers, attentionScale, headDim } = config;
  const widths = layers.map(({ feedForward }) => feedForward);
  const sharing = layers.filter(({ kvSource }) => kvSource !== undefined).length;
  const scaling = source.rope_scaling;
  return {
    context_length: u32(config.contextLength),
    embedding_length: u32(config.hidden),
    block_count: u32(layers.length),
    feed_forward_length: new Set(widths).size === 1 ? u32(widths[0]) : list('u32', widths),
    'attention.head_count': u32(config.heads),
    'attention.head_count_kv': u32(config.kvHeads),
    'attention.key_length': u32(headDim),
    'attention.value_length': u32(headDim),
    'attention.layer_norm_rms_epsilon': f32(config.normEpsilon),
    'rope.freq_base': f32(source.rope_theta),
    ...(scaling && {
      'rope.scaling.type': text(scaling.rope_type),
      'rope.scaling.factor': f32(scaling.factor),
    }),
    ...(config.window && { 'attention.sliding_window': u32(config.window) }),
    ...(config.logitSoftcap && { final_logit_softcapping: f32(config.logitSoftcap) }),
    ...(attentionScale !== headDim ** -0.5 && { 'attention.scale': f32(attentionScale) }),
    ...(config.streams && {
      'attention.sliding_window_pattern': list(
        'bool',
        layers.map(({ attention }) => attention === 'sliding'),
      ),
      'attention.shared_kv_layers': u32(sharing),
      'altup.num_inputs': u32(config.streams),
      'altup.active_idx': u32(config.activeStream),
      embedding_length_per_layer_input: u32(config.perLayerFeatures),
      activation_sparsity_scale: list(
        'f32',
        layers.map(({ sparsityDeviations }) => sparsityDeviations ?? -Infinity),
      ),
    }),
  };
}

/** A SentencePiece-like vocabulary of the real size: control tokens, all bytes, and fillers that no text contains. */
function tokenizer(size) {
  const types = { normal: 1, unknown: 2, control: 3, byte: 6 };
  const entries = [
    ['<unk>', types.unknown],
    ['<s>', types.control],
    ['</s>', types.control],
    ...Array.from({ length: 256 }, (_, byte) => [
      `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
      types.byte,
    ]),
  ];
  while (entries.length < size) entries.push([`\u2581w${entries.length}`, types.normal]);
  return [
    ['tokenizer.ggml.model', text('llama')],
    [
      'tokenizer.ggml.tokens',
      list(
        'string',
        entries.map(([token]) => token),
      ),
    ],
    [
      'tokenizer.ggml.scores',
      list(
        'f32',
        entries.map((_, id) => -id),
      ),
    ],
    [
      'tokenizer.ggml.token_type',
      list(
        'i32',
        entries.map(([, type]) => type),
      ),
    ],
    ['tokenizer.ggml.bos_token_id', u32(1)],
    ['tokenizer.ggml.eos_token_id', u32(2)],
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: true }],
  ];
}
