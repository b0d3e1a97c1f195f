/**
 * Places buffers with known lifetimes in one stretch of memory so that none overlaps another that lives at the same time.
 * Largest first, each at the lowest offset that is free for its whole life: greedy by size, as in Pisarchyk and Lee 2020
 * (arXiv:2001.03288).
 */

export interface Lifetime {
  readonly bytes: number;
  /** The steps between which the buffer lives, both included. */
  readonly first: number;
  readonly last: number;
}

/** Buffers begin at cache lines, which the widest loads of kernels want too. */
export const arenaAlignment = 64;

/** @returns the offset of each buffer, in the given order, and the bytes of the whole */
export function planArena(buffers: readonly Lifetime[]): {
  readonly offsets: readonly number[];
  readonly bytes: number;
} {
  const offsets = new Array<number>(buffers.length).fill(0);
  const order = buffers
    .map((_, index) => index)
    .sort((a, b) => buffers[b]!.bytes - buffers[a]!.bytes || a - b);
  const placed: number[] = [];
  let total = 0;
  for (const index of order) {
    const { bytes, first, last } = buffers[index]!;
    const size = Math.ceil(bytes / arenaAlignment) * arenaAlignment;
    let offset = 0;
    // `placed` ascends by offset, so the first gap that is large enough is the lowest.
    for (const other of placed) {
      const neighbour = buffers[other]!;
      if (neighbour.last < first || neighbour.first > last) continue;
      if (offsets[other]! >= offset + size) break;
      offset = Math.max(
        offset,
        offsets[other]! + Math.ceil(neighbour.bytes / arenaAlignment) * arenaAlignment,
      );
    }
    offsets[index] = offset;
    total = Math.max(total, offset + size);
    const at = placed.findIndex((other) => offsets[other]! > offset);
    placed.splice(at < 0 ? placed.length : at, 0, index);
  }
  return { offsets, bytes: total };
}
