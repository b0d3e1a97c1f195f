/** A GGUF file of a model's shapes with random weights, under llama.cpp's names. */
import { writeGguf } from '@unicorn-exec/checkpoint';
import { dtypeLayout } from '@unicorn-exec/tensor';
import { Random, randomBlocks, randomFloats } from './random-weights.mjs';

const text = (value) => ({ type: 'string', value });
const u32 = (value) => ({ type: 'u32', value });
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
 * @param options.configuration metadata, as `configToGguf` makes it of `definition`
 * @param options.mixture one of `mixtureNames`
 */
export async function writeRandomGguf(path, { name, architecture, definition, configuration, mixture }) {
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
    ...configuration,
    ['general.name', text(`${name} (random weights)`)],
    ['general.file_type', u32(fileType)],
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
