/** The backend `cpu`: one device, the processor, when the addon can be loaded. */
import { availableParallelism } from 'node:os';
import { guarded } from '@unicorn-exec/native';
import {
  backendApiVersion,
  blockDTypes,
  hostPool,
  isUnicornError,
  kvDTypes,
  UnicornError,
} from '@unicorn-exec/tensor';
import type {
  Backend,
  Device,
  DeviceDescription,
  DeviceInfo,
  DeviceSpeed,
  OpenOptions,
} from '@unicorn-exec/tensor';
import { CpuDevice } from './device.js';
import { loadAddon } from './load-addon.js';
import { measureSpeed } from './measure-speed.js';
import { CpuPlanner } from './planner.js';
import { availableCores, availableMemory, processorName } from './processor.js';
import { SpeedFile } from './speed-file.js';
import { weightPlacements, type WeightPlacement } from './weight-set.js';

/** The most threads that may be asked for: more are a mistake on any machine that there is. */
const mostThreads = 1024;

function speedFile(threads: number, level: string): SpeedFile {
  return new SpeedFile({ processor: processorName(), threads, level });
}

/** @param level the SIMD level that is used, of those that there are */
function deviceInfo(threads: number, levels: readonly string[], level: string): DeviceInfo {
  const bytes = availableMemory();
  const speed = speedFile(threads, level).read();
  // Each level sums in lanes of its own width, so bits differ between levels; they depend on nothing else here.
  const numerics = `cpu ${process.arch} ${level}`;
  return {
    backend: 'cpu',
    id: 'cpu',
    name: `${processorName()} (${threads} ${threads === 1 ? 'thread' : 'threads'}, ${level})`,
    dtypes: { weights: ['f32', 'f16', 'bf16', ...blockDTypes], kv: kvDTypes },
    precisions: ['f32', 'fast'],
    activations: {
      f32: { kind: 'float', dtype: 'f32' },
      fast: { kind: 'int8', scale: 'block', blockSize: 32 },
    },
    numerics: { prompt: numerics, token: numerics },
    shapes: 'dynamic',
    rows: { kind: 'any' },
    alignmentBytes: 64,
    maxBufferBytes: bytes,
    heaps: [
      {
        name: 'host',
        bytes,
        pool: hostPool,
        hostVisible: true,
        ...(speed ? { bytesPerSecond: speed.bytesPerSecond } : {}),
      },
    ],
    threads,
    ...(speed ? { speed } : {}),
    features: levels,
  };
}

/** The environment variable that names a SIMD level to use instead of the best, for tests and comparisons. */
export const levelVariable = 'UNICORN_CPU_LEVEL';

function chosenLevel(levels: readonly string[], best: string): string {
  const wanted = process.env[levelVariable];
  if (wanted === undefined || wanted === '') return best;
  if (levels.includes(wanted)) return wanted;
  throw new UnicornError(
    'usage/level',
    `${levelVariable} asks for the level "${wanted}"; this machine has ${levels.join(', ')}.`,
    { fields: { wanted, levels: [...levels] }, fix: `Unset ${levelVariable}.` },
  );
}

export interface CpuOpenOptions extends OpenOptions {
  /** Where the weights of model files are kept. Default: `auto`. */
  readonly weights?: WeightPlacement;
}

export interface CpuBackend extends Backend {
  /** @throws UnicornError also `usage/weight-placement` for a placement that does not exist */
  open(id?: string, options?: CpuOpenOptions): Promise<Device>;
  /**
   * As of `Backend`, at the number of threads by default and the SIMD level in use. The rates are kept in a file
   * (`UNICORN_CPU_CACHE`); without one they are only returned.
   *
   * @throws UnicornError as `open`; `usage/file` or `resource/disk` when the file cannot be written
   */
  measure(id?: string): Promise<DeviceSpeed>;
}

/** The backend `cpu`. */
export const cpuBackend: CpuBackend = {
  name: 'cpu',
  apiVersion: backendApiVersion,

  async probe(): Promise<readonly DeviceDescription[]> {
    try {
      const { levels, best } = loadAddon().probe();
      const info = deviceInfo(availableCores(), levels, chosenLevel(levels, best));
      return [{ id: info.id, name: info.name, usable: true, info }];
    } catch (error) {
      if (!isUnicornError(error)) throw error;
      const fix = error.fix === undefined ? {} : { fix: error.fix };
      return [{ id: 'cpu', name: processorName(), usable: false, reason: error.message, ...fix }];
    }
  },

  async open(id = 'cpu', options: CpuOpenOptions = {}) {
    if (id !== 'cpu') {
      throw new UnicornError('device/unavailable', `The CPU backend has no device "${id}".`, {
        fields: { device: id, devices: ['cpu'] },
        fix: 'Use the device "cpu".',
      });
    }
    const threads = options.threads ?? availableCores();
    if (!Number.isInteger(threads) || threads < 1 || threads > mostThreads) {
      throw new UnicornError('usage/threads', `${threads} is not a number of threads.`, {
        fields: { threads, processors: availableParallelism() },
        fix: `Use a whole number from 1 to ${mostThreads}.`,
      });
    }
    const { weights = 'auto' } = options;
    if (!weightPlacements.includes(weights)) {
      throw new UnicornError('usage/weight-placement', `"${weights}" is not a place for weights.`, {
        fields: { weights, known: [...weightPlacements] },
        fix: `Use one of ${weightPlacements.join(', ')}.`,
      });
    }
    const addon = loadAddon();
    const { levels, best } = addon.probe();
    const level = chosenLevel(levels, best);
    return guarded(() => new CpuDevice(addon, deviceInfo(threads, levels, level), threads, level, weights));
  },

  planner: (info) => new CpuPlanner(info),

  async measure(id) {
    const device = await cpuBackend.open(id);
    try {
      const speed = await measureSpeed(device);
      const { levels, best } = loadAddon().probe();
      await speedFile(device.info.threads!, chosenLevel(levels, best)).write(speed);
      return speed;
    } finally {
      await device.close();
    }
  },
};
