/**
 * Where the time of prefill and decode goes, kernel by kernel, against what the device's memory yields in the same run:
 * the data behind `unicorn bench --kernels`. It times on the device, between timestamps; what the host adds is not in it.
 */
import { UnicornError, type ProfileEntry } from '@unicorn-exec/tensor';
import type { DeviceRoof } from '../machine/backends.js';
import { measureDeviceRoof } from './device-roof.js';
import type { Engine } from '../engine.js';
import {
  abortSignal,
  checkArgument,
  checkOptions,
  countFrom,
  engineRule,
  required,
  type OptionTable,
} from '../option.js';
import { generateRandom } from './random-prompt.js';
import type { ProgramProfile } from '../answer/request.js';
import type { BackendSummary } from '../machine/load-options.js';

export interface KernelProfileOptions {
  /** Tokens of prefill; 0 leaves it out. Default 512. */
  readonly promptTokens?: number | undefined;
  /** Tokens of decode; 0 leaves it out. Default 32. */
  readonly generateTokens?: number | undefined;
  /** Prefills measured after one warm-up. Default 3. */
  readonly repetitions?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const profileOptionTable: OptionTable<KernelProfileOptions> = {
  promptTokens: countFrom(0),
  generateTokens: countFrom(0),
  repetitions: countFrom(1),
  signal: abortSignal,
};

/** All steps of a phase that have a name and work on the same. */
export interface KernelRow {
  readonly step: string;
  /** Stored types and shapes, where the device tells. */
  readonly detail: string;
  /** In one submission: of one token when decoding. */
  readonly callsPerSubmission: number;
  readonly microsecondsPerCall: number;
  readonly bytesPerCall: number;
  readonly bytesPerSecond: number;
  /** Share of the bandwidth that the device's memory yields. */
  readonly bandwidthShare: number;
  readonly flopsPerSecond: number;
  /** Share of the time of all steps of the phase. */
  readonly timeShare: number;
  /** What the device launched for it; empty where it launches nothing. */
  readonly kernels: readonly {
    readonly name: string;
    readonly launchesPerCall: number;
    readonly microsecondsPerLaunch: number;
    readonly workgroupsPerLaunch: number;
  }[];
  /** Why the share is below {@link expectedShare}, as far as the figures tell. */
  readonly reason?: string;
}

export interface PhaseProfile {
  readonly phase: 'prefill' | 'decode';
  /** Tokens of one submission. */
  readonly tokens: number;
  readonly submissions: number;
  readonly millisecondsPerSubmission: number;
  /** Undefined where the device launches nothing. */
  readonly launchesPerSubmission: number | undefined;
  /** The longest first. */
  readonly rows: readonly KernelRow[];
}

export interface KernelProfile {
  readonly backend: BackendSummary;
  readonly model: string;
  readonly speed: DeviceRoof;
  readonly phases: readonly PhaseProfile[];
}

/** A kernel below this share of the bandwidth has to say why. */
export const expectedShare = 0.6;

/**
 * @param engine loaded with `profile`, with room for the longer of prompt and answer, and with nothing else to do
 * @throws UnicornError `usage/profile` when it was loaded without, `usage/option`, else as `Engine.generate`
 */
export async function profileKernels(
  engine: Engine,
  options: KernelProfileOptions = {},
): Promise<KernelProfile> {
  checkArgument('profileKernels', 'engine', engine, required(engineRule));
  checkOptions('profileKernels', options, profileOptionTable);
  const { promptTokens = 512, generateTokens = 32, repetitions = 3, signal } = options;
  const speed = await measureDeviceRoof(engine.backend);
  const request = { signal };
  let turn = 0;
  const prefill = (): Promise<unknown> => generateRandom(engine, promptTokens, 1, turn++, request);
  const decode = (count: number): Promise<unknown> => generateRandom(engine, 1, count, turn++, request);
  const phases: PhaseProfile[] = [];
  const measure = async (
    phase: PhaseProfile['phase'],
    tokens: number,
    work: () => Promise<void>,
  ): Promise<void> => {
    const before = await engine.profile();
    await work();
    const entries = difference(before, await engine.profile());
    if (entries.length === 0) {
      throw new UnicornError('usage/profile', 'The engine was loaded without `profile`.', {
        fix: 'Load it with { profile: true }.',
      });
    }
    phases.push(phaseOf(phase, tokens, entries, speed));
  };
  if (promptTokens > 0) {
    await prefill();
    await measure('prefill', promptTokens, async () => {
      for (let i = 0; i < repetitions; i++) await prefill();
    });
  }
  if (generateTokens > 0) {
    await decode(4);
    await measure('decode', 1, async () => void (await decode(generateTokens)));
  }
  return { backend: engine.backend, model: engine.model.name, speed, phases };
}

/** What was counted between two readings; entries without any call are left out. */
function difference(before: readonly ProgramProfile[], after: readonly ProgramProfile[]): ProfileEntry[] {
  return after.flatMap(({ program, steps }) => {
    const earlier = before.find((one) => one.program === program)?.steps ?? [];
    return steps.flatMap((entry) => {
      const old = earlier.find(({ step, detail }) => step === entry.step && detail === entry.detail);
      const calls = entry.calls - (old?.calls ?? 0);
      if (calls === 0) return [];
      const kernels = entry.kernels?.flatMap((kernel) => {
        const known = old?.kernels?.find(({ name }) => name === kernel.name);
        const launches = kernel.launches - (known?.launches ?? 0);
        if (launches === 0) return [];
        return {
          name: kernel.name,
          launches,
          seconds: kernel.seconds - (known?.seconds ?? 0),
          workgroups: kernel.workgroups - (known?.workgroups ?? 0),
        };
      });
      return {
        ...entry,
        calls,
        seconds: entry.seconds - (old?.seconds ?? 0),
        bytes: entry.bytes - (old?.bytes ?? 0),
        flops: entry.flops - (old?.flops ?? 0),
        ...(kernels ? { kernels } : {}),
      };
    });
  });
}

function phaseOf(
  phase: PhaseProfile['phase'],
  tokens: number,
  entries: readonly ProfileEntry[],
  speed: DeviceRoof,
): PhaseProfile {
  // Each submission takes its sample once.
  const submissions = Math.min(...entries.map(({ calls }) => calls));
  const seconds = entries.reduce((sum, entry) => sum + entry.seconds, 0);
  const bestFlops = Math.max(...entries.map((entry) => rate(entry.flops, entry.seconds)));
  const rows = entries.map((entry): KernelRow => {
    const { step, detail = '', calls, bytes, flops, kernels = [] } = entry;
    const share = rate(bytes, entry.seconds) / speed.bytesPerSecond;
    return {
      step,
      detail,
      callsPerSubmission: calls / submissions,
      microsecondsPerCall: (entry.seconds / calls) * 1e6,
      bytesPerCall: bytes / calls,
      bytesPerSecond: rate(bytes, entry.seconds),
      bandwidthShare: share,
      flopsPerSecond: rate(flops, entry.seconds),
      timeShare: entry.seconds / seconds,
      kernels: kernels.map((kernel) => ({
        name: kernel.name,
        launchesPerCall: kernel.launches / calls,
        microsecondsPerLaunch: (kernel.seconds / kernel.launches) * 1e6,
        workgroupsPerLaunch: kernel.workgroups / kernel.launches,
      })),
      ...(share < expectedShare ? { reason: slownessReason(entry, speed, bestFlops) } : {}),
    };
  });
  const launched = entries.filter(({ kernels }) => kernels);
  return {
    phase,
    tokens,
    submissions,
    millisecondsPerSubmission: (seconds / submissions) * 1e3,
    launchesPerSubmission:
      launched.length === 0
        ? undefined
        : launched.flatMap(({ kernels = [] }) => kernels).reduce((sum, { launches }) => sum + launches, 0) /
          submissions,
    rows: rows.sort((a, b) => b.timeShare - a.timeShare),
  };
}

/** What a few cores read in the 5 us that sharing work among threads takes, at 20 GB/s. */
const smallBytes = 100_000;

/** 0 where the device's clock saw no time. */
function rate(amount: number, seconds: number): number {
  return seconds > 0 ? amount / seconds : 0;
}

/**
 * Why a step stays below the bandwidth, as far as its own figures tell; the first of these that holds:
 *
 * - bytes at full bandwidth and its launches make up half of its time: it waits for launches
 * - it computes at half the best rate of the phase or more, and does so much for each byte that no memory would help
 * - it has fewer workgroups than the device has compute units, so that some have nothing to do
 * - on a device without launches: it moves less than threads can be woken for
 * - else what it waits for is neither: the latency of loads that depend on each other, or instructions around them
 */
export function slownessReason(
  { calls, seconds, bytes, flops, kernels = [] }: ProfileEntry,
  { bytesPerSecond, launchSeconds = 0, computeUnits = 0 }: DeviceRoof,
  bestFlops: number,
): string {
  const perCall = seconds / calls;
  const launches = kernels.reduce((sum, kernel) => sum + kernel.launches, 0) / calls;
  const floor = bytes / calls / bytesPerSecond + launches * launchSeconds;
  if (launches > 0 && 2 * floor >= perCall) {
    const what = launches > 1 ? `${amount(launches)} launches` : 'a launch';
    return `waits for ${what}: moves only ${byteText(bytes / calls)}`;
  }
  const flopsPerSecond = rate(flops, seconds);
  // Flops for each byte from which on the best rate seen, not the memory, is what holds it up.
  const ridge = bestFlops / bytesPerSecond;
  if (2 * flopsPerSecond >= bestFlops && flops >= ridge * bytes) {
    return `bound by arithmetic: ${flopText(flopsPerSecond)}`;
  }
  const widest = Math.max(0, ...kernels.map(({ workgroups, launches: count }) => workgroups / count));
  if (widest > 0 && widest < computeUnits) {
    return `few workgroups: ${amount(widest)} on ${computeUnits} compute units`;
  }
  if (flops >= ridge * bytes) {
    return `computes at ${flopText(flopsPerSecond)}, the best step of the phase at ${flopText(bestFlops)}`;
  }
  if (kernels.length === 0 && bytes / calls < smallBytes)
    return `small: moves only ${byteText(bytes / calls)}`;
  const each =
    widest > 0 ? `, ${byteText(bytes / calls / widest)} for each of ${amount(widest)} workgroups` : '';
  return `waits for loads that depend on each other, or computes between them: ${byteText(bytes / calls)}${each}`;
}

const amount = (value: number): string => (Number.isInteger(value) ? String(value) : value.toFixed(1));

function byteText(bytes: number): string {
  if (bytes < 1e3) return `${bytes.toFixed(0)} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function flopText(flopsPerSecond: number): string {
  return flopsPerSecond < 1e12
    ? `${(flopsPerSecond / 1e9).toFixed(1)} GFLOP/s`
    : `${(flopsPerSecond / 1e12).toFixed(1)} TFLOP/s`;
}
