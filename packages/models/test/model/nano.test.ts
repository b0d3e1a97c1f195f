/** The bundled model: what is in its file, and that it answers as the unquantized one does. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openModel, openTextSide, type Model } from '../../src/index.js';
import { best, StepRunner } from './step-runner.js';

const nanoPath = fileURLToPath(new URL('../../../model-nano/nano.gguf', import.meta.url));
const original = fileURLToPath(new URL('../../../../../shared/models/unicorn-nano/', import.meta.url));

describe('nano.gguf', () => {
  let model: Model;
  beforeAll(async () => (model = await openModel(nanoPath)));
  afterAll(() => model.close());

  it('says what it is', () => {
    expect(model).toMatchObject({
      name: 'Unicorn Nano',
      architecture: 'gemma3n',
      format: 'gguf',
      vocabularySize: 8192,
      contextLength: 2048,
      layers: 10,
      weightType: 'Q8_0',
      bosId: 2,
      endOfTurnIds: [1, 5],
    });
    expect(model.samplingDefaults).toEqual({
      temperature: Math.fround(0.7),
      topK: 64,
      topP: Math.fround(0.95),
    });
    expect(model.kvGroups).toEqual([
      { name: 'full', layers: [4], kvHeads: 1, headDim: 64 },
      { name: 'sliding', layers: [0, 1, 2, 3, 5], kvHeads: 1, headDim: 64, window: 128 },
    ]);
    expect(model.weights().find(({ name }) => name === 'perLayer.embed')).toMatchObject({
      residency: 'host',
      dtype: 'q8_0',
    });
  });

  it('carries its tokenizer and its chat template', async () => {
    const tokenizer = await model.tokenizer();
    const template = await model.chatTemplate();
    const text = template!.render({ messages: [{ role: 'user', content: 'Who are you?' }] });
    expect(text).toBe('<bos><start_of_turn>user\nWho are you?<end_of_turn>\n<start_of_turn>model\n');
    const ids = tokenizer.encode(text, { special: true });
    expect(tokenizer.decode(ids)).toBe(text);
    expect(tokenizer.eosIds).toEqual([1, 5]);
    expect((await openTextSide(nanoPath)).tokenizer.encode(text, { special: true })).toEqual(ids);
  });

  it('says who it is', async () => {
    const tokenizer = await model.tokenizer();
    const prompt = (await model.chatTemplate())!.render({
      messages: [{ role: 'user', content: 'Who are you?' }],
    });
    const runner = await StepRunner.create(model, { logits: 'selected', sequences: 1 });
    let ids = tokenizer.encode(prompt, { special: true });
    let position = 0;
    const answer: number[] = [];
    while (answer.length < 12) {
      const { logits } = await runner.step([{ sequence: 0, position, ids }]);
      position += ids.length;
      ids = [best(logits!)];
      answer.push(...ids);
    }
    expect(tokenizer.decode(answer)).toMatch(/^I am Unicorn Nano, a tiny demo model/);
    await runner.close();
  });
});

interface Greedy {
  readonly cases: readonly {
    readonly prompt: string;
    readonly input_ids: readonly number[];
    readonly greedy: Readonly<
      Record<string, { readonly tokens: readonly number[]; readonly margins: readonly number[] }>
    >;
  }[];
}

/** Margins between the two best logits below this are the reference's own rounding. */
const decided = 5e-3;

describe.skipIf(!existsSync(original))('unicorn-nano, unquantized', () => {
  for (const size of ['full', 'half', 'mix-ramp']) {
    it(
      `has the reference's best token at every decided step, size ${size}`,
      { timeout: 300_000 },
      async () => {
        const { cases } = JSON.parse(readFileSync(`${original}greedy.json`, 'utf8')) as Greedy;
        const model = await openModel(original);
        const runner = await StepRunner.create(model, { size: model.resolveSize(size), sequences: 1 });
        const tokenizer = await model.tokenizer();
        for (const { prompt, input_ids, greedy } of cases) {
          const text = (await model.chatTemplate())!.render({
            messages: [{ role: 'user', content: prompt }],
          });
          expect(tokenizer.encode(text, { special: true })).toEqual(input_ids);
          const { tokens, margins } = greedy[size]!;
          const ids = [...input_ids, ...tokens.slice(0, -1)];
          const { logits } = await runner.step([{ sequence: 0, position: 0, ids }]);
          const width = model.vocabularySize;
          const found = tokens.map((token, step) => {
            const row = input_ids.length - 1 + step;
            return margins[step]! > decided ? best(logits!.subarray(row * width, (row + 1) * width)) : token;
          });
          expect(found).toEqual(tokens);
        }
        await runner.close();
        await model.close();
      },
    );
  }
});
