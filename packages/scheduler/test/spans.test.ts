/** Rows that are given instead of embedded: never cut by a chunk, told apart by their keys, on the reference backend. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Scheduler, type GenerateRequest, type PromptSpan, type SchedulerOptions } from '../src/index.js';
import { nullBench } from './null-bench.js';
import { answer, promptOf } from './toy-answer.js';
import { randomNumbers, ToyModel, toyBench, type Bench } from './toy-model.js';
import { twoPhaseBench } from './two-phase.js';

const greedy = { temperature: 0 };
const features = 8;

/** Rows of some image, other ones for each `seed`. */
function imageRows(tokens: number, seed: number): Float32Array {
  const random = randomNumbers(seed);
  return Float32Array.from({ length: tokens * features }, () => (random() - 0.5) * 4);
}

/** Text, an image of nine tokens with the same placeholder ids whatever it shows, and text. */
function withImage(image: number, options: Partial<PromptSpan> = {}): GenerateRequest {
  const span = { begin: 4, end: 13, key: `image ${image}`, rows: imageRows(9, image), ...options };
  const tokens = [...promptOf(4), ...Array<number>(9).fill(0), ...promptOf(6, 1)];
  return { tokens, spans: [span], maxTokens: 12, sampling: greedy };
}

describe('spans of a prompt', () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await toyBench(new ToyModel([undefined, 5]));
  });
  afterAll(() => bench.device.close());

  const withScheduler = async <T>(
    options: Partial<SchedulerOptions>,
    use: (scheduler: Scheduler) => Promise<T>,
    on = bench,
  ): Promise<T> => {
    const scheduler = await Scheduler.create({ ...on, kvDType: 'f32', blockTokens: 4, ...options });
    const result = await use(scheduler);
    scheduler.checkIntegrity();
    await scheduler.close();
    return result;
  };

  const alone = (request: GenerateRequest): Promise<number[]> =>
    withScheduler({}, async (scheduler) => (await answer(scheduler, { ...request, reuse: 'none' })).tokens);

  it('takes given rows as it takes embeddings', async () => {
    const ids = promptOf(9, 4);
    const { model } = bench;
    const table = model.weights.find(({ name }) => name === 'embed')!.source;
    if (table.kind !== 'bytes') throw new Error('the toy keeps its weights in memory');
    const embeddings = new Float32Array(table.bytes.buffer);
    const rows = Float32Array.from(
      ids.flatMap((id) => [...embeddings.subarray(id * features, (id + 1) * features)]),
    );
    const given = withImage(1, { rows });
    const { spans: _, ...embedded } = given;
    const tokens = [...(given.tokens as number[])];
    tokens.splice(4, 9, ...ids);
    expect(await alone(given)).toEqual(await alone({ ...embedded, tokens }));
    expect(await alone(given)).not.toEqual(await alone(embedded));
  });

  it('gives the same tokens in every chunking and company, also where a span sees all of itself', async () => {
    const requests = [
      withImage(1),
      withImage(2, { twoWay: true }),
      { tokens: promptOf(15, 2), maxTokens: 12, sampling: greedy },
      withImage(3),
      withImage(1, { twoWay: true, key: 'two-way' }),
    ];
    const expected: number[][] = [];
    for (const request of requests) expected.push(await alone(request));
    for (const prefillChunk of [9, 10, 17, 512]) {
      await withScheduler({ maxSequences: 3, kvTokens: 288, prefillChunk }, async (scheduler) => {
        for (let again = 0; again < 2; again++) {
          const answers = await Promise.all(requests.map((request) => answer(scheduler, request)));
          expect(answers.map(({ tokens }) => tokens)).toEqual(expected);
        }
      });
    }
  });

  it('tells images apart by their keys, not by their placeholders', async () => {
    const first = withImage(1);
    const second = withImage(2);
    const expected = [await alone(first), await alone(second)];
    expect(expected[0]).not.toEqual(expected[1]);
    const own = await toyBench(new ToyModel([undefined, undefined]));
    await withScheduler(
      { kvTokens: 192 },
      async (scheduler) => {
        const cached = async (request: GenerateRequest): Promise<number> =>
          (await answer(scheduler, request)).end.usage.cachedPromptTokens;
        expect(await cached(first)).toBe(0);
        // The block of the text before it, and nothing of the image.
        expect(await cached(second)).toBe(4);
        expect(await cached(first)).toBe(16);
        const { tokens } = await answer(scheduler, first);
        const turn = { ...first, tokens: [...(first.tokens as number[]), ...tokens, 3, 4] };
        expect(await cached(turn)).toBe(19 + 11);
      },
      own,
    );
    await own.device.close();
    await withScheduler({ kvTokens: 192 }, async (scheduler) => {
      for (const [index, request] of [first, second, first, second].entries()) {
        expect((await answer(scheduler, request)).tokens).toEqual(expected[index % 2]);
      }
    });
  });

  it('scores with given rows', async () => {
    const { tokens } = withImage(2);
    const score = (prefillChunk: number, twoWay = true): Promise<Float32Array> =>
      withScheduler({ prefillChunk, maxSequences: 2, kvTokens: 192 }, async (scheduler) => {
        const given = { logits: 'all' as const, spans: [[], withImage(2, { twoWay }).spans!] };
        const [, result] = await scheduler.forward([promptOf(7), tokens], given);
        return result!.logits!;
      });
    expect(await score(9)).toEqual(await score(512));
    expect(await score(9, false)).not.toEqual(await score(9));
  });

  it('computes them where phases differ', async () => {
    const requests = [
      withImage(1),
      withImage(2, { twoWay: true }),
      { ...withImage(3), tokens: withImage(3).tokens },
    ];
    const two = await twoPhaseBench();
    const one = async (request: GenerateRequest): Promise<number[]> =>
      withScheduler({}, async (scheduler) => (await answer(scheduler, request)).tokens, two);
    const expected: number[][] = [];
    for (const request of requests) expected.push(await one(request));
    await withScheduler(
      { maxSequences: 3, kvTokens: 60, prefillChunk: 11 },
      async (scheduler) => {
        const answers = await Promise.all(requests.map((request) => answer(scheduler, request)));
        expect(answers.map(({ tokens }) => tokens)).toEqual(expected);
      },
      two,
    );
    await two.device.close();
  });

  it('never cuts one, whatever else is in the step', async () => {
    const { scheduler, seen } = await nullBench({ maxSequences: 3, kvTokens: 288, prefillChunk: 10 });
    const speculation = { draft: 'ngram' as const, adaptive: false };
    const ids = [3, 4, 3, 4, 3, 4, 3];
    await Promise.all([
      answer(scheduler, { tokens: ids, maxTokens: 40, speculation, reuse: 'none' }),
      answer(scheduler, withImage(1)),
      answer(scheduler, withImage(2, { twoWay: true })),
    ]);
    let whole = 0;
    for (const { inputs } of seen) {
      for (let row = 0; row < (inputs.givenRows?.length ?? 0); row += 9) {
        const first = inputs.givenRows![row]!;
        expect(inputs.positions!.slice(first, first + 9)).toEqual([4, 5, 6, 7, 8, 9, 10, 11, 12]);
        whole++;
      }
      for (const [row, reach] of (inputs.reach ?? []).entries()) {
        const position = inputs.positions![row]!;
        const isTwoWay = reach !== position;
        if (isTwoWay) expect([position >= 4 && position < 13, reach]).toEqual([true, 12]);
      }
    }
    expect(whole).toBe(2);
    await scheduler.close();
  });

  it('refuses spans that make no sense, with the facts', async () => {
    await withScheduler({ prefillChunk: 12 }, async (scheduler) => {
      const refused = (spans: readonly unknown[]): unknown => {
        try {
          void scheduler.generate({ ...withImage(1), spans: spans as PromptSpan[] });
        } catch (error) {
          return error;
        }
        return 'accepted';
      };
      const usage = { code: 'usage/span' };
      expect(refused([{ begin: 3, end: 3, key: 'a' }])).toMatchObject(usage);
      expect(refused([{ begin: -1, end: 3, key: 'a' }])).toMatchObject(usage);
      expect(refused([{ begin: 0.5, end: 3, key: 'a' }])).toMatchObject(usage);
      expect(refused([{ begin: 0, end: 3 }])).toMatchObject(usage);
      expect(refused([{ begin: 15, end: 20, key: 'a' }])).toMatchObject(usage);
      expect(
        refused([
          { begin: 4, end: 8, key: 'a' },
          { begin: 2, end: 4, key: 'b' },
        ]),
      ).toMatchObject(usage);
      expect(refused([{ begin: 0, end: 3, key: 'a', rows: new Float32Array(7) }])).toMatchObject(usage);
      expect(refused([{ begin: 0, end: 3, key: 'a', rows: [1, 2, 3] }])).toMatchObject(usage);
      expect(refused([{ begin: 2, end: 15, key: 'a' }])).toMatchObject({
        ...usage,
        fields: { index: 0, begin: 2, end: 15, chunk: 12 },
      });
      const wide = withImage(1, { rows: new Float32Array(9 * 7) });
      await expect(answer(scheduler, wide)).rejects.toMatchObject({
        ...usage,
        fields: { features: 7, expected: 8 },
      });
      expect((await answer(scheduler, withImage(1))).tokens.length).toBe(12);
    });
  });
});
