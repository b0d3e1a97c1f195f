/** Prefill and decode speed of an engine: llama-bench's tests, over the same path that answers take. */
import { availableParallelism, cpus } from 'node:os';
import type { ElasticSpec } from '@unicorn-exec/models';
import type { Engine } from '../engine.js';
import type { DeviceRoof } from '../machine/backends.js';
import { measureDeviceRoof, readBandwidth } from './device-roof.js';
import {
  abortSignal,
  callback,
  checkArgument,
  checkOptions,
  countFrom,
  engineRule,
  optionsOf,
  required,
  size,
  type OptionTable,
} from '../option.js';
import { generateRandom } from './random-prompt.js';
import type { LoadTimes } from '../machine/load-options.js';
import { speculationTable, type Speculation } from '../answer/request.js';

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

const benchmarkOptionTable: OptionTable<BenchmarkOptions> = {
  promptTokens: countFrom(0),
  generateTokens: countFrom(0),
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

export interface BenchmarkReport {
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
  readonly promptTokens: number;
  /** Median over the repetitions, end to end through `Engine.generate`. */
  readonly timeToFirstTokenMs: number;
  readonly results: readonly {
    readonly test: string;
    readonly tokensPerSecond: Samples;
    /** Share of the device's measured bandwidth that the weights read per token make up (decode only). */
    readonly bandwidthShare?: number;
  }[];
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
 * @throws UnicornError `usage/option`, and as `Engine.generate`; the context must hold
 * `max(promptTokens, 1) + generateTokens`
 */
export async function benchmark(engine: Engine, options: BenchmarkOptions = {}): Promise<BenchmarkReport> {
  checkArgument('benchmark', 'engine', engine, required(engineRule));
  checkOptions('benchmark', options, benchmarkOptionTable);
  const { promptTokens = 512, generateTokens = 128, repetitions = 5, onProgress } = options;
  const { elastic, speculation, signal } = options;
  const request = { elastic, speculation, signal };
  const machine = await describeMachine(engine.backend.threads);
  const speed = await measureDeviceRoof(engine.backend);
  const began = performance.now();
  await engine.prepare();
  const load = { ...engine.loadTimes, compileMs: performance.now() - began };
  const prefill: number[] = [];
  const decode: number[] = [];
  const firstToken: number[] = [];
  for (let run = 0; run <= repetitions; run++) {
    onProgress?.(run, repetitions + 1);
    const warmUp = run === 0;
    if (promptTokens > 0) {
      const { ttftMs } = await generateRandom(engine, promptTokens, 1, run, request);
      if (!warmUp) {
        firstToken.push(ttftMs);
        prefill.push((promptTokens / ttftMs) * 1000);
      }
    }
    if (generateTokens > 0) {
      const { decodeTokensPerSecond } = await generateRandom(engine, 1, generateTokens + 1, run, request);
      if (!warmUp) decode.push(decodeTokensPerSecond);
    }
  }
  onProgress?.(repetitions + 1, repetitions + 1);
  const { model, backend } = engine;
  const decoded = summarize(decode);
  return {
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
              bandwidthShare: (decoded.mean * model.bytesPerToken) / speed.bytesPerSecond,
            },
          ]
        : []),
    ],
  };
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
