/**
 * The tuning of one device on disk, beside the driver's pipeline cache. It is for one driver and one set of shaders. A file
 * of others, or a damaged one, is ignored with a notice, since only speed is lost.
 */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { UnicornError, writeAtomically, parseJson } from '@unicorn-exec/tensor';
import type { PhysicalDevice } from '../addon.js';
import { cacheFolder } from '../device/pipeline-cache.js';
import type { ShaderLibrary } from '../device/shader-library.js';
import { mergeTunings, noTuning, tuningFromJson, tuningToJson, type Tuning } from './tuning.js';

/** Version of the file's layout. */
const fileVersion = 1;

/** The largest file that is read, in bytes: thousands of rules. */
const largestFileBytes = 8 * 2 ** 20;

/** The properties of a device that its tuning depends on. */
export type TunedDevice = Pick<
  PhysicalDevice,
  'uuid' | 'pipelineCacheUuid' | 'vendorId' | 'deviceId' | 'driver' | 'name'
>;

/** A hash that changes with any shader whose tiles are tuned. */
export function tunedShadersHash(shaders: Pick<ShaderLibrary, 'names' | 'hash'>): string {
  const hash = createHash('sha256');
  for (const name of shaders.names.filter((each) => each.startsWith('matmul-'))) {
    hash.update(`${name} ${shaders.hash(name)}\n`);
  }
  return hash.digest('hex');
}

export class TuningFile {
  /** Undefined when nothing is to be kept. */
  readonly path: string | undefined;
  readonly #key: Readonly<Record<string, unknown>>;

  /** @param shaders hash of {@link tunedShadersHash} */
  constructor(device: TunedDevice, shaders: string, folder = cacheFolder()) {
    const { uuid, pipelineCacheUuid, vendorId, deviceId, driver } = device;
    this.path = folder ? join(folder, `tuning-${uuid}.json`) : undefined;
    this.#key = { version: fileVersion, vendorId, deviceId, driver, pipelineCacheUuid, shaders };
  }

  /** Nothing where there is no file, or where it cannot be used: `notice` is told why. */
  read(notice: (reason: string) => void = warn): Tuning {
    const { path } = this;
    if (path === undefined) return noTuning;
    const ignored = (why: string): Tuning => {
      notice(`${path} is ignored: ${why}. \`unicorn bench --backend vulkan --tune\` makes it anew.`);
      return noTuning;
    };
    let text: string;
    try {
      if (statSync(path).size > largestFileBytes) return ignored('it is too large for a tuning');
      text = readFileSync(path, 'utf8');
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      return code === 'ENOENT' ? noTuning : ignored(message);
    }
    let value: unknown;
    try {
      value = parseJson(text);
    } catch {
      return ignored('it is not JSON');
    }
    const found = value as Readonly<Record<string, unknown>> | null;
    const other = Object.keys(this.#key).find((key) => found?.[key] !== this.#key[key]);
    if (other !== undefined) return ignored(`it was made for another ${keyNames[other]}`);
    return tuningFromJson(found) ?? ignored('a rule in it has not the form that it should have');
  }

  /**
   * Adds a tuning to the one that is kept.
   *
   * @returns the file; undefined when nothing is to be kept
   * @throws UnicornError `usage/file` when it cannot be written
   */
  async write(tuning: Tuning): Promise<string | undefined> {
    const { path } = this;
    if (path === undefined) return undefined;
    const all = mergeTunings(
      this.read(() => {}),
      tuning,
    );
    try {
      const content = { ...this.#key, ...(tuningToJson(all) as object) };
      await writeAtomically(path, `${JSON.stringify(content, undefined, 1)}\n`, { makeDirectory: true });
      return path;
    } catch (cause) {
      throw new UnicornError('usage/file', `${path} cannot be written: ${(cause as Error).message}.`, {
        fields: { file: path },
        fix: 'Name a folder that you may write to in UNICORN_VULKAN_CACHE.',
        cause,
      });
    }
  }
}

const keyNames: Readonly<Record<string, string>> = {
  version: 'version of this package',
  vendorId: 'device',
  deviceId: 'device',
  driver: 'driver',
  pipelineCacheUuid: 'driver',
  shaders: 'version of the shaders',
};

function warn(notice: string): void {
  process.emitWarning(notice, 'UnicornWarning');
}
