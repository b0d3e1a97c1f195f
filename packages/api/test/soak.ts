/**
 * Clients as a server has them: some read, some abort, leave, run out of time or ask for nonsense. What each of them got is
 * counted on its own side, to be held against what the engine tells.
 */
import { isUnicornError } from '@unicorn-exec/tensor';
import type { EndReason, Engine, GenerateChunk, GenerateRequest } from '../src/index.js';

/** mulberry32: a small generator of repeatable numbers. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Gaps in buckets a tenth of a power of two wide: their memory does not grow with their number. */
class GapHistogram {
  readonly #buckets = new Float64Array(400);
  #count = 0;

  add(ms: number): void {
    this.#count++;
    this.#buckets[Math.min(399, Math.max(0, Math.round(10 * Math.log2(ms * 1000))))]!++;
  }

  /** The upper end of the bucket in which that share of gaps is reached, in milliseconds. */
  quantile(share: number): number {
    let sum = 0;
    const bucket = this.#buckets.findIndex((count) => (sum += count) >= share * this.#count);
    return 2 ** ((bucket + 0.5) / 10) / 1000;
  }
}

export interface SoakResult {
  readonly requests: number;
  readonly tokens: number;
  readonly ends: Record<EndReason, number>;
  readonly gaps: GapHistogram;
  /** Growth of the process over the last two thirds. */
  readonly mebibytesPerMinute: number;
  readonly codes: Readonly<Record<string, number>>;
}

const texts = [
  'Once upon a time there was a fox. ',
  'The brave fox walked through the deep green forest. ',
  'Why is the sky blue? Tell me a short story about it. ',
];

/** @param goesOn asked before each request of each client */
export async function soak(
  engine: Engine,
  clients: number,
  goesOn: (requests: number) => boolean,
): Promise<SoakResult> {
  const ends = { stop: 0, length: 0, cancelled: 0, deadline: 0, left: 0, refused: 0, failed: 0 };
  const codes: Record<string, number> = {};
  const gaps = new GapHistogram();
  const memory: { minutes: number; mebibytes: number }[] = [];
  let [requests, tokens] = [0, 0];
  const sample = setInterval(() => {
    memory.push({ minutes: performance.now() / 60_000, mebibytes: process.memoryUsage.rss() / 2 ** 20 });
  }, 1000);

  const client = async (seed: number): Promise<void> => {
    const random = randomNumbers(seed);
    const pick = (below: number): number => Math.floor(random() * below);
    while (goesOn(requests)) {
      requests++;
      const cancel = new AbortController();
      const kind = pick(10);
      const text = texts[pick(texts.length)]!.repeat(1 + pick(random() < 0.1 ? 20 : 3));
      const request: GenerateRequest = {
        prompt: text,
        maxTokens: 1 + pick(40),
        ignoreEnd: random() < 0.5,
        sampling: { temperature: random() < 0.5 ? 0 : 1, seed: pick(1000) },
        priority: pick(3) - 1,
        signal: cancel.signal,
        ...(random() < 0.2 ? { cache: random() < 0.3 ? 'none' : { salt: `tenant ${pick(4)}` } } : {}),
        ...(random() < 0.1 ? { overflow: 'shift' } : {}),
        ...(random() < 0.2 ? { stop: ' the' } : {}),
        ...(kind === 0 ? { deadline: pick(400) } : {}),
        ...(kind === 1 ? ({ maxTokens: pick(2) === 0 ? 'many' : -1 } as object) : {}),
      };
      const stream = engine.generate(request);
      const timers: NodeJS.Timeout[] = [];
      if (kind === 2) timers.push(setTimeout(() => cancel.abort(), pick(300)));
      let left = false;
      const leave = (): void => {
        left = true;
        void stream.return();
      };
      if (kind === 3) timers.push(setTimeout(leave, pick(300)));
      const most = kind === 4 ? 1 + pick(10) : Infinity;
      let last: GenerateChunk | undefined;
      let before: number | undefined;
      try {
        let chunks = 0;
        for await (const chunk of stream) {
          tokens += chunk.tokens.length;
          last = chunk;
          const now = performance.now();
          if (before !== undefined) gaps.add(now - before);
          before = now;
          if (++chunks >= most) break;
        }
        ends[last?.finishReason ?? 'left']++;
        if (!last?.finishReason && !left && most === Infinity)
          throw new Error('a stream ended without an end');
      } catch (error) {
        if (!isUnicornError(error)) throw error;
        ends[error.family === 'usage' || error.family === 'resource' ? 'refused' : 'failed']++;
        codes[error.code] = (codes[error.code] ?? 0) + 1;
        // A client that is refused comes back a little later.
        await new Promise((resolve) => setTimeout(resolve, pick(200)));
      } finally {
        timers.forEach(clearTimeout);
      }
    }
  };

  try {
    await Promise.all(Array.from({ length: clients }, (_, seed) => client(seed + 1)));
  } finally {
    clearInterval(sample);
  }
  const mebibytesPerMinute = slope(memory.slice(Math.floor(memory.length / 3)));
  return { requests, tokens, ends, gaps, codes, mebibytesPerMinute };
}

/** Least squares; 0 for fewer than two samples. */
function slope(samples: readonly { readonly minutes: number; readonly mebibytes: number }[]): number {
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [
    mean(samples.map(({ minutes }) => minutes)),
    mean(samples.map(({ mebibytes }) => mebibytes)),
  ];
  let [xy, xx] = [0, 0];
  for (const { minutes, mebibytes } of samples) {
    xy += (minutes - x) * (mebibytes - y);
    xx += (minutes - x) ** 2;
  }
  return xx > 0 ? xy / xx : 0;
}
