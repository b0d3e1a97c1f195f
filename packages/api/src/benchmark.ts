/** Prefill and decode speed of an engine: llama-bench's tests, over the same path that answers take. */
import { availableParallelism, cpus } from 'node:os';
import type { ElasticSpec } from '@unicorn-exec/models';
import { isUnicornError } from '@unicorn-exec/tensor';
import type { Engine } from './engine.js';
import type { Speculation } from './request.js';

export interface BenchmarkOptions {
  /** Tokens of prefill; 0 leaves the test out. Default 512. */
  readonly promptTokens?: number | undefined;
  /** Tokens of decode; 0 leaves the test out. Default 128. */
  readonly generateTokens?: number | undefined;
  /** Measured runs after one warm-up. Default 5. */
  readonly repetitions?: number | undefined;
  readonly elastic?: ElasticSpec | undefined;
  /** For decode. Random prompts are not what guesses are good at: this shows the cost more than the gain. */
  readonly speculation?: Speculation | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface Samples {
  readonly mean: number;
  /** Sample standard deviation. */
  readonly std: number;
  readonly samples: readonly number[];
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  /** Measured in this run. */
  readonly readBandwidthGBs: number;
}

export interface BenchmarkReport {
  readonly machine: Machine;
  readonly model: {
    readonly name: string;
    readonly bytes: number;
    readonly parameters: number;
    readonly type: string;
  };
  readonly backend: string;
  readonly threads?: number;
  readonly promptTokens: number;
  /** Median over the repetitions, end to end through `Engine.generate`. */
  readonly timeToFirstTokenMs: number;
  readonly results: readonly {
    readonly test: string;
    readonly tokensPerSecond: Samples;
    /** Share of the measured read bandwidth that the weights read per token make up (decode only). */
    readonly bandwidthShare?: number;
  }[];
}

/** CPU, cores and the read bandwidth, measured now. */
export async function describeMachine(threads?: number): Promise<Machine> {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    readBandwidthGBs: (await readBandwidth(threads)) / 1e9,
  };
}

/** Bytes per second: of `threads` threads by the CPU addon, of one thread where it cannot be loaded. */
async function readBandwidth(threads: number | undefined): Promise<number> {
  const { measureReadBandwidth } = await import('@unicorn-exec/backend-cpu');
  try {
    return await measureReadBandwidth(threads);
  } catch (error) {
    if (!isUnicornError(error) || error.code !== 'device/addon') throw error;
    return compareBandwidth();
  }
}

/** Two buffers, each larger than caches are. */
const comparedBytes = 2 ** 27;

/** The best of a few comparisons of two equal buffers: `Buffer.compare` is libc's memcmp, which reads both to the end. */
function compareBandwidth(): number {
  const [a, b] = [Buffer.alloc(comparedBytes, 1), Buffer.alloc(comparedBytes, 1)];
  let bestMs = Number.POSITIVE_INFINITY;
  for (let pass = 0; pass < 5; pass++) {
    const started = performance.now();
    a.compare(b);
    bestMs = Math.min(bestMs, performance.now() - started);
  }
  return (2 * comparedBytes * 1000) / bestMs;
}

/** @throws UnicornError as `Engine.generate`; the context must hold `max(promptTokens, 1) + generateTokens` */
export async function benchmark(engine: Engine, options: BenchmarkOptions = {}): Promise<BenchmarkReport> {
  const { promptTokens = 512, generateTokens = 128, repetitions = 5, onProgress } = options;
  const machine = await describeMachine(engine.backend.threads);
  const prefill: number[] = [];
  const decode: number[] = [];
  const firstToken: number[] = [];
  for (let run = 0; run <= repetitions; run++) {
    onProgress?.(run, repetitions + 1);
    const warmUp = run === 0;
    if (promptTokens > 0) {
      const { ttftMs } = await measure(engine, promptTokens, 1, run, options);
      if (!warmUp) {
        firstToken.push(ttftMs);
        prefill.push((promptTokens / ttftMs) * 1000);
      }
    }
    if (generateTokens > 0) {
      const { decodeTokensPerSecond } = await measure(engine, 1, generateTokens + 1, run, options);
      if (!warmUp) decode.push(decodeTokensPerSecond);
    }
  }
  onProgress?.(repetitions + 1, repetitions + 1);
  const { model, backend } = engine;
  const decoded = summarize(decode);
  return {
    machine,
    model: {
      name: model.name,
      bytes: model.weightBytes,
      parameters: model.parameters,
      type: model.weightType,
    },
    backend: backend.name,
    ...(backend.threads === undefined ? {} : { threads: backend.threads }),
    promptTokens,
    timeToFirstTokenMs: median(firstToken),
    results: [
      ...(promptTokens > 0 ? [{ test: `pp${promptTokens}`, tokensPerSecond: summarize(prefill) }] : []),
      ...(generateTokens > 0
        ? [
            {
              test: `tg${generateTokens}`,
              tokensPerSecond: decoded,
              bandwidthShare: (decoded.mean * model.bytesPerToken) / (machine.readBandwidthGBs * 1e9),
            },
          ]
        : []),
    ],
  };
}

async function measure(
  engine: Engine,
  promptTokens: number,
  generateTokens: number,
  run: number,
  { elastic, speculation, signal }: BenchmarkOptions,
): Promise<{ ttftMs: number; decodeTokensPerSecond: number }> {
  // A different prompt each time, or the KV cache would answer for the prefill. 7919 is prime: ids spread evenly.
  const tokens = Array.from(
    { length: promptTokens },
    (_, index) => ((index + 1) * 7919 + (run + 1) * 104729) % engine.model.vocabularySize,
  );
  const request = {
    tokens,
    maxTokens: generateTokens,
    sampling: { temperature: 0 },
    ignoreEnd: true,
    elastic,
    speculation,
    signal,
  };
  for await (const chunk of engine.generate(request)) if (chunk.timings) return chunk.timings;
  return { ttftMs: Number.NaN, decodeTokensPerSecond: Number.NaN };
}

function summarize(samples: readonly number[]): Samples {
  const mean = samples.reduce((sum, value) => sum + value, 0) / samples.length;
  const squares = samples.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, std: samples.length > 1 ? Math.sqrt(squares / (samples.length - 1)) : 0, samples };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}
