/**
 * Prompts on an awkward device (int8, buckets of rows, a cache that is not coherent, few commands in flight), answers on
 * another: keys and values are worked on in place, and a request gets the same bits in any company, after a preemption, a
 * prefix hit and in any chunks.
 */
import { createInt8Backend, productOps } from '@unicorn-exec/conformance/fixture';
import { referenceBackend, type Device } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import {
  Scheduler,
  type GenerateRequest,
  type GenerationEvent,
  type SchedulerOptions,
} from '../../src/index.js';
import { placesByLayer, SplitDevice, type Place } from '../../src/placement/index.js';
import { gate } from '../null-bench.js';
import { answer, promptOf } from '../toy-answer.js';
import { cutAt, model, stepGraph } from './toy-places.js';

/** How the work of a prompt is put on the awkward device. */
const cuts: Readonly<Record<string, Place>> = {
  'whole prompts': ({ nodes }, phase) => nodes.map(({ op }) => Number(phase === 'token' || op === 'sample')),
  'products of prompts': ({ nodes }, phase) =>
    nodes.map(({ op }) => Number(phase === 'token' || !productOps.includes(op))),
  'half the layers of prompts': (graph, phase) => {
    const behind = placesByLayer(graph, cutAt(2));
    return graph.nodes.map(({ id, op }) => (phase === 'token' || op === 'sample' ? 1 : 1 - behind[id]!));
  },
};

async function open(place: Place, onSubmit?: () => Promise<void> | undefined): Promise<SplitDevice> {
  const devices: Device[] = [
    await createInt8Backend({ buckets: [8, 32], onSubmit: async () => onSubmit?.() }).open(),
    await referenceBackend.open(),
  ];
  const graphs = (['prompt', 'token'] as const).map((phase) => ({ graph: stepGraph(), phase }));
  return new SplitDevice({ devices, place, graphs });
}

async function withScheduler<T>(
  place: Place,
  options: Partial<SchedulerOptions>,
  use: (scheduler: Scheduler) => Promise<T>,
): Promise<T> {
  const device = await open(place);
  const weights = await device.load(model.weights);
  const scheduler = await Scheduler.create({
    device,
    weights,
    model,
    kvDType: 'f32',
    precision: 'fast',
    blockTokens: 4,
    ...options,
  });
  const result = await use(scheduler);
  scheduler.checkIntegrity();
  await scheduler.close();
  expect(device.memory().copiedBytes).toBe(0);
  await device.close();
  return result;
}

const request = (salt: number, prompt: number, maxTokens: number): GenerateRequest => ({
  tokens: promptOf(prompt, salt),
  maxTokens,
  sampling: salt % 2 ? { temperature: 1.2, seed: 100 + salt, presencePenalty: 0.3 } : { temperature: 0 },
});

const all = async (scheduler: Scheduler, requests: readonly GenerateRequest[]): Promise<number[][]> =>
  (await Promise.all(requests.map((one) => answer(scheduler, one)))).map(({ tokens }) => tokens);

const alone = (place: Place, one: GenerateRequest): Promise<number[]> =>
  withScheduler(place, {}, async (scheduler) => (await answer(scheduler, one)).tokens);

for (const [cut, place] of Object.entries(cuts)) {
  describe(`${cut} on an int8 device`, () => {
    it('are other bits than one device alone computes', async () => {
      const requests = [0, 1, 2, 3, 4, 5].map((salt) => request(salt, 23, 20));
      const device = await referenceBackend.open();
      const weights = await device.load(model.weights);
      const scheduler = await Scheduler.create({ device, weights, model, kvDType: 'f32', blockTokens: 4 });
      const exact = await all(scheduler, requests);
      expect(await withScheduler(place, {}, (split) => all(split, requests))).not.toEqual(exact);
      await scheduler.close();
      await device.close();
    });

    it('are the same bits in company and in any chunks', async () => {
      const requests = [0, 1, 2, 3].map((salt) => request(salt, 9 + 5 * salt, 14));
      const expected: number[][] = [];
      for (const one of requests) expected.push(await alone(place, one));
      for (const prefillChunk of [3, 8, 64]) {
        const options = { maxSequences: 3, kvTokens: 300, prefillChunk };
        expect(await withScheduler(place, options, (scheduler) => all(scheduler, requests))).toEqual(
          expected,
        );
      }
    });

    it('are the same bits where masks come late, with the same log-probabilities', async () => {
      const odd = new Int32Array(2).fill(0xaaaaaaaa | 0);
      const requests = [0, 1].map((salt) => ({ ...request(salt, 11, 8), logProbabilities: 2 }));
      const events = (scheduler: Scheduler, masked: Partial<GenerateRequest>): Promise<GenerationEvent[][]> =>
        Promise.all(
          requests.map(async (one) => {
            const seen: GenerationEvent[] = [];
            for await (const event of scheduler.generate({ ...one, ...masked })) {
              if (event.kind === 'token') seen.push(event);
            }
            return seen;
          }),
        );
      const options = { maxSequences: 2 };
      const expected = await withScheduler(place, options, (split) => events(split, { mask: () => odd }));
      const late = await withScheduler(place, options, (split) =>
        events(split, { lateMask: async () => odd }),
      );
      expect(late).toEqual(expected);
    });

    it('are the same bits after preemptions and prefix hits', async () => {
      const requests = [0, 1, 2].map((salt) => request(salt, 9, 40));
      const expected: number[][] = [];
      for (const one of requests) expected.push(await alone(place, one));
      await withScheduler(place, { maxSequences: 3, kvTokens: 64 }, async (scheduler) => {
        expect(await all(scheduler, requests)).toEqual(expected);
        expect(scheduler.stats().preemptions).toBeGreaterThan(0);
      });
      await withScheduler(place, { kvTokens: 192 }, async (scheduler) => {
        const short = request(0, 21, 3);
        const tokensAlone = await alone(place, short);
        for (const round of [0, 1]) {
          const { tokens, end } = await answer(scheduler, short);
          expect(tokens).toEqual(tokensAlone);
          expect(end.usage.cachedPromptTokens > 0).toBe(round > 0);
        }
      });
    });
  });
}

it('two schedulers share the devices, each with the bits that it computes alone', async () => {
  const place = cuts['products of prompts']!;
  const requests = [0, 1, 2, 3].map((salt) => request(salt, 9 + 5 * salt, 14));
  const expected: number[][] = [];
  for (const one of requests) expected.push(await alone(place, one));
  const device = await open(place);
  const weights = await device.load(model.weights);
  const options = { device, weights, model, kvDType: 'f32', precision: 'fast', blockTokens: 4 } as const;
  const schedulers = await Promise.all([0, 1].map(() => Scheduler.create(options)));
  const [here, there] = await Promise.all(schedulers.map((scheduler) => all(scheduler, requests)));
  expect(here).toEqual(expected);
  expect(there).toEqual(expected);
  await schedulers[0]!.close();
  expect(await all(schedulers[1]!, requests)).toEqual(expected);
  await schedulers[1]!.close();
  await device.close();
});

it('answers go on while a prompt is on the other device', async () => {
  const released = gate();
  let isHeld = false;
  const device = await open(cuts['whole prompts']!, () => (isHeld ? released.wait() : undefined));
  const weights = await device.load(model.weights);
  const scheduler = await Scheduler.create({ device, weights, model, kvDType: 'f32', maxSequences: 2 });
  const first = scheduler.generate(request(0, 4, 60));
  await first.next();
  isHeld = true;
  const second = answer(scheduler, request(1, 30, 2));
  await released.reached;
  // Every one of these tokens is computed while the prompt is held.
  let tokens = 1;
  for await (const event of first) tokens += event.kind === 'token' ? 1 : 0;
  expect(tokens).toBe(60);
  released.open();
  expect((await second).tokens).toHaveLength(2);
  await scheduler.close();
  await device.close();
});
