/**
 * Keeps what the driver compiled between processes: one file for each driver and device in the user's cache folder. Losing
 * it costs time only, so nothing here fails: a file that cannot be read or written is treated as absent.
 */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { writeAtomically } from '@unicorn-exec/tensor';
import type { PhysicalDevice } from '../addon.js';

/** Names a folder for the cache; empty: nothing is kept. Default: `unicorn/vulkan` in XDG_CACHE_HOME or `~/.cache`. */
export const cacheVariable = 'UNICORN_VULKAN_CACHE';

/** Undefined when nothing is to be kept. */
export function cacheFolder(environment = process.env): string | undefined {
  const named = environment[cacheVariable];
  if (named !== undefined) return named === '' ? undefined : named;
  const { XDG_CACHE_HOME } = environment;
  return join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'unicorn', 'vulkan');
}

export class PipelineCacheFile {
  readonly path: string | undefined;

  constructor({ uuid, pipelineCacheUuid }: PhysicalDevice, folder = cacheFolder()) {
    this.path = folder && join(folder, `pipelines-${uuid}-${pipelineCacheUuid}.bin`);
  }

  /** The content of the file, if any. The driver itself checks that it fits. */
  read(): Uint8Array | undefined {
    if (this.path === undefined) return undefined;
    try {
      return readFileSync(this.path);
    } catch {
      return undefined;
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.path === undefined) return;
    try {
      await writeAtomically(this.path, bytes, { makeDirectory: true });
    } catch {
      // The next process compiles again.
    }
  }
}
