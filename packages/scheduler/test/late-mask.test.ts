/** Token masks that come late: the same tokens as with masks that are there at once, and nobody waits for another's. */
import { setTimeout as delay } from 'node:timers/promises';
import { UnicornError } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { Scheduler, type GenerateRequest, type SchedulerOptions, type TokenMask } from '../src/index.js';
import { nullBench } from './null-bench.js';
import { runningAhead } from './running-ahead.js';
import { answer, promptOf } from './toy-answer.js';
import { toyBench, type Bench } from './toy-model.js';
import { twoPhaseBench, withMembers } from './two-phase.js';

/** Even and odd ids in turns, and now and then any. */
const turns: TokenMask = ({ length }) =>
  length % 5 === 4 ? undefined : new Int32Array(2).fill(length % 2 ? 0xaaaaaaaa | 0 : 0x55555555);

const greedy = { temperature: 0 };
const drawn = { temperature: 1.2, topP: 0.95, presencePenalty: 0.3, repetitionPenalty: 1.1, seed: 5 };

const requests: GenerateRequest[] = [
  { tokens: promptOf(9), maxTokens: 20, sampling: greedy },
  { tokens: promptOf(17, 1), maxTokens: 12, sampling: drawn },
  { tokens: promptOf(5, 2), maxTokens: 15, sampling: { ...drawn, seed: 6 }, logProbabilities: 2 },
  { tokens: promptOf(12, 3), maxTokens: 9, sampling: drawn, size: { feedForward: [8, 8], skip: [] } },
];

/** With masks that take so long, in milliseconds. */
const late = (request: GenerateRequest, ms: number): GenerateRequest => ({
  ...request,
  lateMask: async (generated) => {
    await delay(ms);
    return turns(generated);
  },
});

const create = (bench: Bench, options: Partial<SchedulerOptions> = {}): Promise<Scheduler> =>
  Scheduler.create({ ...bench, blockTokens: 4, maxSequences: 4, kvTokens: 88, prefillChunk: 8, ...options });

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
])('masks that come late, with %s', (_, open) => {
  it('give the tokens of masks that are there at once, alone and in company', async () => {
    const scheduler = await create(await open());
    const expected: number[][] = [];
    for (const request of requests)
      expected.push((await answer(scheduler, { ...request, mask: turns })).tokens);
    for (const [index, request] of requests.entries()) {
      scheduler.clearPrefixCache();
      expect((await answer(scheduler, late(request, 0))).tokens).toEqual(expected[index]);
    }
    const plain = { tokens: promptOf(11, 5), maxTokens: 30, sampling: greedy };
    const alone = (await answer(scheduler, plain)).tokens;
    scheduler.clearPrefixCache();
    const together = await Promise.all([
      answer(scheduler, plain),
      ...requests.map((request, index) => answer(scheduler, late(request, index % 3))),
    ]);
    expect(together.map(({ tokens }) => tokens)).toEqual([alone, ...expected]);
    scheduler.checkIntegrity();
    await scheduler.close();
  });

  it('give the tokens of masks that are there at once, where memory is short', async () => {
    const expected: number[][] = [];
    const roomy = await create(await open());
    for (const request of requests) expected.push((await answer(roomy, { ...request, mask: turns })).tokens);
    await roomy.close();
    const scheduler = await create(await open(), { kvTokens: 40 });
    const together = await Promise.all(
      requests.map((request, index) => answer(scheduler, late(request, index % 2))),
    );
    expect(together.map(({ tokens }) => tokens)).toEqual(expected);
    expect(scheduler.stats().preemptions).toBeGreaterThan(0);
    scheduler.checkIntegrity();
    await scheduler.close();
  });

  it('hold nobody else up, and can be cancelled', async () => {
    const scheduler = await create(await open());
    const cancel = new AbortController();
    const stuck = answer(scheduler, {
      ...requests[0]!,
      lateMask: () => new Promise(() => {}),
      signal: cancel.signal,
    });
    for (const request of requests.slice(1)) {
      expect((await answer(scheduler, request)).end.finishReason).toBe('length');
    }
    cancel.abort();
    expect((await stuck).end.finishReason).toBe('cancelled');
    expect(scheduler.stats().running).toBe(0);
    // Nor does it keep a scheduler from closing.
    const closed = answer(scheduler, { ...requests[0]!, lateMask: () => new Promise(() => {}) });
    await delay(20);
    await scheduler.close();
    expect((await closed).end).toMatchObject({ finishReason: 'cancelled' });
  });

  it('outlive a device that is lost', async () => {
    const bench = await open();
    const well = await create(bench);
    const expected = await answer(well, { ...requests[0]!, mask: turns });
    await well.close();
    for (let loseAt = 1; loseAt < 30; loseAt += 4) {
      const { device } = bench;
      let submissions = 0;
      const compile: typeof device.compile = async (...given) => {
        const executable = await device.compile(...given);
        return withMembers(executable, {
          submit: (...submission) => {
            if (++submissions >= loseAt)
              throw new UnicornError('device/lost', 'The device fell off the bus.');
            return executable.submit(...submission);
          },
        });
      };
      let losses = 0;
      const fragile = { ...bench, device: withMembers(device, { compile }) };
      const scheduler = await create(fragile, {
        onDeviceLost: async () => {
          losses++;
          return open();
        },
      });
      expect((await answer(scheduler, late(requests[0]!, 1))).tokens).toEqual(expected.tokens);
      expect(losses).toBe(1);
      await scheduler.close();
    }
  });

  it('fail their own request alone', async () => {
    const scheduler = await create(await open());
    const reason = new Error('no grammar');
    const refused: [GenerateRequest['lateMask'], unknown][] = [
      [() => Promise.reject(reason), reason],
      [
        () => {
          throw reason;
        },
        reason,
      ],
      [async () => new Int32Array(2), expect.objectContaining({ code: 'usage/mask' })],
      [async () => new Int32Array(3).fill(-1), expect.objectContaining({ code: 'usage/mask' })],
    ];
    for (const [lateMask, expected] of refused) {
      const [failed, other] = await Promise.allSettled([
        answer(scheduler, { ...requests[1]!, lateMask }),
        answer(scheduler, requests[0]!),
      ]);
      expect(failed).toEqual({ status: 'rejected', reason: expected });
      expect(other.status).toBe('fulfilled');
    }
    scheduler.checkIntegrity();
    await scheduler.close();
  });
});

describe('a mask that comes late', () => {
  it('is asked for while the device works, once for each token', async () => {
    const bench = await nullBench();
    const order: string[] = [];
    bench.hook = async ({ program }) => {
      await delay(5);
      order.push(`end ${program}`);
    };
    await answer(bench.scheduler, {
      tokens: [1, 2, 3],
      maxTokens: 2,
      lateMask: async (generated) => {
        order.push(`mask ${generated.length}`);
        return undefined;
      },
    });
    const [step, sampler] = ['end toy sample late full', 'end toy sampler sample masked full'];
    expect(order).toEqual(['mask 0', step, sampler, 'mask 1', step, sampler]);
    await bench.scheduler.close();
  });

  it('is refused beside another mask, and beside guesses', async () => {
    const scheduler = await create(await toyBench());
    const lateMask = (): Promise<undefined> => Promise.resolve(undefined);
    expect(() => scheduler.generate({ tokens: [1], lateMask, mask: turns })).toThrow(
      expect.objectContaining({ code: 'usage/mask' }),
    );
    expect(() => scheduler.generate({ tokens: [1], lateMask, speculation: { draft: 'ngram' } })).toThrow(
      expect.objectContaining({ code: 'usage/speculation' }),
    );
    await scheduler.close();
  });
});
