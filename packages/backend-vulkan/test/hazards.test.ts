/** Barriers where one dispatch depends on another, and nowhere else; recordings as words; faults as errors. */
import { describe, expect, it } from 'vitest';
import { f32, i32, read, readWrite, u32, write } from '../src/dispatch/dispatch.js';
import type { Argument, Dispatch, Place } from '../src/dispatch/dispatch.js';
import { faultError } from '../src/device/faults.js';
import { findBarriers } from '../src/dispatch/hazards.js';
import { faultCodes } from '../src/kernel/operand.js';
import { encodeRecording } from '../src/recording/recording-words.js';

const at = (byteOffset: number, byteLength = 16, index?: number): Place => ({
  storage: index === undefined ? { kind: 'arena' } : { kind: 'binding', index },
  byteOffset,
  byteLength,
});

const dispatch = (...given: Argument[]): Dispatch => ({
  pipeline: { shader: 'none', constants: [64] },
  arguments: given,
  groups: [1, 2, 3],
  name: 'none',
});

/** Bindings 0 and 1 are one buffer; weights are nobody's to write. */
const barriers = (...dispatches: Dispatch[]): boolean[] =>
  findBarriers(dispatches, ({ storage, byteOffset, byteLength }) =>
    storage.kind === 'weight'
      ? undefined
      : {
          memory: storage.kind === 'binding' ? 'buffer' : 'arena',
          begin: byteOffset,
          end: byteOffset + byteLength,
        },
  );

describe('findBarriers', () => {
  it('orders a read after a write, a write after a read, and a write after a write', () => {
    expect(barriers(dispatch(write(at(0))), dispatch(read(at(8))))).toEqual([true, true]);
    expect(barriers(dispatch(read(at(0))), dispatch(write(at(8))))).toEqual([true, true]);
    expect(barriers(dispatch(write(at(0))), dispatch(write(at(15))))).toEqual([true, true]);
    expect(barriers(dispatch(readWrite(at(0))), dispatch(read(at(0))))).toEqual([true, true]);
  });

  it('lets neighbours, other memory and two reads run together', () => {
    expect(barriers(dispatch(write(at(0))), dispatch(read(at(16))))).toEqual([true, false]);
    expect(barriers(dispatch(write(at(0))), dispatch(read(at(0, 16, 0))))).toEqual([true, false]);
    expect(barriers(dispatch(read(at(0))), dispatch(read(at(0))))).toEqual([true, false]);
    expect(barriers(dispatch(write(at(0, 0))), dispatch(read(at(0))))).toEqual([true, false]);
  });

  it('knows that two bindings may be one buffer', () => {
    expect(barriers(dispatch(write(at(0, 16, 0))), dispatch(read(at(0, 16, 1))))).toEqual([true, true]);
  });

  it('sees across a dispatch between, and forgets at a barrier', () => {
    const [a, b] = [at(0), at(64)];
    expect(barriers(dispatch(write(a)), dispatch(write(b)), dispatch(read(a)), dispatch(read(b)))).toEqual([
      true,
      false,
      true,
      false,
    ]);
  });

  it('never waits for what nobody writes', () => {
    const weight: Place = { storage: { kind: 'weight', index: 0 }, byteOffset: 0, byteLength: 64 };
    expect(barriers(dispatch(read(weight)), dispatch(read(weight)))).toEqual([true, false]);
  });
});

describe('encodeRecording', () => {
  it('writes addresses in halves, then the bits of numbers', () => {
    const given = [read(at(4)), { kind: 'null' } as const, u32(7), i32(-1), f32(1.5)];
    const words = encodeRecording(
      [dispatch(...given)],
      [5],
      [{ barrier: true, before: 0 }],
      ({ byteOffset }) => 0x1_2345_6789n + BigInt(byteOffset),
    );
    const push = [0x2345678d, 1, 0, 0, 7, 0xffffffff, 0x3fc00000];
    expect([...words]).toEqual([5, 1, 2, 3, 1, push.length, ...push]);
  });

  it('refuses what would not fit or not be aligned', () => {
    const encode = (given: Argument[]) => () =>
      encodeRecording([dispatch(...given)], [0], [{ barrier: true, before: 0 }], () => 0n);
    expect(encode(Array.from({ length: 33 }, () => u32(0)))).toThrow('push constants');
    expect(encode([u32(0), read(at(0))])).toThrow('not aligned');
  });
});

describe('faultError', () => {
  it('says what the reference says', () => {
    expect(faultError(0, 0, 0, 'gpu')).toBeUndefined();
    expect(faultError(faultCodes.tokenId, -5, 31, 'gpu')).toMatchObject({
      code: 'usage/token-id',
      message: 'Token id -5 is outside the table of 31 rows.',
    });
    for (const code of Object.values(faultCodes))
      expect(['usage', 'device']).toContain(faultError(code, 1, 2, 'gpu')!.family);
    expect(faultError(99, 0, 0, 'gpu')).toMatchObject({ code: 'internal/fault' });
  });
});
