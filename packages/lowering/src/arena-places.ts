/** Gives values their places: outputs lie in the bound buffers themselves, everything else in one arena. */
import { dtypeLayout, elementCount, resolveShape, tensorBytes } from '@unicorn-exec/tensor';
import type { DimValues, Graph } from '@unicorn-exec/tensor';
import { planArena } from './arena.js';
import type { ArenaPlace, PlannedValue, Storage } from './plan.js';
import { countKey } from './storage.js';

/**
 * Lets the producer of each output write the bound buffer itself, where the output is a whole value of its own.
 *
 * @param bindings `output:name` to the index of the binding
 * @returns the other outputs, which are to be copied at the end
 */
export function bindOutputs(
  graph: Graph,
  values: readonly PlannedValue[],
  bindings: ReadonlyMap<string, number>,
): { readonly from: number; readonly to: Storage }[] {
  const copies: { from: number; to: Storage }[] = [];
  for (const [name, id] of Object.entries(graph.outputs)) {
    const to: Storage = { kind: 'binding', index: bindings.get(`output:${name}`)! };
    const value = values[id]!;
    const root = values[value.root]!;
    const whole = value.offset.length === 0 && countKey(value.shape) === countKey(root.shape);
    if (root.storage.kind === 'arena' && whole) {
      for (const other of values) if (other.root === root.id) other.storage = to;
    } else {
      copies.push({ from: id, to });
    }
  }
  return copies;
}

/** What a step does to memory. */
export interface StepAccess {
  /** Value ids. */
  readonly reads: readonly number[];
  readonly writes: readonly number[];
  /** Values that the kernel which writes `root` may write over: it reads each element before it writes it. */
  overwritable(root: PlannedValue): readonly number[];
  /** Scratch bytes that the step itself needs while it runs, at the largest dims. */
  readonly scratchBytes?: number;
}

/** Bytes at the given dims. A packed value's rows are whole blocks. */
export function valueBytes(value: PlannedValue, dims: DimValues): number {
  const shape = resolveShape(value.shape, dims);
  const { blockSize, blockBytes } = dtypeLayout(value.dtype);
  return blockSize === 1 ? elementCount(shape) * blockBytes : tensorBytes(value.dtype, shape);
}

interface Building {
  readonly roots: number[];
  readonly bytes: number;
  readonly first: number;
  last: number;
}

/**
 * Gives every value of the arena its place and moves its offset there.
 *
 * @returns the places, the bytes of the arena, and where the scratch of each step lies
 */
export function placeInArena(
  values: readonly PlannedValue[],
  steps: readonly StepAccess[],
  maximumDims: DimValues,
): {
  readonly places: readonly ArenaPlace[];
  readonly bytes: number;
  readonly scratchOffsets: readonly number[];
} {
  const building = new Map<number, Building>();
  const lastRead = new Map<number, number>();
  steps.forEach(({ reads }, index) => {
    for (const id of reads) lastRead.set(values[id]!.root, index);
  });
  steps.forEach((step, index) => {
    for (const id of step.writes) {
      const root = values[values[id]!.root]!;
      if (root.storage.kind !== 'arena' || building.has(root.id)) continue;
      const last = Math.max(index, lastRead.get(root.id) ?? index);
      const over = overwritten(step, index, root, values, building, lastRead);
      if (over === undefined) {
        building.set(root.id, { roots: [root.id], bytes: valueBytes(root, maximumDims), first: index, last });
      } else {
        const place = building.get(over)!;
        place.roots.push(root.id);
        place.last = Math.max(place.last, last);
        building.set(root.id, place);
      }
    }
  });
  const distinct = [...new Set(building.values())];
  const scratch = steps.flatMap(({ scratchBytes }, step) =>
    scratchBytes ? [{ step, bytes: scratchBytes, first: step, last: step }] : [],
  );
  const { offsets, bytes } = planArena([...distinct, ...scratch]);
  const places = distinct.map((place, index) => ({ ...place, offset: offsets[index]! }));
  for (const place of places) {
    for (const value of values) {
      if (!place.roots.includes(value.root)) continue;
      value.offset = [{ bytes: place.offset, symbols: [] }, ...value.offset];
    }
  }
  const scratchOffsets = new Array<number>(steps.length).fill(0);
  scratch.forEach(({ step }, index) => (scratchOffsets[step] = offsets[distinct.length + index]!));
  return { places, bytes, scratchOffsets };
}

/** The root that a new one may take the place of: it dies here, and each element is read before it is overwritten. */
function overwritten(
  step: StepAccess,
  index: number,
  root: PlannedValue,
  values: readonly PlannedValue[],
  building: ReadonlyMap<number, Building>,
  lastRead: ReadonlyMap<number, number>,
): number | undefined {
  const found = step.overwritable(root).find((id) => {
    const value = values[id]!;
    const candidate = values[value.root]!;
    const place = building.get(candidate.id);
    return (
      place !== undefined &&
      place.roots.at(-1) === candidate.id &&
      place.last === index &&
      lastRead.get(candidate.id) === index &&
      value.offset.length === 0 &&
      candidate.dtype === root.dtype &&
      countKey(candidate.shape) === countKey(root.shape) &&
      countKey(value.shape) === countKey(root.shape)
    );
  });
  return found === undefined ? undefined : values[found]!.root;
}
