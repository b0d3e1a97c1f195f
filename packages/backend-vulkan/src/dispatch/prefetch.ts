/**
 * Reads of weights ahead of the products that need them. Between two products of a decode step come dispatches of a few
 * workgroups (norms, heads, attention), which last some microseconds each and leave the memory idle. Beside each of them
 * goes a dispatch that reads the first bytes of the next product's weights, so that the product finds them in the
 * last-level cache, and their pages in the tables that translate addresses. It depends on nothing and nothing on it: no
 * barrier comes with it, and no result changes. `shaders/prefetch.comp` is the kernel.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import type { PhysicalDevice } from '../addon.js';
import { read, u32, type Argument, type Dispatch, type Place } from './dispatch.js';
import { groupsFor, workgroupSize } from '../kernel/grid.js';

/** Bytes that are read beside each small dispatch, instead of what the device's kind suggests; 0 for none. */
export const prefetchVariable = 'UNICORN_VULKAN_PREFETCH';

export interface Prefetch {
  /** Bytes that are read beside each small dispatch; 0 for none. */
  readonly bytes: number;
  /** The same in a chain (`chain.ts`), whose products read by themselves while they wait. */
  readonly chainedBytes: number;
  /** The least bytes that a model's weights must take on the device for it to pay. */
  readonly leastWeightBytes: number;
}

/**
 * A device does not tell how large its cache is. Discrete ones with that many compute units have 40 MB or more (AMD: 96 of
 * Navi 31 or 60 of Navi 21; NVIDIA: 84 and more of Ada and Hopper). So many bytes stay in it while others stream through.
 *
 * What it gains is mostly translated addresses. Measured on an H200, steps of decode a second with 0, 8, 16 and 32 MiB:
 * 416, 404, 399, 370 with 4.6 GB of weights (Qwen2.5-7B), 703, 691, 684, 680 with 0.7 GB (Gemma 3 1B); with 15.6 GB
 * (Gemma 3 27B) 123.6 with 0 and 137.5 with 8 MiB, of which pages touched without bytes make 133.6. In a chain touched pages
 * are all that pays, if little: 161.0 with 0 and 161.4 with them.
 */
const largeDevice = {
  computeUnits: 64,
  bytes: 8 * 2 ** 20,
  chainedBytes: 64 * 2 ** 10,
  leastWeightBytes: 8 * 2 ** 30,
};

/** The least bytes of a product: a smaller one is read in the time that the reads ahead take to begin. */
const leastProductBytes = 2 ** 20;

/** The most workgroups, for each compute unit, of a dispatch that leaves the memory idle. */
const smallGroupsPerUnit = 16;

const vectorBytes = 16;
/** `VECTORS` of `shaders/prefetch.comp`. */
const vectorsPerInvocation = 4;
/** The most weights, of products that share a dispatch, that one dispatch reads. */
const mostRanges = 3;

/**
 * What to read ahead on a device. A number of bytes from the environment holds for models of every size.
 *
 * @throws UnicornError `usage/prefetch` when the environment asks for what is not a number of bytes
 */
export function prefetchOf(
  { kind, computeUnits }: Pick<PhysicalDevice, 'kind' | 'computeUnits'>,
  environment = process.env,
): Prefetch {
  const asked = environment[prefetchVariable];
  if (asked === undefined || asked === '') {
    const isLarge = kind === 'discrete' && computeUnits >= largeDevice.computeUnits;
    const { bytes, chainedBytes, leastWeightBytes } = largeDevice;
    return isLarge
      ? { bytes, chainedBytes, leastWeightBytes }
      : { bytes: 0, chainedBytes: 0, leastWeightBytes };
  }
  const bytes = Number(asked);
  // The largest number of vectors that the kernel counts.
  if (Number.isSafeInteger(bytes) && bytes >= 0 && bytes <= 2 ** 32) {
    return { bytes, chainedBytes: bytes, leastWeightBytes: 0 };
  }
  throw new UnicornError(
    'usage/prefetch',
    `${prefetchVariable} is "${asked}"; it takes a number of bytes up to 4 GiB.`,
    { fields: { asked }, fix: `Unset ${prefetchVariable}, or set it to 0 to read nothing ahead.` },
  );
}

/** The weights of an int8 product that is large enough, each once; none for any other dispatch. */
function productWeights({ pipeline, arguments: given }: Dispatch): Place[] {
  if (!pipeline.shader.startsWith('matmul-int8-')) return [];
  const byIndex = new Map<number, Place>();
  for (const argument of given) {
    if (argument.kind !== 'address' || argument.place.storage.kind !== 'weight') continue;
    // Biases are weights too, but no matrices.
    if (argument.place.byteLength < leastProductBytes) continue;
    byIndex.set(argument.place.storage.index, argument.place);
  }
  return [...byIndex.values()].slice(0, mostRanges);
}

const isProduct = ({ pipeline }: Dispatch): boolean =>
  pipeline.shader.startsWith('matmul-') && pipeline.shader !== 'matmul-prepare';

/** Reads the parts from `begin` to `end` of the bytes of some weights, and touches the pages of all. */
function prefetch(weights: readonly Place[], begin: number, end: number): Dispatch {
  const vectorsAt = (share: number, { byteLength }: Place): number =>
    Math.floor((share * byteLength) / vectorBytes);
  const total = weights.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const ranges = weights.map((place) => {
    const [from, to] = [vectorsAt(begin / total, place), vectorsAt(end / total, place)];
    const whole = vectorsAt(1, place);
    const byteOffset = place.byteOffset + vectorBytes * from;
    return { place: { ...place, byteOffset }, vectors: to - from, touched: whole - from };
  });
  const all = Array.from({ length: mostRanges }, (_, index) => ranges[index]);
  const runLength = workgroupSize * vectorsPerInvocation;
  const runs = ranges.reduce((sum, { vectors }) => sum + Math.ceil(vectors / runLength), 0);
  // Nothing writes through it, and without bytes no dispatch waits for it.
  const sink: Place = { storage: { kind: 'counters' }, byteOffset: 0, byteLength: 0 };
  return {
    pipeline: { shader: 'prefetch', constants: [workgroupSize] },
    arguments: [
      ...all.map((range): Argument => (range ? read(range.place) : { kind: 'null' })),
      read(sink),
      ...all.map((range) => u32(range?.vectors ?? 0)),
      ...all.map((range) => u32(range?.touched ?? 0)),
      u32(0),
    ],
    groups: groupsFor(runs * runLength, vectorsPerInvocation),
    name: 'prefetch',
  };
}

/**
 * The dispatches with reads ahead among them: beside each small one the next bytes of the next product.
 *
 * @param bytes to read beside each
 */
export function withPrefetches<D extends Dispatch>(
  dispatches: readonly D[],
  bytes: number,
  computeUnits: number,
): D[] {
  if (bytes === 0) return [...dispatches];
  const mostGroups = smallGroupsPerUnit * Math.max(1, computeUnits);
  const isSmall = ({ groups: [x, y, z] }: Dispatch): boolean => x * y * z <= mostGroups;
  let next: readonly Place[] = [];
  let between: { at: number; host: D }[] = [];
  const made = new Map<number, D>();
  const readAhead = (): void => {
    const total = next.reduce((sum, { byteLength }) => sum + byteLength, 0);
    let begin = 0;
    for (const { at, host } of between) {
      const end = Math.min(total, begin + bytes);
      if (end - begin < vectorBytes * mostRanges) return;
      made.set(at, { ...host, ...prefetch(next, begin, end) });
      begin = end;
    }
  };
  dispatches.forEach((dispatch, at) => {
    if (!isProduct(dispatch)) {
      if (isSmall(dispatch)) between.push({ at, host: dispatch });
      return;
    }
    next = productWeights(dispatch);
    readAhead();
    between = [];
  });
  return dispatches.flatMap((dispatch, at) => {
    const ahead = made.get(at);
    return ahead ? [dispatch, ahead] : [dispatch];
  });
}
