/** Log-probabilities beside tokens: those of the raw logits, however the token was chosen and whoever is in the step. */
import { UnicornError, type Device } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import {
  maxTopLogProbabilities,
  Scheduler,
  type GenerateRequest,
  type TokenLogProbabilities,
} from '../src/index.js';
import { nullBench } from './null-bench.js';
import { runningAhead } from './running-ahead.js';
import { answer, promptOf } from './toy-answer.js';
import { toyBench, type Bench } from './toy-model.js';
import { twoPhaseBench, withMembers } from './two-phase.js';

const even = Int32Array.of(0x55555555, 0x55555555);

const requests: GenerateRequest[] = [
  { tokens: promptOf(9), maxTokens: 12, sampling: { temperature: 0 }, logProbabilities: 3 },
  {
    tokens: promptOf(17, 1),
    maxTokens: 10,
    sampling: { temperature: 1.4, topK: 9, presencePenalty: 0.5, logitBias: { 3: 2 }, seed: 5 },
    logProbabilities: 0,
  },
  { tokens: promptOf(6, 2), maxTokens: 9, sampling: { seed: 1 }, mask: () => even, logProbabilities: 20 },
  {
    tokens: promptOf(8, 3),
    maxTokens: 14,
    sampling: { temperature: 0.8, seed: 2 },
    speculation: { draft: { feedForward: [8, 8], skip: [] }, adaptive: false, maxTokens: 3 },
    logProbabilities: 2,
  },
  {
    tokens: [...promptOf(8, 4), ...promptOf(8, 4)],
    maxTokens: 14,
    sampling: { temperature: 0 },
    speculation: { draft: 'ngram', adaptive: false },
    logProbabilities: 1,
  },
];

interface Scored {
  readonly tokens: number[];
  readonly scores: (TokenLogProbabilities | undefined)[];
}

async function scored(scheduler: Scheduler, request: GenerateRequest): Promise<Scored> {
  const tokens: number[] = [];
  const scores: (TokenLogProbabilities | undefined)[] = [];
  for await (const event of scheduler.generate(request)) {
    if (event.kind === 'end') break;
    tokens.push(event.token);
    scores.push(event.logProbabilities);
  }
  return { tokens, scores };
}

/** Of a row of logits. */
function logSoftmax(logits: Float32Array): number[] {
  const largest = Math.max(...logits);
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
  return Array.from(logits, (logit) => logit - largest - Math.log(total));
}

const create = (bench: Bench): Promise<Scheduler> =>
  Scheduler.create({ ...bench, blockTokens: 4, maxSequences: 5, kvTokens: 72, prefillChunk: 8 });

describe.each([
  ['one runner', (): Promise<Bench> => toyBench()],
  [
    'steps ahead',
    async (): Promise<Bench> => {
      const bench = await toyBench();
      return { ...bench, device: runningAhead(bench.device) };
    },
  ],
  ['two runners', (): Promise<Bench> => twoPhaseBench()],
])('log-probabilities, with %s', (_, open) => {
  it('change no token, and are the same in company', async () => {
    const scheduler = await create(await open());
    const alone: Scored[] = [];
    for (const request of requests) alone.push(await scored(scheduler, request));
    for (const [index, request] of requests.entries()) {
      const { tokens } = await answer(scheduler, { ...request, logProbabilities: undefined });
      expect(alone[index]!.tokens).toEqual(tokens);
    }
    const plain = { tokens: promptOf(11, 5), maxTokens: 20, sampling: { temperature: 0 } };
    const [free, ...together] = await Promise.all(
      [plain, ...requests].map((request) => scored(scheduler, request)),
    );
    expect(together).toEqual(alone);
    expect(free!.scores.every((one) => one === undefined)).toBe(true);
    expect(scheduler.stats().preemptions).toBeGreaterThan(0);
    await scheduler.close();
  });
});

describe('log-probabilities', () => {
  it('are those of the raw logits', async () => {
    const scheduler = await create(await toyBench());
    for (const request of requests) {
      const { tokens, scores } = await scored(scheduler, request);
      const sequence = [...Array.from(request.tokens), ...tokens];
      const [result] = await scheduler.forward([sequence], { logits: 'all' });
      const vocabulary = result!.logits!.length / sequence.length;
      tokens.forEach((token, index) => {
        const position = request.tokens.length + index - 1;
        const row = result!.logits!.subarray(position * vocabulary, (position + 1) * vocabulary);
        const expected = logSoftmax(row);
        const { chosen, top } = scores[index]!;
        expect(chosen).toBeCloseTo(expected[token]!, 5);
        expect(top.length).toBe(request.logProbabilities);
        const best = expected.map((_, id) => id).sort((a, b) => row[b]! - row[a]! || a - b);
        expect(top.map((one) => one.token)).toEqual(best.slice(0, top.length));
        for (const one of top) expect(one.logProbability).toBeCloseTo(expected[one.token]!, 5);
      });
    }
    await scheduler.close();
  });

  it('are computed for nobody else', async () => {
    const { scheduler, seen } = await nullBench({ maxSequences: 2 });
    await Promise.all([
      answer(scheduler, { tokens: [1, 2], maxTokens: 3 }),
      answer(scheduler, { tokens: [3], maxTokens: 3, logProbabilities: 2 }),
    ]);
    expect(new Set(seen.map(({ program }) => program))).toEqual(
      new Set(['toy sample full', `toy sample top${maxTopLogProbabilities} full`]),
    );
    await scheduler.close();
  });

  it('are refused out of range', async () => {
    const scheduler = await create(await toyBench());
    for (const logProbabilities of [-1, 1.5, maxTopLogProbabilities + 1, NaN]) {
      expect(() => scheduler.generate({ tokens: [1], logProbabilities })).toThrow(
        expect.objectContaining({ code: 'usage/log-probabilities' }),
      );
    }
    await scheduler.close();
  });

  it('fail the requests that ask, and nobody else, where the device cannot', async () => {
    const bench = await toyBench();
    const compile: Device['compile'] = async (graph, ...given) => {
      if (graph.nodes.some(({ op }) => op === 'logProbabilities')) {
        throw new UnicornError('unsupported/op', 'The device does not support logProbabilities.');
      }
      return bench.device.compile(graph, ...given);
    };
    const scheduler = await create({ ...bench, device: withMembers(bench.device, { compile }) });
    const [refused, other] = await Promise.allSettled([
      answer(scheduler, requests[0]!),
      answer(scheduler, { ...requests[1]!, logProbabilities: undefined }),
    ]);
    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'unsupported/op' } });
    expect(other.status).toBe('fulfilled');
    await scheduler.close();
  });
});
