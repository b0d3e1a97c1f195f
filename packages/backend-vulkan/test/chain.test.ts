/** Chains: which dispatches are in one, and that waits and barriers together order whatever depends on each other. */
import { describe, expect, it } from 'vitest';
import { chained, chainHead, chainLinks, chainsOn, withChains, type Link } from '../src/dispatch/chain.js';
import { early, read, u32, write } from '../src/dispatch/dispatch.js';
import type { Argument, Dispatch, Place } from '../src/dispatch/dispatch.js';
import { rangesOf, type MemoryRange, type RangeOf } from '../src/dispatch/hazards.js';
import { encodeRecording } from '../src/recording/recording-words.js';
import { uniforms } from './random.js';

const at = (byteOffset: number, byteLength = 16): Place => ({
  storage: { kind: 'arena' },
  byteOffset,
  byteLength,
});

const rangeOf: RangeOf = ({ storage, byteOffset, byteLength }) =>
  storage.kind === 'arena' ? { memory: 'arena', begin: byteOffset, end: byteOffset + byteLength } : undefined;

const weight: Place = { storage: { kind: 'weight', index: 0 }, byteOffset: 0, byteLength: 1024 };

interface Form {
  readonly groups?: number;
  /** Has no chained variant. */
  readonly plain?: boolean;
  readonly name?: string;
}

function dispatch(
  given: readonly Argument[],
  { groups = 1, plain = false, name = 'some' }: Form = {},
): Dispatch {
  const one = { pipeline: { shader: 'some', constants: [64] }, arguments: given, name } as const;
  const grid = [groups, 1, 1] as const;
  return {
    ...one,
    groups: grid,
    ...(plain ? {} : { chained: chained(one, [...given, { kind: 'before' }]) }),
  };
}

const prefetch = dispatch([read(weight)], { groups: 100, plain: true, name: 'prefetch' });

const isChained = (dispatches: readonly Dispatch[]): boolean[] =>
  withChains(dispatches).map((one) => one.isChained === true);

const linksOf = (...dispatches: Dispatch[]): Link[] => chainLinks(withChains(dispatches), rangeOf);

const barrier: Link = { barrier: true, before: 0 };
const none: Link = { barrier: false, before: 0 };
const wait = (before: number): Link => ({ barrier: false, before });

describe('withChains', () => {
  const [some, plain] = [dispatch([]), dispatch([], { plain: true })];

  it('takes variants where a neighbour has one too', () => {
    expect(isChained([some, some, plain, some, plain])).toEqual([true, true, false, false, false]);
    expect(isChained([some])).toEqual([false]);
    expect(isChained([])).toEqual([]);
  });

  it('looks past reads ahead, which are in no chain', () => {
    expect(isChained([some, prefetch, some, prefetch])).toEqual([true, false, true, false]);
    expect(isChained([some, prefetch, plain])).toEqual([false, false, false]);
  });

  it('gives the variant its shader and its arguments', () => {
    const [first] = withChains([some, some]);
    expect(first).toMatchObject({ pipeline: { shader: 'some-chained' }, arguments: [{ kind: 'before' }] });
  });
});

describe('chainLinks', () => {
  const [a, b, c] = [at(0), at(16), at(32)];

  it('waits for the workgroups of all dispatches before', () => {
    const first = dispatch([write(a)], { groups: 3 });
    const second = dispatch([read(a), write(b)], { groups: 5 });
    const third = dispatch([read(b), write(c)], { groups: 7 });
    expect(linksOf(first, second, third)).toEqual([barrier, wait(3), wait(8)]);
  });

  it('lets dispatches of one run wait for the same', () => {
    const both = [dispatch([read(a), write(b)], { groups: 5 }), dispatch([read(a), write(c)], { groups: 6 })];
    const last = dispatch([read(b), read(c)]);
    expect(linksOf(dispatch([write(a)], { groups: 2 }), ...both, last)).toEqual([
      barrier,
      wait(2),
      wait(2),
      wait(13),
    ]);
  });

  it('has a barrier on both sides of what cannot wait, and goes on counting', () => {
    const plain = dispatch([read(b), write(c)], { groups: 50, plain: true });
    const chain = [dispatch([write(a)], { groups: 2 }), dispatch([read(a), write(b)], { groups: 3 })];
    const after = [dispatch([read(c), write(a)], { groups: 4 }), dispatch([read(a), write(b)])];
    expect(linksOf(...chain, plain, ...after)).toEqual([barrier, wait(2), barrier, barrier, wait(9)]);
  });

  it('has no wait in a run with one that cannot wait', () => {
    const plain = dispatch([write(c)], { plain: true });
    const run = [dispatch([read(a), write(b)]), plain];
    expect(linksOf(dispatch([write(a)]), dispatch([read(a)]), ...run, dispatch([write(a)]))).toEqual([
      barrier,
      barrier,
      none,
      none,
      barrier,
    ]);
  });

  it('neither counts reads ahead nor lets them end a chain', () => {
    const first = dispatch([write(a)], { groups: 3 });
    expect(linksOf(first, prefetch, dispatch([read(a)]))).toEqual([barrier, none, wait(3)]);
  });

  it('has a barrier before what its chain wrote is read early, not before what others wrote', () => {
    const table = dispatch([write(c)], { plain: true });
    const turned = dispatch([read(a), early(read(c)), write(b)]);
    const known = [table, dispatch([write(a)]), turned];
    expect(linksOf(...known)).toEqual([barrier, none, barrier]);
    expect(linksOf(table, dispatch([read(c), write(a)]), turned)).toEqual([barrier, barrier, wait(1)]);
    const own = dispatch([write(c)]);
    expect(linksOf(own, dispatch([read(c), write(a)]), turned)).toEqual([barrier, wait(1), barrier]);
  });

  it('ends the chain before the counter would wrap', () => {
    const large = (given: Argument[]): Dispatch => ({ ...dispatch(given), groups: [65_535, 65_535, 1] });
    const [first, second, third] = [large([write(a)]), large([read(a), write(b)]), dispatch([read(b)])];
    expect(linksOf(first, second, third)).toEqual([barrier, barrier, barrier]);
    expect(linksOf(first, dispatch([read(a)]))).toEqual([barrier, wait(65_535 ** 2)]);
  });

  it('orders whatever depends on each other, whenever dispatches begin', () => {
    for (let seed = 0; seed < 400; seed++) {
      const dispatches = withChains(randomDispatches(seed));
      const links = chainLinks(dispatches, rangeOf);
      expect(runAll(dispatches, links).ended.size, `seed ${seed}`).toBe(dispatches.length);
      dispatches.forEach((_, stuck) => {
        const { begun, passed } = runAll(dispatches, links, stuck);
        for (let later = stuck + 1; later < dispatches.length; later++) {
          const pair = [dispatches[stuck]!, dispatches[later]!] as const;
          const text = `seed ${seed}: ${later} after ${stuck}`;
          if (depend(...pair)) expect(passed.has(later), text).toBe(false);
          if (dependEarly(...pair)) expect(begun.has(later), `${text}, early`).toBe(false);
        }
      });
    }
  });
});

/** Few places, so that much depends on much; half of the lists are chained but for some, others are mixed. */
function randomDispatches(seed: number): Dispatch[] {
  const uniform = uniforms(seed);
  const below = (limit: number): number => Math.floor(uniform() * limit);
  const places = 4 + below(12);
  const plainShare = seed % 2 === 0 ? 0.1 : 0.4;
  const place = (): Place => at(8 * below(places), 8 * (1 + below(2)));
  return Array.from({ length: 2 + below(14) }, () => {
    if (uniform() < 0.15) return prefetch;
    const reads = Array.from({ length: below(3) }, () => read(place()));
    const given = reads.map((argument) => (uniform() < 0.2 ? early(argument) : argument));
    return dispatch([...given, read(weight), write(place())], {
      groups: 1 + below(9),
      plain: uniform() < plainShare,
    });
  });
}

/**
 * All that can happen while one workgroup of a dispatch does not end, if everything else runs as soon as its barriers and
 * its wait let it: who has begun, who has passed its wait, who has ended.
 */
function runAll(dispatches: readonly Dispatch[], links: readonly Link[], stuck?: number) {
  const [begun, passed, ended] = [new Set<number>(), new Set<number>(), new Set<number>()];
  let count = 0;
  for (let changed = true; changed;) {
    changed = false;
    dispatches.forEach(({ groups, isChained: counts }, index) => {
      const last = links.findLastIndex((link, i) => i <= index && link.barrier);
      if (Array.from({ length: last }).some((_, earlier) => !ended.has(earlier))) return;
      begun.add(index);
      if (passed.has(index) || (counts && count < links[index]!.before)) return;
      changed = true;
      passed.add(index);
      // Of the one that is stuck all other workgroups end.
      if (counts) count += groups[0] - (index === stuck ? 1 : 0);
      if (index !== stuck) ended.add(index);
    });
  }
  return { begun, passed, ended };
}

const meet = (some: readonly MemoryRange[], others: readonly MemoryRange[]): boolean =>
  some.some((one) => others.some((other) => one.begin < other.end && other.begin < one.end));

function depend(first: Dispatch, second: Dispatch): boolean {
  const [one, other] = [rangesOf(first, rangeOf), rangesOf(second, rangeOf)];
  return meet(one.writes, other.reads) || meet(one.reads, other.writes) || meet(one.writes, other.writes);
}

const dependEarly = (first: Dispatch, second: Dispatch): boolean =>
  meet(rangesOf(first, rangeOf).writes, rangesOf(second, rangeOf).earlyReads);

describe('encodeRecording', () => {
  it('writes how many workgroups a dispatch waits for where its shader looks', () => {
    const given = [read(at(0)), { kind: 'before' } as const, u32(7)];
    const words = encodeRecording([dispatch(given)], [2], [wait(2 ** 32 - 1)], () => 5n);
    expect([...words]).toEqual([2, 1, 1, 1, 0, 4, 5, 0, 0xffffffff, 7]);
  });
});

describe('chainHead', () => {
  it('has the record, a counter at zero, and a patience that the driver keeps', () => {
    const words = (software: boolean) => new Uint32Array(chainHead(0x1_2345_6789n, { software }).buffer);
    expect([...words(false)]).toEqual([0x2345_6789, 1, 0, 0, 2_000_000, 0]);
    expect(words(true)[4]).toBeLessThan(65_535);
  });
});

describe('chainsOn', () => {
  const nvidia = { kind: 'discrete', vendorId: 0x10de, driver: 'NVIDIA 580.95' } as const;

  it('chains where workgroups were seen to start in order, unless the environment says otherwise', () => {
    expect(chainsOn(nvidia, {})).toBe(true);
    expect(chainsOn(nvidia, { UNICORN_VULKAN_CHAIN: '' })).toBe(true);
    expect(chainsOn(nvidia, { UNICORN_VULKAN_CHAIN: '0' })).toBe(false);
    for (const other of [
      { ...nvidia, kind: 'integrated' },
      { ...nvidia, vendorId: 0x1002 },
      { kind: 'cpu', vendorId: 0x10005, driver: 'llvmpipe Mesa 22.3.6' },
    ] as const) {
      expect(chainsOn(other, {})).toBe(false);
      expect(chainsOn(other, { UNICORN_VULKAN_CHAIN: '1' })).toBe(true);
    }
  });

  it('has no chains by Mesa on hardware, which gives wrong results for them', () => {
    const nvk = { ...nvidia, driver: 'NVK Mesa 25.1.0' };
    expect(chainsOn(nvk, {})).toBe(false);
    expect(chainsOn(nvk, { UNICORN_VULKAN_CHAIN: '0' })).toBe(false);
    expect(() => chainsOn(nvk, { UNICORN_VULKAN_CHAIN: '1' })).toThrow(
      expect.objectContaining({ code: 'usage/chain' }),
    );
  });

  it.each(['yes', '2', ' 1', 'true'])('refuses "%s"', (asked) => {
    expect(() => chainsOn(nvidia, { UNICORN_VULKAN_CHAIN: asked })).toThrow(
      expect.objectContaining({ code: 'usage/chain', fields: { asked } }),
    );
  });
});
