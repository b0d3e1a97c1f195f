/**
 * The measured rates of one device on disk, beside the driver's pipeline cache, so that processes after the one that measured
 * plan by them. Losing it costs accuracy only: a file that is of another driver or version of this package, or damaged, is as
 * one that is not there.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeAtomically, type DeviceSpeed } from '@unicorn-exec/tensor';
import type { PhysicalDevice } from '../addon.js';
import { cacheFolder } from '../device/pipeline-cache.js';
import { packageFolder } from '../package-folder.js';

/** What of a device its rates depend on. */
export type MeasuredDevice = Pick<
  PhysicalDevice,
  'uuid' | 'pipelineCacheUuid' | 'vendorId' | 'deviceId' | 'driver'
>;

export class SpeedFile {
  /** Undefined when nothing is to be kept. */
  readonly path: string | undefined;
  readonly #device: Omit<MeasuredDevice, 'uuid'>;

  constructor(
    { uuid, pipelineCacheUuid, vendorId, deviceId, driver }: MeasuredDevice,
    folder = cacheFolder(),
  ) {
    this.path = folder ? join(folder, `speed-${uuid}.json`) : undefined;
    this.#device = { pipelineCacheUuid, vendorId, deviceId, driver };
  }

  read(): DeviceSpeed | undefined {
    if (this.path === undefined) return undefined;
    try {
      const found = JSON.parse(readFileSync(this.path, 'utf8')) as Record<string, unknown> | null;
      const key = this.#key();
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
    const content = { ...this.#key(), speed };
    await writeAtomically(path, `${JSON.stringify(content, undefined, 1)}\n`, { makeDirectory: true });
    return path;
  }

  #key(): Record<string, unknown> {
    return { version: packageVersion(), ...this.#device };
  }
}

function packageVersion(): unknown {
  const text = readFileSync(join(packageFolder, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version?: unknown }).version;
}

function speedFromJson(value: unknown): DeviceSpeed | undefined {
  const speed = value as Partial<DeviceSpeed> | undefined;
  const { bytesPerSecond, submitSeconds, stepSeconds } = speed ?? {};
  const { f32, fast } = speed?.flopsPerSecond ?? {};
  if (!isRate(bytesPerSecond) || !isRate(submitSeconds) || !isRate(stepSeconds)) return undefined;
  if (!isRate(f32) || !isRate(fast)) return undefined;
  return { bytesPerSecond, flopsPerSecond: { f32, fast }, submitSeconds, stepSeconds, basis: 'measured' };
}

function isRate(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0;
}
