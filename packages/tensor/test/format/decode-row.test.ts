import { describe, expect, it } from 'vitest';
import { blockDTypes, decodeRow, type DType, dtypeLayout, dtypes, UnicornError } from '../../src/index.js';
import { readGoldens } from './golden.js';

const goldens = new Map([...readGoldens('quantize.safetensors'), ...readGoldens('dequantize.safetensors')]);

describe('goldens', () => {
  const types = [...goldens.keys()].filter((key) => key.endsWith('.packed')).map((key) => key.split('.')[0]!);

  it('cover every block format', () => {
    expect(types.map((type) => type.toLowerCase()).sort()).toEqual([...blockDTypes, 'f16', 'bf16'].sort());
  });

  it.each(types)('%s decodes bit for bit', (type) => {
    const packed = goldens.get(`${type}.packed`)!;
    const dequant = goldens.get(`${type}.dequant`)!;
    const count = dequant.bytes.length / 4;
    const out = new Float32Array(count);
    decodeRow(type.toLowerCase() as DType, packed.bytes, 0, count, out);
    const expected = new Float32Array(dequant.bytes.buffer);
    // Object.is per element (through toEqual) also tells 0 from -0.
    expect(out).toEqual(expected);
    expect(new Uint32Array(out.buffer)).toEqual(new Uint32Array(expected.buffer));
  });
});

describe('any row', () => {
  /** Bytes that are sane in every format: no f16 or f32 pattern of them is NaN. */
  const source = Uint8Array.from({ length: 4096 }, (_, i) => (i * 37 + (i >> 3)) & 0x3b);

  it.each(dtypes)('%s reads only its range, writes only its range, at any alignment', (dtype) => {
    const { blockSize, blockBytes } = dtypeLayout(dtype);
    const blocks = 3;
    const count = blocks * blockSize;
    const byteLength = blocks * blockBytes;
    const plain = new Float32Array(count);
    decodeRow(dtype, source.slice(0, byteLength), 0, count, plain);
    expect(plain.every(Number.isFinite)).toBe(true);

    const shifted = new Uint8Array(byteLength + 10).fill(255);
    shifted.set(source.subarray(0, byteLength), 7);
    const out = new Float32Array(count + 5).fill(12345);
    decodeRow(dtype, shifted.subarray(2), 5, count, out, 3);
    expect(out.subarray(3, 3 + count)).toEqual(plain);
    expect([...out.subarray(0, 3), ...out.subarray(3 + count)]).toEqual([12345, 12345, 12345, 12345, 12345]);

    // One block at a time gives the same.
    const single = new Float32Array(count);
    for (let block = 0; block < blocks; block++) {
      decodeRow(dtype, source, block * blockBytes, blockSize, single, block * blockSize);
    }
    expect(single).toEqual(plain);
  });

  it.each(dtypes)('%s decodes nothing from nothing', (dtype) => {
    decodeRow(dtype, new Uint8Array(0), 0, 0, new Float32Array(0));
  });
});

describe('scalars', () => {
  function decodeOne(dtype: DType, write: (view: DataView) => void): number {
    const bytes = new Uint8Array(8);
    write(new DataView(bytes.buffer));
    const out = new Float32Array(1);
    decodeRow(dtype, bytes, 0, 1, out);
    return out[0]!;
  }

  it('reads signs and the whole range', () => {
    expect(decodeOne('i8', (view) => view.setInt8(0, -128))).toBe(-128);
    expect(decodeOne('u8', (view) => view.setUint8(0, 255))).toBe(255);
    expect(decodeOne('i16', (view) => view.setInt16(0, -32768, true))).toBe(-32768);
    expect(decodeOne('u16', (view) => view.setUint16(0, 65535, true))).toBe(65535);
    expect(decodeOne('i32', (view) => view.setInt32(0, -(2 ** 31), true))).toBe(-(2 ** 31));
    expect(decodeOne('u32', (view) => view.setUint32(0, 2 ** 32 - 1, true))).toBe(2 ** 32);
    expect(decodeOne('f64', (view) => view.setFloat64(0, Math.PI, true))).toBe(Math.fround(Math.PI));
    expect(decodeOne('bool', (view) => view.setUint8(0, 1))).toBe(1);
  });

  it.each([
    [0n, 0],
    [-1n, -1],
    [2n ** 63n - 1n, 2 ** 63],
    [-(2n ** 63n), -(2 ** 63)],
    // 2^60 + 2^36 is a tie between f32 neighbours (step 2^37): alone to even, one more upwards. Rounding to a double
    // first would lose the one.
    [2n ** 60n + 2n ** 36n, 2 ** 60],
    [2n ** 60n + 2n ** 36n + 1n, 2 ** 60 + 2 ** 37],
    [-(2n ** 60n) - 2n ** 36n, -(2 ** 60)],
    [-(2n ** 60n) - 2n ** 36n - 1n, -(2 ** 60) - 2 ** 37],
    [2n ** 53n + 1n, 2 ** 53],
  ])('i64 %s rounds once', (value, expected) => {
    expect(decodeOne('i64', (view) => view.setBigInt64(0, value, true))).toBe(expected);
  });

  it('u64 rounds once', () => {
    expect(decodeOne('u64', (view) => view.setBigUint64(0, 2n ** 64n - 1n, true))).toBe(2 ** 64);
    expect(decodeOne('u64', (view) => view.setBigUint64(0, 2n ** 63n + 2n ** 39n, true))).toBe(2 ** 63);
    expect(decodeOne('u64', (view) => view.setBigUint64(0, 2n ** 63n + 2n ** 39n + 1n, true))).toBe(
      2 ** 63 + 2 ** 40,
    );
  });
});

describe('bad ranges', () => {
  const cases: [string, () => void][] = [
    ['a part of a block', () => decodeRow('q8_0', new Uint8Array(34), 0, 31, new Float32Array(32))],
    ['too few bytes', () => decodeRow('q8_0', new Uint8Array(33), 0, 32, new Float32Array(32))],
    ['an offset past the end', () => decodeRow('f32', new Uint8Array(8), 5, 1, new Float32Array(1))],
    ['a negative offset', () => decodeRow('f32', new Uint8Array(8), -4, 1, new Float32Array(1))],
    ['a small output', () => decodeRow('f32', new Uint8Array(8), 0, 2, new Float32Array(2), 1)],
    ['a NaN count', () => decodeRow('f32', new Uint8Array(8), 0, NaN, new Float32Array(2))],
    ['a negative count', () => decodeRow('q4_0', new Uint8Array(18), 0, -32, new Float32Array(32))],
  ];
  it.each(cases)('%s is a usage error', (_, decode) => {
    try {
      decode();
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(UnicornError);
      expect((error as UnicornError).code).toBe('usage/range');
    }
  });
});
