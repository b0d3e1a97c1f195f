import { describe, expect, it } from 'vitest';
import { planKv, type DType, type KvGroup } from '../src/index.js';

const full: KvGroup = { name: 'full', layers: [0, 3], kvHeads: 2, headDim: 32 };
const sliding: KvGroup = { name: 'sliding', layers: [1, 2], kvHeads: 1, headDim: 32, window: 5 };

describe('planKv', () => {
  const plan = planKv({
    groups: [full, sliding],
    contextLength: 1000,
    kvDType: 'f16',
    maxSequences: 2,
    prefillChunk: 64,
    blockTokens: 16,
  });

  it('gives a full group one context and a sliding one its windows and a chunk', () => {
    expect(plan.groups.map(({ blocks }) => blocks)).toEqual([1 + 63, 1 + 2 * 3 + 4]);
    expect(plan.tableColumns).toBe(63);
  });

  it('accounts for every byte', () => {
    const elementBytes = 2;
    const fullBytes = 2 * 64 * 2 * 2 * 16 * 32 * elementBytes;
    const slidingBytes = 2 * 11 * 2 * 1 * 16 * 32 * elementBytes;
    expect(plan.bytes).toBe(fullBytes + slidingBytes);
  });

  it('never gives a wide window more than the context', () => {
    const wide = planKv({ groups: [{ ...sliding, window: 4000 }], contextLength: 100, kvDType: 'f32' });
    expect(wide.groups[0]!.blocks).toBe(1 + 7);
  });

  it.each(['contextLength', 'maxSequences', 'prefillChunk', 'blockTokens', 'kvTokens'])(
    'refuses a wrong %s',
    (name) => {
      for (const value of [0, -1, 1.5, NaN, Infinity]) {
        expect(() => planKv({ groups: [full], contextLength: 10, kvDType: 'f32', [name]: value })).toThrow(
          name,
        );
      }
    },
  );

  it('refuses heads that are not whole blocks of the KV dtype', () => {
    const odd = { ...full, headDim: 20 };
    expect(() => planKv({ groups: [odd], contextLength: 10, kvDType: 'q8_0' })).toThrow(/20 elements/);
  });

  it('counts every token of a full group, and the sink', () => {
    const group = { name: 'full', layers: [0, 1], kvHeads: 2, headDim: 64 };
    const bytes = (contextLength: number, kvDType: DType): number =>
      planKv({ groups: [group], contextLength, kvDType }).bytes;
    expect(bytes(1600, 'f16')).toBe(101 * 16 * 2 * 2 * 2 * 64 * 2);
    expect(bytes(1, 'q8_0')).toBe(2 * 16 * 2 * 2 * 2 * 68);
  });

  it('counts the window of a sliding group once the context is longer', () => {
    const group = { name: 'sliding', layers: [2], kvHeads: 2, headDim: 64, window: 128 };
    const bytes = (contextLength: number): number =>
      planKv({ groups: [group], contextLength, kvDType: 'f32', prefillChunk: 1 }).bytes;
    const block = 16 * 2 * 2 * 64 * 4;
    expect(bytes(64)).toBe(5 * block);
    expect(bytes(128)).toBe(9 * block);
    // Eight blocks of window, one each that it and a step may touch besides, one of the step, the sink.
    expect(bytes(100_000)).toBe(12 * block);
  });
});
