/**
 * The measured rates of this machine's processor on disk, one file for each number of threads and SIMD level, so that
 * processes after the one that measured plan by them. Losing it costs accuracy only: a file that is of another processor or
 * version of this package, or damaged, is as one that is not there.
 */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { writeAtomically, type DeviceSpeed } from '@unicorn-exec/tensor';
import { addonConfig } from './load-addon.js';

/** Names a folder for what is measured; empty: nothing is kept. Default: `unicorn/cpu` in XDG_CACHE_HOME or `~/.cache`. */
export const cacheVariable = 'UNICORN_CPU_CACHE';

/** Undefined when nothing is to be kept. */
export function cacheFolder(environment = process.env): string | undefined {
  const named = environment[cacheVariable];
  if (named !== undefined) return named === '' ? undefined : named;
  const { XDG_CACHE_HOME } = environment;
  return join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'unicorn', 'cpu');
}

/** What the rates depend on, the version of this package aside. */
export interface SpeedKey {
  readonly processor: string;
  readonly threads: number;
  readonly level: string;
}

export class SpeedFile {
  /** Undefined when nothing is to be kept. */
  readonly path: string | undefined;

  constructor(
    private readonly key: SpeedKey,
    folder = cacheFolder(),
  ) {
    const { processor, threads, level } = key;
    const name = processor.toLowerCase().replace(/[^a-z0-9]+/g, '-');
    this.path = folder && join(folder, `speed-${name}-${threads}-${level}.json`);
  }

  read(): DeviceSpeed | undefined {
    if (this.path === undefined) return undefined;
    try {
      const found = JSON.parse(readFileSync(this.path, 'utf8')) as Record<string, unknown> | null;
      const key = this.#fullKey();
      if (Object.keys(key).some((part) => found?.[part] !== key[part])) return undefined;
      return speedFromJson(found?.speed);
    } catch {
      return undefined;
    }
  }

  /**
   * @returns the file; undefined when nothing is to be kept
   * @throws UnicornError `usage/file`, `resource/disk` when it cannot be written
   */
  async write(speed: DeviceSpeed): Promise<string | undefined> {
    const { path } = this;
    if (path === undefined) return undefined;
    const content = { ...this.#fullKey(), speed };
    await writeAtomically(path, `${JSON.stringify(content, undefined, 1)}\n`, { makeDirectory: true });
    return path;
  }

  #fullKey(): Record<string, unknown> {
    return { version: packageVersion(), ...this.key };
  }
}

function packageVersion(): unknown {
  const text = readFileSync(join(addonConfig.folder, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version?: unknown }).version;
}

function speedFromJson(value: unknown): DeviceSpeed | undefined {
  const speed = value as Partial<DeviceSpeed> | undefined;
  const { bytesPerSecond, submitSeconds, stepSeconds } = speed ?? {};
  const { f32, fast } = speed?.flopsPerSecond ?? {};
  if (!isRate(bytesPerSecond) || !isRate(submitSeconds) || !isRate(stepSeconds)) return undefined;
  if (!isRate(f32) || !isRate(fast)) return undefined;
  return {
    bytesPerSecond,
    flopsPerSecond: { f32, fast },
    submitSeconds,
    stepSeconds,
    basis: 'measured',
  };
}

function isRate(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0;
}
