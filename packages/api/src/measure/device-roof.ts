/** What the device of an engine yields at best, and how fast the host's memory can be read, both measured now. */
import { isUnicornError } from '@unicorn-exec/tensor';
import { knownBackends, type DeviceRoof } from '../machine/backends.js';

/**
 * Measure while the device does nothing else.
 *
 * @param backend name and device of the backend; one that this release does not bring, or that is several devices in one,
 * is compared with the host's memory
 * @throws UnicornError as opening the device
 */
export async function measureDeviceRoof(backend: {
  readonly name: string;
  readonly deviceId: string;
  readonly threads?: number;
}): Promise<DeviceRoof> {
  const known = knownBackends.find(({ name }) => name === backend.name);
  if (known?.measureRoof && !known.isHost) return known.measureRoof(backend.deviceId, backend.threads);
  return { kind: 'read', bytesPerSecond: await readBandwidth(backend.threads) };
}

/** Bytes per second: of `threads` threads by a native backend of the host, of one thread where it cannot be loaded. */
export async function readBandwidth(threads: number | undefined): Promise<number> {
  const host = knownBackends.find(({ isHost, measureRoof }) => isHost && measureRoof);
  try {
    return (await host!.measureRoof!(undefined, threads)).bytesPerSecond;
  } catch (error) {
    if (!isUnicornError(error) || error.code !== 'device/addon') throw error;
    return compareBandwidth();
  }
}

/** Two buffers, each larger than caches are. */
const comparedBytes = 2 ** 27;

/** The best of a few comparisons of two equal buffers: `Buffer.compare` is libc's memcmp, which reads both to the end. */
function compareBandwidth(): number {
  const [a, b] = [Buffer.alloc(comparedBytes, 1), Buffer.alloc(comparedBytes, 1)];
  let bestMs = Number.POSITIVE_INFINITY;
  for (let pass = 0; pass < 5; pass++) {
    const started = performance.now();
    a.compare(b);
    bestMs = Math.min(bestMs, performance.now() - started);
  }
  return (2 * comparedBytes * 1000) / bestMs;
}
