/** How fast the host's memory can be read, measured now. */
import { isUnicornError } from '@unicorn-exec/tensor';

/** Bytes per second: of `threads` threads by the CPU addon, of one thread where it cannot be loaded. */
export async function readBandwidth(threads: number | undefined): Promise<number> {
  const { measureReadBandwidth } = await import('@unicorn-exec/backend-cpu');
  try {
    return await measureReadBandwidth(threads);
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
