/** Heads with more rows than the vocabulary has tokens: on every backend no answer holds an id that no token has. */
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeGguf, type MetadataEntry } from '@unicorn-exec/checkpoint';
import { modelToGguf, openModel } from '@unicorn-exec/models';
import { encodeTensor } from '@unicorn-exec/quant';
import { Engine, type GenerateRequest } from '../src/index.js';
import { evaluate } from '../src/measure/index.js';
import { goldenModel } from './golden-model.js';
import { argmax, backends } from './shared.js';

const golden = goldenModel('qwen3');
const rows = 269;
const count = 201;
const hasToken = (id: number): boolean => id < count && id % 5 !== 3;
const ids = Array.from({ length: rows }, (_, id) => id);
const spelling = (id: number): string => `<${id}>`;

const folder = mkdtempSync(join(tmpdir(), 'unicorn-sampled-'));
const file = join(folder, 'padded.gguf');
afterAll(() => rmSync(folder, { recursive: true }));

beforeAll(async () => {
  for (const name of ['config.json', 'model.safetensors'])
    copyFileSync(join(golden.path, name), join(folder, name));
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, use_regex: true };
  const vocab = Object.fromEntries(ids.filter(hasToken).map((id) => [spelling(id), id]));
  writeFileSync(
    join(folder, 'tokenizer.json'),
    JSON.stringify({
      pre_tokenizer: byteLevel,
      decoder: byteLevel,
      model: { type: 'BPE', vocab, merges: [] },
    }),
  );
  const model = await openModel(folder);
  const { metadata, tensors } = modelToGguf(model, {
    dtypeOf: ({ shape }) => (shape.length > 1 && shape.at(-1)! % 32 === 0 ? 'q8_0' : 'f32'),
    encode: (dtype, values) => encodeTensor(dtype, values),
  });
  const text = (value: string): MetadataEntry => ({ type: 'string', value });
  const tokens = ids.map((id) => (hasToken(id) ? spelling(id) : `[PAD${id}]`));
  await writeGguf(file, {
    metadata: [
      ...metadata,
      ['tokenizer.ggml.model', text('gpt2')],
      ['tokenizer.ggml.pre', text('qwen2')],
      ['tokenizer.ggml.tokens', { type: 'array', elementType: 'string', values: tokens }],
      [
        'tokenizer.ggml.token_type',
        { type: 'array', elementType: 'i32', values: ids.map((id) => (hasToken(id) ? 1 : 5)) },
      ],
      ['tokenizer.ggml.merges', { type: 'array', elementType: 'string', values: [] }],
    ],
    tensors,
  });
  await model.close();
});

const prompt = [1, 7, 250, 40, 9];
const maxTokens = 24;

async function tokensOf(engine: Engine, request: Partial<GenerateRequest>): Promise<number[]> {
  const tokens: number[] = [];
  for await (const chunk of engine.generate({ tokens: prompt, maxTokens, ...request })) {
    tokens.push(...chunk.tokens);
    if (chunk.finishReason) expect(chunk.finishReason).toBe('length');
  }
  expect(tokens).toHaveLength(maxTokens);
  return tokens;
}

describe.each(backends.filter(({ usable }) => usable))('a padded head on $name', ({ backend }) => {
  it.each(['directory', 'GGUF'])('chooses the best of the tokens that there are: %s', async (kind) => {
    const model = kind === 'GGUF' ? file : folder;
    const engine = await Engine.load({ model, backend, context: 64, precision: 'f32' });
    try {
      const tokens = await tokensOf(engine, { sampling: { temperature: 0 } });
      const [result] = await evaluate(engine, [[...prompt, ...tokens]], {});
      const logits = result!.get('logits')!;
      const of = (position: number): Float32Array =>
        logits.data
          .slice(position * rows, (position + 1) * rows)
          .map((logit, id) => (hasToken(id) ? logit : -Infinity));
      expect(tokens).toEqual(tokens.map((_, index) => argmax(of(prompt.length + index - 1))));
      const sampling = { temperature: 2, topK: 0, topP: 1, minP: 0, seed: 3 };
      expect((await tokensOf(engine, { sampling })).every(hasToken)).toBe(true);
      expect((await tokensOf(engine, { sampling, speculation: { draft: 'ngram' } })).every(hasToken)).toBe(
        true,
      );
    } finally {
      await engine.close();
    }
  });
});
