/** Prefill and decode speed of an engine: llama-bench's tests, over the same path that answers take. */
import { availableParallelism, cpus } from 'node:os';
import type { ElasticSpec } from '@unicorn-exec/models';
import type { Engine } from '../engine.js';
import type { DeviceRoof } from '../machine/backends.js';
import { packageVersion } from '../package-folder.js';
import { measureDeviceRoof, readBandwidth } from './device-roof.js';
import {
  abortSignal,
  callback,
  checkArgument,
  checkOptions,
  countFrom,
  either,
  engineRule,
  listOf,
  optionsOf,
  required,
  size,
  type OptionTable,
} from '../option.js';
import { generateRandom } from './random-prompt.js';
import type { LoadTimes } from '../machine/load-options.js';
import { speculationTable, type Speculation } from '../answer/request.js';

export interface BenchmarkOptions {
  /** Tokens of prefill, a test for each number; 0 leaves the test out. Default 512. */
  readonly promptTokens?: number | readonly number[] | undefined;
  /** Tokens of decode, a test for each number; 0 leaves the test out. Default 128. */
  readonly generateTokens?: number | readonly number[] | undefined;
  /** Tokens in the KV cache before each test begins, every test once for each number. Default 0. */
  readonly depth?: number | readonly number[] | undefined;
  /** Measured runs after one warm-up. Default 5. */
  readonly repetitions?: number | undefined;
  readonly elastic?: ElasticSpec | undefined;
  /** For decode. Random prompts are not what guesses are good at: this shows the cost more than the gain. */
  readonly speculation?: Speculation | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

const benchmarkOptionTable: OptionTable<BenchmarkOptions> = {
  promptTokens: either(countFrom(0), listOf(countFrom(0))),
  generateTokens: either(countFrom(0), listOf(countFrom(0))),
  depth: either(countFrom(0), listOf(countFrom(0))),
  repetitions: countFrom(1),
  elastic: size,
  speculation: optionsOf(speculationTable),
  signal: abortSignal,
  onProgress: callback,
};

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

export interface BenchmarkResult {
  /** `pp512`, `tg128`; `tg128 @ d4096` behind 4,096 tokens of context. */
  readonly test: string;
  /** Tokens that the test computes, and the tokens of context in front of them. */
  readonly tokens: number;
  readonly depth: number;
  /** Threads of a device that is the CPU. */
  readonly threads?: number;
  readonly tokensPerSecond: Samples;
  /** Share of the device's measured bandwidth that the weights read per token make up (decode only). */
  readonly bandwidthShare?: number;
}

export interface BenchmarkReport {
  /** Version of this package. */
  readonly version: string;
  /** When it was measured, in ISO 8601. */
  readonly date: string;
  readonly machine: Machine;
  /** Roof of the device that computes, measured in this run. */
  readonly speed: DeviceRoof;
  readonly load: LoadTimes & {
    /** Programs, pipelines included; fewer when an earlier process has left its own on disk. */
    readonly compileMs: number;
  };
  readonly model: {
    readonly name: string;
    readonly bytes: number;
    readonly parameters: number;
    readonly type: string;
  };
  readonly backend: string;
  /** For people. */
  readonly device: string;
  readonly threads?: number;
  /** Tokens of the prompt whose first token was timed: the first number of the option. */
  readonly promptTokens: number;
  /** Median over the repetitions, end to end through `Engine.generate`. */
  readonly timeToFirstTokenMs: number;
  readonly results: readonly BenchmarkResult[];
}

/**
 * CPU, cores and the read bandwidth, measured now.
 *
 * @throws UnicornError `usage/option`
 */
export async function describeMachine(threads?: number): Promise<Machine> {
  checkArgument('describeMachine', 'threads', threads, countFrom(1));
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    readBandwidthGBs: (await readBandwidth(threads)) / 1e9,
  };
}

/**
 * @throws UnicornError `usage/option`, `usage/cancelled`, and as `Engine.generate`; the context must hold each test behind its depth, and one
 * token more: {@link benchmarkContext}
 */
export async function benchmark(engine: Engine, options: BenchmarkOptions = {}): Promise<BenchmarkReport> {
  checkArgument('benchmark', 'engine', engine, required(engineRule));
  checkOptions('benchmark', options, benchmarkOptionTable);
  const { repetitions = 5, onProgress, elastic, speculation, signal } = options;
  const machine = await describeMachine(engine.backend.threads);
  const speed = await measureDeviceRoof(engine.backend);
  // Programs are compiled for the ids that have tokens; reading which is not their time.
  await engine.model.sampledIds();
  const began = performance.now();
  await engine.prepare();
  const load = { ...engine.loadTimes, compileMs: performance.now() - began };
  const tests = testsOf(options).map((test) => ({
    ...test,
    samples: [] as number[],
    firstTokenMs: [] as number[],
  }));
  const runner = new TestRunner(engine, { elastic, speculation, signal });
  for (let run = 0; run <= repetitions; run++) {
    onProgress?.(run, repetitions + 1);
    for (const test of tests) {
      const { tokensPerSecond, ttftMs } = await runner.run(test);
      // The first pass warms up.
      if (run === 0) continue;
      test.samples.push(tokensPerSecond);
      test.firstTokenMs.push(ttftMs);
    }
  }
  onProgress?.(repetitions + 1, repetitions + 1);
  const { model, backend } = engine;
  const threads = backend.threads === undefined ? {} : { threads: backend.threads };
  const prompt = tests.find(({ kind, depth }) => kind === 'prompt' && depth === 0);
  return {
    version: packageVersion(),
    date: new Date().toISOString(),
    machine,
    speed,
    load,
    model: {
      name: model.name,
      bytes: model.weightBytes,
      parameters: model.parameters,
      type: model.weightType,
    },
    backend: backend.name,
    device: backend.device,
    ...threads,
    promptTokens: prompt?.tokens ?? 0,
    timeToFirstTokenMs: median(prompt?.firstTokenMs ?? []),
    results: tests.map(({ kind, tokens, depth, samples }) => {
      const tokensPerSecond = summarize(samples);
      const share = (tokensPerSecond.mean * model.bytesPerToken) / speed.bytesPerSecond;
      return {
        test: testName({ kind, tokens, depth }),
        tokens,
        depth,
        ...threads,
        tokensPerSecond,
        ...(kind === 'decode' ? { bandwidthShare: share } : {}),
      };
    }),
  };
}

/** The least context that a benchmark's tests need. */
export function benchmarkContext(options: BenchmarkOptions): number {
  return Math.max(...testsOf(options).map(({ tokens, depth }) => Math.max(depth, 1) + tokens + 1), 2);
}

interface Test {
  readonly kind: 'prompt' | 'decode';
  readonly tokens: number;
  readonly depth: number;
}

/** Depth by depth, prefill before decode, as llama-bench orders them. */
function testsOf({ promptTokens = 512, generateTokens = 128, depth = 0 }: BenchmarkOptions): Test[] {
  const list = (numbers: number | readonly number[]): readonly number[] =>
    typeof numbers === 'number' ? [numbers] : numbers;
  const tests = list(depth).flatMap((tokensBefore): Test[] => [
    ...list(promptTokens).map((tokens): Test => ({ kind: 'prompt', tokens, depth: tokensBefore })),
    ...list(generateTokens).map((tokens): Test => ({ kind: 'decode', tokens, depth: tokensBefore })),
  ]);
  return tests.filter(({ tokens }) => tokens > 0);
}

function testName({ kind, tokens, depth }: Test): string {
  return `${kind === 'prompt' ? 'pp' : 'tg'}${tokens}${depth > 0 ? ` @ d${depth}` : ''}`;
}

/** Runs tests over prompts that no test before had. */
class TestRunner {
  #turn = 0;

  constructor(
    private readonly engine: Engine,
    private readonly extra: Pick<BenchmarkOptions, 'elastic' | 'speculation' | 'signal'>,
  ) {}

  /** One run of a test; `ttftMs` counts what is in front of it too, but for a prefill behind a depth. */
  async run({ kind, tokens, depth }: Test): Promise<{ tokensPerSecond: number; ttftMs: number }> {
    const { engine, extra } = this;
    const turn = this.#turn++;
    if (kind === 'decode') {
      const { decodeTokensPerSecond, ttftMs } = await generateRandom(
        engine,
        Math.max(depth, 1),
        tokens + 1,
        turn,
        extra,
      );
      return { tokensPerSecond: decodeTokensPerSecond, ttftMs };
    }
    // The tokens in front stay in the KV cache, where the test's own prompt finds them.
    if (depth > 0) await generateRandom(engine, depth, 1, turn, extra);
    const { ttftMs, cachedPromptTokens } = await generateRandom(engine, depth + tokens, 1, turn, extra);
    return { tokensPerSecond: ((depth + tokens - cachedPromptTokens) / ttftMs) * 1000, ttftMs };
  }
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
