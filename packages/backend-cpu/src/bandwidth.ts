/** How fast this machine's memory can be read: the ceiling of decoding, which reads every weight for every token. */
import { guarded } from '@unicorn-exec/native';
import { loadAddon } from './load-addon.js';
import { availableCores } from './processor.js';

/** Bytes of the buffer: more than any cache that a core has to itself, and few enough to be read in milliseconds. */
const defaultBytes = 256 * 2 ** 20;

/**
 * Bytes per second that `threads` threads read together: the best of several passes over a buffer of `byteLength`.
 * Blocks for about a tenth of a second.
 *
 * @throws UnicornError `device/addon` when the addon cannot be loaded
 */
export async function measureReadBandwidth(
  threads: number = availableCores(),
  byteLength: number = defaultBytes,
): Promise<number> {
  const addon = loadAddon();
  return guarded(() => addon.measureReadBandwidth(threads, byteLength));
}
