/**
 * The measured rates of one device on disk, so that processes after the one that measured plan by them. Losing them costs
 * accuracy only: a file that is damaged, of another device, or of another version of the package is treated as absent.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeAtomically } from '../file/atomic-file.js';
import type { DeviceSpeed } from './device-info.js';

export interface SpeedFileOptions {
  /** Path of the file; undefined when nothing is to be kept. */
  readonly path: string | undefined;
  /** The folder of the backend's package, whose `package.json` names the version. */
  readonly packageFolder: string;
  /** What else the rates depend on, such as the driver: rates measured under other values are not read. */
  readonly device: Readonly<Record<string, string | number>>;
}

export class DeviceSpeedFile {
  /** Path of the file; undefined when nothing is to be kept. */
  readonly path: string | undefined;
  readonly #options: SpeedFileOptions;

  constructor(options: SpeedFileOptions) {
    this.path = options.path;
    this.#options = options;
  }

  /** The rates that were kept; undefined where there are none for this device and version. */
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
   * Keeps the rates, in place of those that were kept before.
   *
   * @returns the path of the file; undefined when nothing is to be kept
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
    const { packageFolder, device } = this.#options;
    const manifest = readFileSync(join(packageFolder, 'package.json'), 'utf8');
    return { version: (JSON.parse(manifest) as { version?: unknown }).version, ...device };
  }
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
