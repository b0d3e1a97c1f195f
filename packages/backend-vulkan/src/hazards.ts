/**
 * Where barriers must be: before a dispatch that reads what an earlier one wrote, writes what it wrote, or writes what it
 * read, unless a barrier lies between already. Ranges of bytes are compared, so that neighbours in one arena do not wait
 * for each other. What nobody writes (weights, constants) never makes a barrier.
 */
import type { Dispatch, Place } from './dispatch.js';

/** A place as memory: two places overlap when `memory` is the same and the ranges do. */
export interface MemoryRange {
  /** Compared by identity. */
  readonly memory: unknown;
  readonly begin: number;
  readonly end: number;
}

type Ranges = Map<unknown, { begin: number; end: number }[]>;

function overlaps(ranges: Ranges, { memory, begin, end }: MemoryRange): boolean {
  return ranges.get(memory)?.some((other) => begin < other.end && other.begin < end) ?? false;
}

function note(ranges: Ranges, { memory, begin, end }: MemoryRange): void {
  const known = ranges.get(memory);
  if (known) known.push({ begin, end });
  else ranges.set(memory, [{ begin, end }]);
}

/**
 * Whether a barrier comes before each dispatch. The first has one always: it follows whatever ran before.
 *
 * @param rangeOf the memory of a place; undefined for memory that nobody writes
 */
export function findBarriers(
  dispatches: readonly Dispatch[],
  rangeOf: (place: Place) => MemoryRange | undefined,
): boolean[] {
  /** Since the last barrier. */
  const written: Ranges = new Map();
  const readOnly: Ranges = new Map();
  return dispatches.map((dispatch, index) => {
    const reads: MemoryRange[] = [];
    const writes: MemoryRange[] = [];
    for (const argument of dispatch.arguments) {
      if (argument.kind !== 'address') continue;
      const range = rangeOf(argument.place);
      if (!range || range.begin === range.end) continue;
      (argument.access === 'read' ? reads : writes).push(range);
    }
    const isNeeded =
      index === 0 ||
      reads.some((range) => overlaps(written, range)) ||
      writes.some((range) => overlaps(written, range) || overlaps(readOnly, range));
    if (isNeeded) {
      written.clear();
      readOnly.clear();
    }
    for (const range of reads) note(readOnly, range);
    for (const range of writes) note(written, range);
    return isNeeded;
  });
}
