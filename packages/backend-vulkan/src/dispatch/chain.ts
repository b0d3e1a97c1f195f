/**
 * Dispatches that follow each other without a barrier. A barrier lets the device run empty before the next dispatch begins,
 * some microseconds of each of the hundreds of a decode step. In a chain a dispatch begins while the one before it still
 * runs, reads weights, and waits in the shader until all workgroups of the dispatches before it have counted themselves
 * (`shaders/include/chain.glsl`, as CUDA's programmatic dependent launches). Memory is ordered by those atomics.
 *
 * A workgroup that waits must not keep those from running that it waits for. This holds on devices that start the
 * workgroups of a queue in order; Vulkan does not promise it. So chains are used on devices where it was seen to hold, and
 * a wait that does not end becomes a fault instead of a hang.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import type { PhysicalDevice } from '../addon.js';
import { read, type Argument, type DeviceTraits, type Dispatch, type Place } from './dispatch.js';
import { findBarriers, MemoryRanges, rangesOf, type RangeOf } from './hazards.js';

/** `1` chains dispatches on any device that can have chains, `0` on none. */
export const chainVariable = 'UNICORN_VULKAN_CHAIN';

/** A submission's fault record and the counters of its chain: the begin of its inputs ({@link chainHead}). */
export const chainPlace: Place = { storage: { kind: 'inputs' }, byteOffset: 0, byteLength: 24 };

/**
 * The most looks at the counter, about a microsecond each, while no workgroup ends: far longer than any workgroup runs.
 * Drivers that drop loop passes beyond 65,535 (llvmpipe) get fewer; there nothing is waited for, since dispatches run one
 * after the other.
 */
const patience = { hardware: 2_000_000, software: 16_384 };

/**
 * The words that an inputs block begins with: the twin of `Faults` and `Chain` in the shaders' includes.
 *
 * @param record address of the submission's fault record
 */
export function chainHead(record: bigint, { software }: Pick<DeviceTraits, 'software'>): Uint8Array {
  const head = new DataView(new ArrayBuffer(chainPlace.byteLength));
  head.setBigUint64(0, record, true);
  // Workgroups that have ended, and whether a wait was given up: 0, as the buffer is.
  head.setUint32(16, software ? patience.software : patience.hardware, true);
  return new Uint8Array(head.buffer);
}

/** What the counter holds. */
const mostWorkgroups = 2 ** 32 - 1;

const nvidia = 0x10de;

/**
 * Whether to chain on a device: on discrete ones of NVIDIA by its own driver, where the environment does not say. Never by
 * Mesa's drivers of hardware: Mesa 22.3 gives wrong results for chained products whose rows several subgroups share, which
 * pass sums through shared memory in a module of the Vulkan memory model. lavapipe, whose products have no such rows, may.
 *
 * @throws UnicornError `usage/chain` when the environment asks for neither, or for chains where there are none
 */
export function chainsOn(
  { kind, vendorId, driver }: Pick<PhysicalDevice, 'kind' | 'vendorId' | 'driver'>,
  environment = process.env,
): boolean {
  const asked = environment[chainVariable];
  const isWrong = kind !== 'cpu' && driver.includes('Mesa');
  if (asked === undefined || asked === '') return kind === 'discrete' && vendorId === nvidia && !isWrong;
  if (asked === '1' && isWrong) {
    throw new UnicornError(
      'usage/chain',
      `${chainVariable} is 1, and the driver is ${driver}: chains give wrong results by it.`,
      { fields: { asked, driver }, fix: `Unset ${chainVariable}, or set it to 0.` },
    );
  }
  if (asked === '0' || asked === '1') return asked === '1';
  throw new UnicornError('usage/chain', `${chainVariable} is "${asked}"; it takes 0 or 1.`, {
    fields: { asked },
    fix: `Unset ${chainVariable}, or set it to 0.`,
  });
}

/** The chained variant of a dispatch. `given` has an argument of kind `before` where its shader looks for it. */
export function chained(
  { pipeline }: Pick<Dispatch, 'pipeline'>,
  given: readonly Argument[],
): NonNullable<Dispatch['chained']> {
  return { pipeline: { ...pipeline, shader: `${pipeline.shader}-chained` }, arguments: given };
}

export const chainArgument: Argument = read(chainPlace);

/** Whether a dispatch depends on nothing and nothing on it, as reads of weights ahead. */
const isBeside = ({ name }: Dispatch): boolean => name === 'prefetch';

/** Dispatches in their chained variants wherever a neighbour has one too. */
export function withChains<D extends Dispatch>(dispatches: readonly D[]): D[] {
  const order = dispatches.flatMap((dispatch, index) => (isBeside(dispatch) ? [] : [index]));
  const has = (place: number): boolean => dispatches[order[place] ?? -1]?.chained !== undefined;
  const own = new Set(order.filter((_, place) => has(place) && (has(place - 1) || has(place + 1))));
  return dispatches.map((dispatch, index) =>
    own.has(index) ? { ...dispatch, ...dispatch.chained, isChained: true } : dispatch,
  );
}

/** How a dispatch is ordered after those before it. */
export interface Link {
  readonly barrier: boolean;
  /** Number of the chain's workgroups that a chained dispatch waits for; 0 where a barrier comes before it. */
  readonly before: number;
}

const countedGroups = ({ isChained, groups: [x, y, z] }: Dispatch): number => (isChained ? x * y * z : 0);

/**
 * Barriers and waits that order dispatches. Between two barriers that are needed lies a run of dispatches that depend on
 * none of their own; where it and the run before it are all chained, its dispatches wait for all workgroups before the run.
 */
export function chainLinks(dispatches: readonly Dispatch[], rangeOf: RangeOf): Link[] {
  const barriers = findBarriers(dispatches, rangeOf);
  const links: Link[] = [];
  /** Since the last barrier. */
  const written = new MemoryRanges();
  let ended = 0;
  let isLinkable = false;
  for (let begin = 0, end: number; begin < dispatches.length; begin = end) {
    end = begin + 1;
    while (end < dispatches.length && !barriers[end]) end++;
    const run = dispatches.slice(begin, end);
    const ranges = run.map((dispatch) => rangesOf(dispatch, rangeOf));
    const areChained = run.every((one) => one.isChained === true || isBeside(one));
    const isEarly = ranges.some(({ earlyReads }) => earlyReads.some((range) => written.overlaps(range)));
    const endedThen = ended + run.reduce((sum, dispatch) => sum + countedGroups(dispatch), 0);
    const barrier = !(areChained && isLinkable) || isEarly || endedThen > mostWorkgroups;
    if (barrier) written.clear();
    for (const { writes } of ranges) for (const range of writes) written.add(range);
    run.forEach((_, index) => links.push({ barrier: barrier && index === 0, before: barrier ? 0 : ended }));
    ended = endedThen;
    isLinkable = areChained;
  }
  return links;
}
