/**
 * Dispatches that follow each other without a barrier. A barrier lets the device run empty before the next dispatch begins,
 * some microseconds of each of the hundreds of a decode step. In a chain a dispatch begins while the one before it still
 * runs, reads weights, and waits in the shader until all workgroups of the dispatches before it have counted themselves
 * (`shaders/include/chain.glsl`, as CUDA's programmatic dependent launches). Memory is ordered by those atomics.
 *
 * That a workgroup which waits does not keep those from running that it waits for is true of devices that start the
 * workgroups of a queue in order; Vulkan does not promise it. So chains are for devices where it was seen to hold, and a
 * wait that does not end becomes a fault instead of a hang.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import type { PhysicalDevice } from './addon.js';
import { read, type Argument, type Dispatch, type Place } from './dispatch.js';

/** `1` chains dispatches on any device, `0` on none. */
export const chainVariable = 'UNICORN_VULKAN_CHAIN';

/** Counters of a submission's chain, behind the address of its fault record: zeroed by every submission. */
export const chainPlace: Place = { storage: { kind: 'inputs' }, byteOffset: 0, byteLength: 16 };

const nvidia = 0x10de;

/**
 * Whether to chain on a device.
 *
 * @throws UnicornError `usage/chain` when the environment asks for neither
 */
export function chainsOn(
  { kind, vendorId }: Pick<PhysicalDevice, 'kind' | 'vendorId'>,
  environment = process.env,
): boolean {
  const asked = environment[chainVariable];
  if (asked === undefined || asked === '') return kind === 'discrete' && vendorId === nvidia;
  if (asked === '0' || asked === '1') return asked === '1';
  throw new UnicornError('usage/chain', `${chainVariable} is "${asked}"; it takes 0 or 1.`, {
    fields: { asked },
    fix: `Unset ${chainVariable}, or set it to 0.`,
  });
}

/** The chained variant of a dispatch: its arguments include {@link before}. */
export function chained(
  { kernel }: Pick<Dispatch, 'kernel'>,
  given: readonly Argument[],
): NonNullable<Dispatch['chained']> {
  return { kernel: { ...kernel, shader: `${kernel.shader}-chained` }, arguments: given };
}

export const chainArgument: Argument = read(chainPlace);

/** Neither depends on anything nor anything on it: reads of weights ahead. */
const isBeside = ({ name }: Dispatch): boolean => name === 'prefetch';

/** Dispatches in their chained variants wherever a neighbour has one too. */
export function withChains<D extends Dispatch>(dispatches: readonly D[]): D[] {
  const order = dispatches.filter((dispatch) => !isBeside(dispatch));
  const neighbours = new Set<D>();
  order.forEach((dispatch, index) => {
    const has = (at: number): boolean => order[at]?.chained !== undefined;
    if (dispatch.chained && (has(index - 1) || has(index + 1))) neighbours.add(dispatch);
  });
  return dispatches.map((dispatch) =>
    neighbours.has(dispatch) ? { ...dispatch, ...dispatch.chained, isChained: true } : dispatch,
  );
}

/** How a dispatch comes after those before it. */
export interface Link {
  readonly barrier: boolean;
  /** Of the chain's workgroups, those that must have ended; in a chained dispatch alone. */
  readonly before: number;
}

/**
 * Which of the barriers that are needed are waits within a chain instead: those between runs of dispatches without barriers
 * that are all chained.
 *
 * @param barriers whether something must order each dispatch after those before it
 */
export function chainLinks(dispatches: readonly Dispatch[], barriers: readonly boolean[]): Link[] {
  const links: Link[] = [];
  let ended = 0;
  let before = 0;
  let isLinkable = false;
  dispatches.forEach((dispatch, index) => {
    let barrier = false;
    if (barriers[index]) {
      let end = index + 1;
      while (end < dispatches.length && !barriers[end]) end++;
      const own = dispatches.slice(index, end);
      const areChained = own.every((one) => one.isChained === true || isBeside(one));
      barrier = !(areChained && isLinkable);
      isLinkable = areChained;
      before = ended;
    }
    links.push({ barrier, before });
    const [x, y, z] = dispatch.groups;
    if (dispatch.isChained) ended += x * y * z;
  });
  return links;
}
