/** The life of a request as a server sees it: every way in which it ends, told once, with sums that add up. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Scheduler } from '@unicorn-exec/scheduler';
import {
  Chat,
  Engine,
  type FinishedRequest,
  type GenerateChunk,
  type GenerateRequest,
} from '../src/index.js';

const greedy = { temperature: 0 };
const endless = { prompt: 'Once upon a time', sampling: greedy, ignoreEnd: true };
const long = 'The brave fox walked through the deep green forest. '.repeat(60);

let engine: Engine;
let finished: FinishedRequest[];

beforeAll(async () => {
  engine = await Engine.load({
    context: 1024,
    kvTokens: 4096,
    maxSequences: 1,
    maxQueued: 2,
    prefillChunk: 64,
  });
  engine.on('finished', (request) => finished.push(request));
});
afterAll(() => engine.close());
beforeEach(() => {
  finished = [];
});

interface Read {
  readonly tokens: number;
  readonly last: GenerateChunk | undefined;
}

async function read(request: GenerateRequest): Promise<Read> {
  let tokens = 0;
  let last: GenerateChunk | undefined;
  for await (const chunk of engine.generate(request)) {
    tokens += chunk.tokens.length;
    last = chunk;
  }
  return { tokens, last };
}

/** A request that computes, and that holds the only sequence. */
async function holdSequence(): Promise<() => Promise<void>> {
  const holding = engine.generate(endless);
  await holding.next();
  return async () => {
    await holding.return();
  };
}

/** Under the engine, for what only tests ask. */
function scheduler(): Scheduler {
  return (engine as unknown as { runtime: { latest: { scheduler: Scheduler } } }).runtime.latest.scheduler;
}

/** Takes turns of the event loop until something holds. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

describe('leaving', () => {
  it('a stream that was never begun is not a request', async () => {
    const before = engine.stats().requests;
    const streams = [engine.generate(endless), engine.generate(endless), engine.generate(endless)];
    expect(await streams[0]!.return()).toEqual({ done: true, value: undefined });
    expect(await streams[0]!.next()).toEqual({ done: true, value: undefined });
    await expect(streams[1]!.throw(new Error('mine'))).rejects.toThrow('mine');
    expect(await streams[1]!.next()).toEqual({ done: true, value: undefined });
    await streams[2]![Symbol.asyncDispose]();
    expect(engine.stats().requests).toBe(before);
    expect(finished).toEqual([]);
  });

  it('takes effect at once while the request waits', async () => {
    const release = await holdSequence();
    const computed = scheduler().stats();
    const waiting = engine.generate({ ...endless, prompt: long });
    const next = waiting.next();
    await until(() => engine.stats().queued === 1);
    const left = waiting.return();
    expect(await next).toEqual({ done: true, value: undefined });
    expect(await left).toEqual({ done: true, value: undefined });
    expect(engine.stats().queued).toBe(0);
    expect(finished).toMatchObject([{ reason: 'left', usage: { completionTokens: 0 } }]);
    expect(finished[0]!.timings.queueMs).toBeGreaterThan(0);
    expect(scheduler().stats().prefilledTokens).toBe(computed.prefilledTokens);
    await release();
  });

  it('takes effect at once in prefill, and costs no more of it', async () => {
    const before = scheduler().stats().prefilledTokens;
    const stream = engine.generate({ ...endless, prompt: long, cache: 'none' });
    const next = stream.next();
    await until(() => scheduler().stats().prefilledTokens > before);
    await stream.return();
    expect(await next).toEqual({ done: true, value: undefined });
    expect(finished).toMatchObject([
      { reason: 'left', usage: { completionTokens: 0, cachedPromptTokens: 0 } },
    ]);
    await until(() => engine.stats().running === 0);
    // What was submitted already, and nothing behind it.
    expect(scheduler().stats().prefilledTokens - before).toBeLessThan(finished[0]!.usage.promptTokens / 2);
    scheduler().checkIntegrity();
  });

  it('while decoding counts what was read, also when several are under way', async () => {
    for await (const { tokens } of engine.generate(endless)) if (tokens.length > 0) break;
    expect(finished).toMatchObject([{ reason: 'left', usage: { completionTokens: 1 } }]);
    const stream = engine.generate(endless);
    const nexts = [stream.next(), stream.next(), stream.next(), stream.next()];
    await nexts[1];
    await stream.return();
    const delivered = (await Promise.all(nexts)).flatMap(({ value }) => value?.tokens ?? []);
    expect(finished[1]).toMatchObject({ reason: 'left', usage: { completionTokens: delivered.length } });
    await expect(stream.throw(new Error('late'))).rejects.toThrow('late');
    expect(finished).toHaveLength(2);
  });

  it('by an error of the reader gives that error', async () => {
    const stream = engine.generate(endless);
    await stream.next();
    await expect(stream.throw(new Error('mine'))).rejects.toThrow('mine');
    expect(finished).toMatchObject([{ reason: 'left' }]);
    await expect(
      (async () => {
        for await (const _chunk of engine.generate(endless)) throw new Error('of the loop');
      })(),
    ).rejects.toThrow('of the loop');
    expect(finished.map(({ reason }) => reason)).toEqual(['left', 'left']);
  });

  it('a turn of a chat keeps what was read of it', async () => {
    const chat = new Chat(engine, { sampling: greedy });
    const release = await holdSequence();
    const turn = chat.ask('Who are you?');
    const next = turn.next();
    await until(() => engine.stats().queued === 1);
    await turn.return();
    expect(await next).toEqual({ done: true, value: undefined });
    expect(chat.messages).toEqual([]);
    await release();
    for await (const { text } of chat.ask('Who are you?')) if (text !== '') break;
    expect(chat.messages).toHaveLength(2);
  });
});

describe('a signal', () => {
  it.each([
    ['before the request', {}],
    ['before a request over contexts', { overflow: 'shift' as const }],
  ])('%s gives an end alone', async (_what, more) => {
    const { tokens, last } = await read({ ...endless, ...more, signal: AbortSignal.abort() });
    expect(tokens).toBe(0);
    expect(last).toMatchObject({ finishReason: 'cancelled', usage: { completionTokens: 0 } });
    expect(finished).toMatchObject([{ reason: 'cancelled' }]);
  });

  it('ends a request that nobody reads, and counts what was read', async () => {
    const cancel = new AbortController();
    const stream = engine.generate({ ...endless, signal: cancel.signal });
    await stream.next();
    await stream.next();
    cancel.abort();
    await until(() => finished.length > 0);
    expect(finished).toMatchObject([{ reason: 'cancelled', usage: { completionTokens: 2 } }]);
    expect(engine.stats().active).toBe(0);
    const last = await stream.next();
    expect(last.value).toMatchObject({
      finishReason: 'cancelled',
      tokens: [],
      usage: { completionTokens: 2 },
    });
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  it('after the end changes nothing', async () => {
    const cancel = new AbortController();
    const { last } = await read({ ...endless, maxTokens: 3, signal: cancel.signal });
    cancel.abort();
    expect(last!.finishReason).toBe('length');
    expect(finished).toMatchObject([{ reason: 'length', usage: { completionTokens: 3 } }]);
  });
});

describe('a deadline', () => {
  it.each<[string, number | Date]>([
    ['at once', 0],
    ['in the past', new Date(0)],
  ])('%s gives an end alone', async (_what, deadline) => {
    const { tokens, last } = await read({ ...endless, deadline });
    expect([tokens, last!.finishReason]).toEqual([0, 'deadline']);
    expect(finished).toMatchObject([{ reason: 'deadline' }]);
  });

  it.each<[string, () => number | Date]>([
    ['in milliseconds', () => 30],
    ['as a point in time', () => new Date(Date.now() + 30)],
  ])('%s ends what waits and what decodes', async (_what, deadline) => {
    const [decoded, waited] = await Promise.all([
      read({ ...endless, deadline: deadline() }),
      read({ ...endless, deadline: deadline() }),
    ]);
    expect([decoded.last!.finishReason, waited.last!.finishReason]).toEqual(['deadline', 'deadline']);
    expect(waited.tokens).toBe(0);
  });

  it('far away is none', async () => {
    const { last } = await read({ ...endless, maxTokens: 2, deadline: 1e12 });
    expect(last!.finishReason).toBe('length');
  });
});

describe('the end of a request', () => {
  it('is told with the request, and with the stop string that came', async () => {
    const request: GenerateRequest = {
      messages: [{ role: 'user', content: 'Who are you?' }],
      sampling: greedy,
      stop: 'tiny',
    };
    const { last, tokens } = await read(request);
    expect(last).toMatchObject({ finishReason: 'stop', stopString: 'tiny' });
    expect(finished).toMatchObject([
      { reason: 'stop', stopString: 'tiny', usage: { completionTokens: tokens }, timings: last!.timings },
    ]);
    expect(finished[0]!.request).toBe(request);
    const list = await read({ ...request, stop: ['never', 'Nano'] });
    expect(list.last!.stopString).toBe('Nano');
    expect((await read({ ...request, stop: [] })).last).not.toHaveProperty('stopString');
  });

  it('is told of a refusal, whatever refuses', async () => {
    const refused: [unknown, string][] = [
      [{ prompt: 7 }, 'usage/option'],
      [undefined, 'usage/option'],
      [{ ...endless, prompt: long.repeat(9) }, 'usage/context'],
      [{ ...endless, overflow: 'shift', sampling: { topP: NaN } }, 'usage/sampling'],
      [{ ...endless, priority: 0.5 }, 'usage/priority'],
    ];
    for (const [request, code] of refused) {
      await expect(read(request as GenerateRequest)).rejects.toMatchObject({ code });
      expect(finished.at(-1)).toMatchObject({
        reason: 'refused',
        error: { code },
        usage: { promptTokens: 0, completionTokens: 0 },
      });
    }
    expect(finished).toHaveLength(refused.length);
  });

  it('is a refusal beyond the queue, which says what to do', async () => {
    const release = await holdSequence();
    const waiting = [engine.generate(endless), engine.generate(endless)];
    const nexts = waiting.map((stream) => stream.next());
    await until(() => engine.stats().queued === 2);
    await expect(read(endless)).rejects.toMatchObject({
      code: 'resource/queue',
      fix: expect.stringContaining('maxQueued') as string,
    });
    expect(finished).toMatchObject([{ reason: 'refused' }]);
    await Promise.all(waiting.map((stream) => stream.return()));
    await Promise.all(nexts);
    await release();
  });

  it('harms nobody when its listener fails, and reaches the others', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning);
    process.on('warning', onWarning);
    let heard = 0;
    const bad = (): void => {
      throw new Error('thrown by a listener');
    };
    const worse = async (): Promise<void> => Promise.reject(new Error('rejected by a listener'));
    const good = (): void => void heard++;
    engine
      .on('finished', bad)
      .on('finished', worse as () => void)
      .once('finished', good)
      .on('finished', good);
    try {
      expect((await read({ ...endless, maxTokens: 2 })).tokens).toBe(2);
      expect((await read({ ...endless, maxTokens: 2 })).tokens).toBe(2);
      await until(() => warnings.length === 4);
    } finally {
      engine
        .off('finished', bad)
        .off('finished', worse as () => void)
        .off('finished', good);
      process.off('warning', onWarning);
    }
    expect(heard).toBe(3);
    expect(warnings.map(({ message }) => message)).toContainEqual(expect.stringContaining('rejected by a'));
  });

  it('adds up in stats()', async () => {
    const before = engine.stats();
    const { tokens } = await read({ ...endless, maxTokens: 5 });
    await expect(read({ prompt: 7 } as never)).rejects.toThrow();
    for await (const _chunk of engine.generate(endless)) break;
    const after = engine.stats();
    expect(after.requests - before.requests).toBe(3);
    expect(after.completionTokens - before.completionTokens).toBe(
      finished.reduce((sum, { usage }) => sum + usage.completionTokens, 0),
    );
    expect(finished.map(({ usage }) => usage.completionTokens)).toEqual([tokens, 0, 1]);
    expect(after.ends).toEqual({
      ...before.ends,
      length: before.ends.length + 1,
      refused: before.ends.refused + 1,
      left: before.ends.left + 1,
    });
    expect(after.active).toBe(0);
    expect(after.requests).toBe(Object.values(after.ends).reduce((sum, count) => sum + count, 0));
  });
});

it('stats() tells what computes, what waits and what memory is held', async () => {
  const release = await holdSequence();
  const waiting = engine.generate(endless);
  const next = waiting.next();
  await until(() => engine.stats().queued === 1);
  expect(engine.stats()).toMatchObject({ active: 2, running: 1, queued: 1, preemptions: 0 });
  expect(engine.stats().kv.use).toBeGreaterThan(0);
  expect(engine.stats().kv.use).toBeLessThanOrEqual(1);
  await waiting.return();
  await next;
  await release();
  await until(() => engine.stats().running === 0);
  expect(engine.stats().kv.use).toBe(0);
});

it('closing ends what waits and what computes, once each', async () => {
  const closing = await Engine.load({ context: 256, maxSequences: 1 });
  const ends: string[] = [];
  closing.on('finished', ({ reason }) => void ends.push(reason));
  const streams = [closing.generate(endless), closing.generate(endless)];
  await streams[0]!.next();
  const waiting = streams[1]!.next();
  await until(() => closing.stats().queued === 1);
  await closing[Symbol.asyncDispose]();
  expect((await waiting).value).toMatchObject({ finishReason: 'cancelled' });
  for await (const _chunk of streams[0]!);
  expect(ends).toEqual(['cancelled', 'cancelled']);
  await expect(closing.generate(endless).next()).rejects.toMatchObject({ code: 'usage/closed' });
  expect(ends).toEqual(['cancelled', 'cancelled', 'refused']);
});

it('salts keep prompts apart', async () => {
  const cached = async (cache?: GenerateRequest['cache']): Promise<number> =>
    (await read({ ...endless, prompt: long.slice(0, 150), maxTokens: 4, cache })).last!.usage!
      .cachedPromptTokens;
  expect(await cached({ salt: 'a' })).toBe(0);
  expect(await cached({ salt: 'a' })).toBeGreaterThan(0);
  expect(await cached({ salt: 'b' })).toBe(0);
  expect(await cached('none')).toBe(0);
});
