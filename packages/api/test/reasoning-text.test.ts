/** Thinking apart from answers: the splitting itself, and a whole engine over a model that has the tokens. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelToGguf, openModel, tokenizerFromGguf, type Tokenizer } from '@unicorn-exec/models';
import { modelPath } from '@unicorn-exec/model-nano';
import { openGguf, writeGguf, type MetadataEntry } from '@unicorn-exec/checkpoint';
import { referenceBackend } from '@unicorn-exec/tensor';
import { Engine } from '../src/index.js';
import { ReasoningText } from '../src/answer/reasoning-text.js';
import { goldenModel } from './golden-model.js';

const list = (elementType: 'string' | 'f32' | 'i32', values: (string | number)[]): MetadataEntry => ({
  type: 'array',
  elementType,
  values,
});

/** All bytes, the space, and the two tokens at the end of a vocabulary of `size`: user-defined, as converters write them. */
function vocabulary(size: number): [string, MetadataEntry][] {
  const types = { normal: 1, unknown: 2, control: 3, userDefined: 4, byte: 6 };
  const entries: [string, number][] = [
    ['<unk>', types.unknown],
    ['</s>', types.control],
    ...Array.from({ length: 256 }, (_, byte): [string, number] => [
      `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
      types.byte,
    ]),
  ];
  entries.push(['\u2581', types.normal]);
  while (entries.length < size - 2) entries.push([`w${entries.length}`, types.normal]);
  entries.push(['<think>', types.userDefined], ['</think>', types.userDefined]);
  return [
    ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
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
    ['tokenizer.ggml.eos_token_id', { type: 'u32', value: 1 }],
    ['tokenizer.ggml.add_space_prefix', { type: 'bool', value: false }],
  ];
}

let directory: string;
let tokenizer: Tokenizer;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'unicorn-thinking-'));
  const path = join(directory, 'vocabulary.gguf');
  await writeGguf(path, { metadata: vocabulary(300), tensors: [] });
  const file = await openGguf(path);
  tokenizer = tokenizerFromGguf(file.metadata);
  await file.close();
});
afterAll(() => rm(directory, { recursive: true }));

/** What is shown of an output, token by token and together. */
function split(output: string, prompt = 'Hi', cut = Infinity): { text: string; reasoning: string } {
  const reader = new ReasoningText(tokenizer, tokenizer.encode(prompt));
  const pieces = tokenizer
    .encode(output)
    .slice(0, cut)
    .map((id) => reader.push(id));
  pieces.push(reader.end());
  for (const { text, reasoning } of pieces) expect(text === '' || reasoning === '').toBe(true);
  return {
    text: pieces.map(({ text }) => text).join(''),
    reasoning: pieces.map(({ reasoning }) => reasoning).join(''),
  };
}

describe('ReasoningText', () => {
  it('parts thinking from the answer, and drops the lines between them', () => {
    expect(split('<think>\nA fox,\n\nor two?\n</think>\n\nTwo foxes.\n')).toEqual({
      reasoning: 'A fox,\n\nor two?',
      text: 'Two foxes.\n',
    });
  });

  it('leaves an answer without thinking as it is', () => {
    expect(split(' Two foxes. ')).toEqual({ reasoning: '', text: ' Two foxes. ' });
    expect(split('<think>\n\n</think>\n\nTwo.')).toEqual({ reasoning: '', text: 'Two.' });
  });

  it('knows what the template has opened, or opened and closed, already', () => {
    expect(split('So.\n</think>\n\nTwo.', 'Hi<think>\n')).toEqual({ reasoning: 'So.', text: 'Two.' });
    expect(split('\nTwo.', 'Hi<think>\n\n</think>\n\n')).toEqual({ reasoning: '', text: 'Two.' });
  });

  it('is not misled by a user who writes of the tags', () => {
    expect(split('It opens.', 'What does <think> mean?')).toEqual({ reasoning: '', text: 'It opens.' });
  });

  it('thinks to the end where the answer is cut off', () => {
    expect(split('<think>\nHm, well', 'Hi', 6)).toEqual({ reasoning: 'Hm,', text: '' });
  });

  it('gives an unfinished character to the part that it began in', () => {
    const reader = new ReasoningText(tokenizer, []);
    const [open, close] = [tokenizer.idOf('<think>')!, tokenizer.idOf('</think>')!];
    const [first] = tokenizer.encode('é');
    expect([open, first!, close].map((id) => reader.push(id)).at(-1)).toEqual({
      text: '',
      reasoning: '\uFFFD',
    });
    expect(reader.push(tokenizer.encode('é')[0]!)).toEqual({ text: '', reasoning: '' });
    expect(reader.push(tokenizer.encode('é')[1]!)).toEqual({ text: 'é', reasoning: '' });
  });

  it('passes everything through where a vocabulary has no such tokens', async () => {
    const model = await openModel(modelPath);
    const nano = await model.tokenizer();
    const reader = new ReasoningText(nano, nano.encode('Hi <think>'));
    const pieces = nano.encode('<think> so </think> what').map((id) => reader.push(id));
    expect(pieces.map(({ text }) => text).join('') + reader.end().text).toBe('<think> so </think> what');
    await model.close();
  });
});

describe('an engine', () => {
  let engine: Engine;
  beforeAll(async () => {
    const source = await openModel(goldenModel('qwen3').path);
    const content = modelToGguf(source);
    const path = join(directory, 'qwen3.gguf');
    await writeGguf(path, {
      ...content,
      metadata: [...content.metadata, ...vocabulary(source.vocabularySize)],
    });
    await source.close();
    engine = await Engine.load({ model: path, backend: referenceBackend, context: 64 });
  });
  afterAll(() => engine.close());

  /** A model that always takes one of these ids. */
  async function answer(prompt: string, wanted: string): Promise<{ text: string; reasoning: string }> {
    let [text, reasoning] = ['', ''];
    const ids = await engine.tokenize(wanted);
    const logitBias = Object.fromEntries(ids.map((id) => [id, 100]));
    const request = {
      prompt,
      maxTokens: ids.length,
      sampling: { temperature: 0, logitBias },
      ignoreEnd: true,
    };
    for await (const chunk of engine.generate(request)) {
      text += chunk.text;
      reasoning += chunk.reasoning ?? '';
    }
    return { text, reasoning };
  }

  it('streams thinking beside the answer', async () => {
    expect(await answer('Hi<think>\n', 'aaaa')).toEqual({ text: '', reasoning: 'aaaa' });
    expect(await answer('Hi<think>\n</think>', 'aaaa')).toEqual({ text: 'aaaa', reasoning: '' });
    expect(await answer('Hi', 'aaaa')).toEqual({ text: 'aaaa', reasoning: '' });
  });
});
