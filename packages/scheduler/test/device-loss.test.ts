/** A device that is lost in the middle of everything, and another that takes over: jobs start again from their tokens. */
import { UnicornError, type Device, type Executable } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { Scheduler, type GenerateRequest, type SchedulerOptions } from '../src/index.js';
import { runningAhead } from './running-ahead.js';
import { answer, promptOf } from './toy-answer.js';
import { toyBench, type Bench } from './toy-model.js';
import { twoPhaseBench, withMembers } from './two-phase.js';

const greedy = { temperature: 0 };
const drawn = { temperature: 1.2, topP: 0.95, presencePenalty: 0.3, repetitionPenalty: 1.1, seed: 5 };

/** The device until submission number `loseAt`; that one and whatever follows fails. */
function fragile(device: Device, loseAt: number): Device {
  let submissions = 0;
  const lost = (): UnicornError => new UnicornError('device/lost', 'The device fell off the bus.');
  const isLost = (): boolean => submissions >= loseAt;
  const compile: Device['compile'] = async (...given) => {
    if (isLost()) throw lost();
    const executable = await device.compile(...given);
    const submit: Executable['submit'] = (...submission) => {
      if (isLost()) throw lost();
      submissions++;
      const { done, times } = executable.submit(...submission);
      return { done: isLost() ? done.then(() => Promise.reject(lost())) : done, times };
    };
    return withMembers(executable, { submit });
  };
  const write: Device['write'] = (...given) => (isLost() ? Promise.reject(lost()) : device.write(...given));
  return withMembers(device, { compile, write });
}

const requests: GenerateRequest[] = [
  { tokens: promptOf(9), maxTokens: 20, sampling: greedy },
  {
    tokens: promptOf(17, 1),
    maxTokens: 12,
    sampling: drawn,
    speculation: { draft: 'ngram', adaptive: false },
  },
  {
    tokens: promptOf(5, 2),
    maxTokens: 15,
    sampling: greedy,
    speculation: { draft: { feedForward: [8, 8], skip: [] }, adaptive: false, maxTokens: 3 },
  },
  { tokens: promptOf(12, 3), maxTokens: 9, sampling: drawn },
];

describe.each([
  ['one runner', (): Promise<Bench> => toyBench(), false],
  ['steps ahead', (): Promise<Bench> => toyBench(), true],
  ['two runners', (): Promise<Bench> => twoPhaseBench(), true],
])('a device that is lost, with %s', (_, open, ahead) => {
  const create = (bench: Bench, options: Partial<SchedulerOptions>): Promise<Scheduler> =>
    Scheduler.create({
      ...bench,
      blockTokens: 4,
      maxSequences: 3,
      kvTokens: 120,
      prefillChunk: 8,
      ...options,
    });

  const benchUntil = async (loseAt: number): Promise<Bench> => {
    const bench = await open();
    const device = fragile(bench.device, loseAt);
    return { ...bench, device: ahead ? runningAhead(device) : device };
  };

  const all = async (scheduler: Scheduler): Promise<number[][]> =>
    (await Promise.all(requests.map((request) => answer(scheduler, request)))).map(({ tokens }) => tokens);

  it('costs no request anything but time', async () => {
    const well = await create(await benchUntil(Infinity), {});
    const expected = await all(well);
    const { submissions } = well.stats();
    await well.close();
    for (let loseAt = 1; loseAt < submissions; loseAt += 3) {
      let losses = 0;
      // The second one is lost, too.
      const next = [loseAt + 2, Infinity];
      const scheduler = await create(await benchUntil(loseAt), {
        onDeviceLost: async (error) => {
          expect(error.code).toBe('device/lost');
          return benchUntil(next[losses++]!);
        },
      });
      expect(await all(scheduler)).toEqual(expected);
      expect(losses).toBeGreaterThan(0);
      scheduler.checkIntegrity();
      await scheduler.close();
      for (const { reservedBlocks } of scheduler.stats().kvGroups) expect(reservedBlocks).toBe(0);
    }
  });

  it('scores again what nobody has seen yet', async () => {
    const sequences = [promptOf(20), promptOf(11, 1)];
    const well = await create(await benchUntil(Infinity), {});
    const expected = await well.forward(sequences, { logits: 'all' });
    await well.close();
    const scheduler = await create(await benchUntil(3), { onDeviceLost: () => benchUntil(Infinity) });
    expect(await scheduler.forward(sequences, { logits: 'all' })).toEqual(expected);
    await scheduler.close();
    const streaming = await create(await benchUntil(3), { onDeviceLost: () => benchUntil(Infinity) });
    const rows: number[] = [];
    const streamed = streaming.forward([promptOf(20)], {
      logits: 'all',
      onRows: ({ position }) => rows.push(position),
    });
    await expect(streamed).rejects.toMatchObject({ code: 'device/lost' });
    expect(rows).toEqual([0, 8]);
    await streaming.close();
  });

  it('fails everybody where nothing takes over, and asks again for the next', async () => {
    let asked = 0;
    const scheduler = await create(await benchUntil(4), {
      onDeviceLost: async () => {
        if (++asked === 1) throw new UnicornError('resource/memory', 'There is no other device.');
        return benchUntil(Infinity);
      },
    });
    const failed = await Promise.allSettled(requests.map((request) => answer(scheduler, request)));
    for (const one of failed) {
      expect(one).toMatchObject({ status: 'rejected', reason: { code: 'resource/memory' } });
    }
    expect((await answer(scheduler, requests[0]!)).tokens.length).toBe(20);
    expect(asked).toBe(2);
    await scheduler.close();
    const alone = await create(await benchUntil(4), {});
    await expect(answer(alone, requests[0]!)).rejects.toMatchObject({ code: 'device/lost' });
    await alone.close();
  });

  it('can be closed and cancelled meanwhile', async () => {
    let takeOver!: (bench: Bench) => void;
    let told!: () => void;
    const waiting = new Promise<void>((resolve) => (told = resolve));
    const scheduler = await create(await benchUntil(4), {
      onDeviceLost: () => {
        told();
        return new Promise((resolve) => (takeOver = resolve));
      },
    });
    const cancel = new AbortController();
    const first = answer(scheduler, { ...requests[0]!, signal: cancel.signal });
    const second = answer(scheduler, requests[3]!);
    await waiting;
    cancel.abort();
    expect((await first).end.finishReason).toBe('cancelled');
    const closing = scheduler.close();
    expect((await second).end.finishReason).toBe('cancelled');
    takeOver(await benchUntil(Infinity));
    await closing;
    scheduler.checkIntegrity();
  });
});
