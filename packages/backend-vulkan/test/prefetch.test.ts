/** Reads ahead: where they come, that they make nothing wait, and that no result changes. */
import { describe, expect, it } from 'vitest';
import { randomWeight } from '@unicorn-exec/conformance';
import { read, write, type Dispatch, type Place } from '../src/dispatch/dispatch.js';
import { findBarriers } from '../src/dispatch/hazards.js';
import { matmul } from '../src/kernel/matmul.js';
import { loadAddon } from '../src/load-addon.js';
import { prefetchOf, withPrefetches } from '../src/dispatch/prefetch.js';
import { KernelRunner } from '../src/measure/kernel-runner.js';
import { driver } from './lavapipe.js';

const mebibyte = 2 ** 20;

const arena = (byteOffset: number): Place => ({ storage: { kind: 'arena' }, byteOffset, byteLength: 16 });
const weight = (index: number, byteLength: number): Place => ({
  storage: { kind: 'weight', index },
  byteOffset: 0,
  byteLength,
});

/** Each reads what the one before has written. */
function chain(
  ...parts: readonly { shader: string; weights?: readonly Place[]; groups?: number }[]
): Dispatch[] {
  return parts.map(({ shader, weights = [], groups = 1 }, index) => ({
    pipeline: { shader, constants: [64] },
    arguments: [read(arena(16 * index)), ...weights.map(read), write(arena(16 * index + 16))],
    groups: [groups, 1, 1],
    name: shader,
  }));
}

const names = (dispatches: readonly Dispatch[]): string[] => dispatches.map(({ name }) => name);

/** Of each read ahead: where each range begins, and how many bytes of each are read. */
const reads = (dispatches: readonly Dispatch[]): { begins: number[]; bytes: number[] }[] =>
  dispatches
    .filter(({ name }) => name === 'prefetch')
    .map(({ arguments: given }) => ({
      begins: given.slice(0, 3).flatMap((one) => (one.kind === 'address' ? [one.place.byteOffset] : [])),
      bytes: given.slice(4, 7).flatMap((one) => ('value' in one && one.value > 0 ? [16 * one.value] : [])),
    }));

describe('reads ahead', () => {
  const product = 'matmul-int8-q4_0';
  const dispatches = chain(
    { shader: 'heads' },
    { shader: 'attention-row-f16' },
    { shader: product, weights: [weight(0, 10 * mebibyte)] },
    { shader: 'matmul-prepare' },
    { shader: product, weights: [weight(1, 20 * mebibyte), weight(2, 20 * mebibyte)] },
    { shader: 'matmul-prepare', groups: 4000 },
    { shader: product, weights: [weight(3, 40 * mebibyte)] },
    { shader: 'matmul-prepare' },
    { shader: product, weights: [weight(4, 1024)] },
    { shader: 'sample-scan' },
  );

  it('go beside small dispatches, on from where the last one ended', () => {
    const made = withPrefetches(dispatches, 8 * mebibyte, 100);
    expect(names(made)).toEqual([
      ...['heads', 'prefetch', 'attention-row-f16', 'prefetch', product],
      ...['matmul-prepare', 'prefetch', product, 'matmul-prepare', product, 'matmul-prepare', product],
      'sample-scan',
    ]);
    expect(reads(made)).toEqual([
      { begins: [0], bytes: [8 * mebibyte] },
      { begins: [8 * mebibyte], bytes: [2 * mebibyte] },
      { begins: [0, 0], bytes: [4 * mebibyte, 4 * mebibyte] },
    ]);
  });

  it('make no barrier and take none away', () => {
    const made = withPrefetches(dispatches, 8 * mebibyte, 100);
    const barriers = findBarriers(made, ({ storage, byteOffset, byteLength }) =>
      storage.kind === 'weight'
        ? undefined
        : { memory: storage.kind, begin: byteOffset, end: byteOffset + byteLength },
    );
    expect(barriers).toEqual(made.map(({ name }) => name !== 'prefetch'));
  });

  it('are for large devices and models, unless the environment says otherwise', () => {
    const large = { kind: 'discrete', computeUnits: 132 } as const;
    expect(prefetchOf(large, {}).bytes).toBeGreaterThan(0);
    expect(prefetchOf(large, {}).leastWeightBytes).toBeGreaterThan(0);
    expect(prefetchOf({ kind: 'integrated', computeUnits: 12 }, {}).bytes).toBe(0);
    expect(prefetchOf(large, { UNICORN_VULKAN_PREFETCH: '0' }).bytes).toBe(0);
    const asked = prefetchOf({ kind: 'cpu', computeUnits: 0 }, { UNICORN_VULKAN_PREFETCH: '4096' });
    expect(asked).toEqual({ bytes: 4096, chainedBytes: 4096, leastWeightBytes: 0 });
    for (const wrong of ['-1', 'much', '1.5', '1e12']) {
      expect(() => prefetchOf(large, { UNICORN_VULKAN_PREFETCH: wrong })).toThrow(
        expect.objectContaining({ code: 'usage/prefetch' }),
      );
    }
    expect(withPrefetches(dispatches, 0, 100)).toEqual(dispatches);
  });
});

describe.skipIf(!driver.present)(`reads ahead on a device (${driver.need})`, () => {
  it('change no result', async () => {
    const runner = KernelRunner.open(loadAddon());
    try {
      const [rows, columns] = [1000, 2048];
      const x = await runner.floats(
        [1, columns],
        Float32Array.from({ length: columns }, (_, i) => Math.sin(i)),
      );
      const loaded = await runner.weight('q4_0', rows, columns, randomWeight('q4_0', rows, columns, 'ahead'));
      const results: Float32Array[] = [];
      for (const bytes of [0, 100_000, 64 * mebibyte]) {
        const out = await runner.floats([1, rows]);
        const call = { x, fast: true, products: [{ weight: loaded, out, posts: [] }] };
        const nowhere = { scratch: runner.memory(0), counters: runner.memory(0) };
        const scratch = runner.memory(matmul.scratchBytes({ ...call, ...nowhere }, runner.traits));
        const all = withPrefetches(
          matmul.dispatch({ ...call, ...nowhere, scratch }, runner.traits),
          bytes,
          100,
        );
        expect(all).toHaveLength(bytes === 0 ? 2 : 3);
        await runner.run(all);
        results.push(await runner.readFloats(out));
      }
      expect(results[0]!.some((value) => value !== 0)).toBe(true);
      expect(results[1]).toEqual(results[0]);
      expect(results[2]).toEqual(results[0]);
    } finally {
      runner.close();
    }
  });
});
