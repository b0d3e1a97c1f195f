/**
 * Makes the bundled model: Unicorn Nano's Hugging Face directory as one GGUF file.
 *
 *     node packages/models/tools/make-nano.mjs DIRECTORY [packages/model-nano/nano.gguf]
 *
 * Needs built packages (`npm run build`). Matrices become Q8_0 (a row of 320 takes blocks of 32 only), norms and the
 * small matrices of AltUp stay f32. The metadata is llama.cpp's for this architecture, and ours for nested sizes; it is
 * written out here rather than taken from `modelToGguf`, whose order of keys would be another and so the file's hash.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeGguf } from '@unicorn-exec/checkpoint';
import { encodeTensor } from '@unicorn-exec/quant';
import { matformerKeys, modelToGguf, openModel, tokenizerToGguf } from '../dist/index.js';

const q8Columns = 32;
/** Below this many rows a matrix is a few kilobytes: AltUp's, where precision is worth more than bytes. */
const q8RowsMin = 32;
/** llama.cpp's LLAMA_FTYPE_MOSTLY_Q8_0. */
const fileTypeQ8 = 7;

const text = (value) => ({ type: 'string', value });
const u32 = (value) => ({ type: 'u32', value });
const f32 = (value) => ({ type: 'f32', value });
const list = (elementType, values) => ({ type: 'array', elementType, values });

const [directory, output = fileURLToPath(new URL('../../model-nano/nano.gguf', import.meta.url))] =
  process.argv.slice(2);
if (!directory) {
  console.error('usage: node make-nano.mjs DIRECTORY [OUT.gguf]');
  process.exit(2);
}
const json = async (name) => JSON.parse(await readFile(join(directory, name), 'utf8'));
const model = await openModel(directory);
const { tensors } = modelToGguf(model, { dtypeOf, encode: encodeTensor });
await writeGguf(output, { metadata: await describe(model), tensors });
await model.close();
console.log(`${output}: ${tensors.length} tensors`);

async function describe({ definition: { config }, sizes, samplingDefaults, endOfTurnIds }) {
  const source = await json('config.json');
  const { layers } = config;
  const arch = 'gemma3n';
  const rope = source.rope_parameters;
  const metadata = new Map([
    ['general.architecture', text(arch)],
    ['general.type', text('model')],
    ['general.name', text('Unicorn Nano')],
    ['general.size_label', text('23M')],
    ['general.license', text('apache-2.0')],
    ['general.languages', list('string', ['en'])],
    ['general.file_type', u32(fileTypeQ8)],
    ['general.quantization_version', u32(2)],
    ['general.sampling.temp', f32(samplingDefaults.temperature)],
    ['general.sampling.top_k', { type: 'i32', value: samplingDefaults.topK }],
    ['general.sampling.top_p', f32(samplingDefaults.topP)],
    [`${arch}.vocab_size`, u32(config.vocabularySize)],
    [`${arch}.context_length`, u32(config.contextLength)],
    [`${arch}.embedding_length`, u32(config.hidden)],
    [`${arch}.block_count`, u32(layers.length)],
    [
      `${arch}.feed_forward_length`,
      list(
        'u32',
        layers.map(({ feedForward }) => feedForward),
      ),
    ],
    [`${arch}.attention.head_count`, u32(config.heads)],
    [`${arch}.attention.head_count_kv`, u32(config.kvHeads)],
    [`${arch}.attention.key_length`, u32(config.headDim)],
    [`${arch}.attention.value_length`, u32(config.headDim)],
    [`${arch}.attention.layer_norm_rms_epsilon`, f32(config.normEpsilon)],
    [`${arch}.attention.sliding_window`, u32(config.window)],
    [
      `${arch}.attention.sliding_window_pattern`,
      list(
        'bool',
        layers.map(({ attention }) => attention === 'sliding'),
      ),
    ],
    [
      `${arch}.attention.shared_kv_layers`,
      u32(layers.filter(({ kvSource }) => kvSource !== undefined).length),
    ],
    [`${arch}.rope.freq_base`, f32(rope.full_attention.rope_theta)],
    [`${arch}.rope.freq_base_swa`, f32(rope.sliding_attention.rope_theta)],
    [`${arch}.final_logit_softcapping`, f32(config.logitSoftcap)],
    [`${arch}.altup.active_idx`, u32(config.activeStream)],
    [`${arch}.altup.num_inputs`, u32(config.streams)],
    [`${arch}.embedding_length_per_layer_input`, u32(config.perLayerFeatures)],
    [
      `${arch}.activation_sparsity_scale`,
      list(
        'f32',
        layers.map(({ sparsityDeviations }) => sparsityDeviations ?? -Infinity),
      ),
    ],
    [
      matformerKeys.names,
      list(
        'string',
        sizes.map(({ name }) => name),
      ),
    ],
  ]);
  for (const { name, feedForward, skip } of sizes) {
    metadata.set(matformerKeys.widths(name), list('u32', feedForward));
    if (skip.length > 0) metadata.set(matformerKeys.skip(name), list('u32', skip));
  }
  const tokenizer = tokenizerToGguf(await json('tokenizer.json'), await json('tokenizer_config.json'));
  for (const [key, entry] of tokenizer) metadata.set(key, entry);
  const [endOfText, endOfTurn] = endOfTurnIds;
  metadata.set('tokenizer.ggml.eos_token_id', u32(endOfText));
  metadata.set('tokenizer.ggml.eot_token_id', u32(endOfTurn));
  return metadata;
}

function dtypeOf({ shape }) {
  const isLarge = shape.length > 1 && shape.at(-2) >= q8RowsMin && shape.at(-1) % q8Columns === 0;
  return isLarge ? 'q8_0' : 'f32';
}
