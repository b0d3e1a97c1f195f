/**
 * Finds where barriers must be: before a dispatch that reads or writes what an earlier one wrote, or writes what it read,
 * unless a barrier lies between already. Ranges of bytes are compared, so that neighbours in one arena do not wait for each
 * other. Memory that no dispatch writes (weights, constants) never needs a barrier. Within a chain (`chain.ts`) a wait in
 * the shader takes the barrier's place.
 */
import type { Dispatch, Place } from './dispatch.js';

/** A place as memory: two places overlap when `memory` is the same and the ranges do. */
export interface MemoryRange {
  /** Compared by identity. */
  readonly memory: unknown;
  readonly begin: number;
  readonly end: number;
}

/** The memory of a place; undefined for memory that no dispatch writes. */
export type RangeOf = (place: Place) => MemoryRange | undefined;

export class MemoryRanges {
  readonly #byMemory = new Map<unknown, { begin: number; end: number }[]>();

  add({ memory, begin, end }: MemoryRange): void {
    const known = this.#byMemory.get(memory);
    if (known) known.push({ begin, end });
    else this.#byMemory.set(memory, [{ begin, end }]);
  }

  overlaps({ memory, begin, end }: MemoryRange): boolean {
    return this.#byMemory.get(memory)?.some((other) => begin < other.end && other.begin < end) ?? false;
  }

  clear(): void {
    this.#byMemory.clear();
  }
}

/** The ranges that a dispatch reads and writes, of memory that any dispatch may write. */
export function rangesOf(dispatch: Dispatch, rangeOf: RangeOf) {
  const reads: MemoryRange[] = [];
  const earlyReads: MemoryRange[] = [];
  const writes: MemoryRange[] = [];
  for (const argument of dispatch.arguments) {
    if (argument.kind !== 'address') continue;
    const range = rangeOf(argument.place);
    if (!range || range.begin === range.end) continue;
    if (argument.access === 'read') reads.push(range);
    else writes.push(range);
    if (argument.isEarly) earlyReads.push(range);
  }
  return { reads, earlyReads, writes };
}

/** Whether a barrier comes before each dispatch. The first has one always: it follows whatever ran before. */
export function findBarriers(dispatches: readonly Dispatch[], rangeOf: RangeOf): boolean[] {
  /** Since the last barrier. */
  const written = new MemoryRanges();
  const readOnly = new MemoryRanges();
  return dispatches.map((dispatch, index) => {
    const { reads, writes } = rangesOf(dispatch, rangeOf);
    const isNeeded =
      index === 0 ||
      reads.some((range) => written.overlaps(range)) ||
      writes.some((range) => written.overlaps(range) || readOnly.overlaps(range));
    if (isNeeded) {
      written.clear();
      readOnly.clear();
    }
    for (const range of reads) readOnly.add(range);
    for (const range of writes) written.add(range);
    return isNeeded;
  });
}
