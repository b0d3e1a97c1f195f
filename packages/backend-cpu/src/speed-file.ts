/** Keeps the measured rates of this machine's processor: one file for each number of threads and SIMD level. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { DeviceSpeedFile } from '@unicorn-exec/tensor';
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

export class SpeedFile extends DeviceSpeedFile {
  constructor({ processor, threads, level }: SpeedKey, folder = cacheFolder()) {
    const name = processor.toLowerCase().replace(/[^a-z0-9]+/g, '-');
    super({
      path: folder ? join(folder, `speed-${name}-${threads}-${level}.json`) : undefined,
      packageFolder: addonConfig.folder,
      device: { processor, threads, level },
    });
  }
}
