import { fileURLToPath } from 'node:url';
import { openSafetensors } from '@unicorn-exec/checkpoint';
import { decodeRow, type DType, dtypeLayout, dtypes, UnicornError } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { encodableDTypes, encodeRow, encodeTensor, encodingDistortion, distortion } from '../src/index.js';

const goldens = await openSafetensors(
  fileURLToPath(new URL('goldens/quantize.safetensors', import.meta.url)),
);
const x = await goldens.decodeTensor('x');
const types = goldens.tensors
  .filter(({ name }) => name.endsWith('.packed'))
  .map(({ name }) => name.split('.')[0]!);

/** The UnicornError that `run` throws. */
function refusal(run: () => unknown): UnicornError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(UnicornError);
    return error as UnicornError;
  }
  throw new Error('nothing was thrown');
}

describe('goldens', () => {
  it('cover every encoder but f32 and those of our own', () => {
    expect(types.map((type) => type.toLowerCase()).sort()).toEqual(
      encodableDTypes.filter((dtype) => dtype !== 'f32' && !dtype.endsWith('_k')).sort(),
    );
  });

  it.each(types)('%s encodes byte for byte', async (type) => {
    const packed = await goldens.readTensor(`${type}.packed`);
    expect(encodeTensor(type.toLowerCase() as DType, x)).toEqual(packed);
  });
});

describe('any row', () => {
  it.each(encodableDTypes)('%s writes only its range, and each row as if alone', (dtype) => {
    const whole = encodeTensor(dtype, x);
    const { blockSize, blockBytes } = dtypeLayout(dtype);
    const elements = 256;
    const bytes = (elements / blockSize) * blockBytes;
    for (let row = 0; row < x.length / elements; row++) {
      const out = new Uint8Array(bytes + 7).fill(0xa5);
      encodeRow(dtype, x.subarray(elements * row, elements * (row + 1)), out, 3);
      expect(out.subarray(3, 3 + bytes)).toEqual(whole.subarray(bytes * row, bytes * (row + 1)));
      expect([...out.subarray(0, 3), ...out.subarray(3 + bytes)]).toEqual(new Array<number>(7).fill(0xa5));
    }
  });

  // Values on the grid of the format survive: the largest element fixes the scale. Not so where scale and minimum are
  // rounded apart from each other.
  it.each(encodableDTypes.filter((dtype) => !/_1$|q4_k/.test(dtype)))('%s keeps what it decoded', (dtype) => {
    const once = decodeAll(dtype, encodeTensor(dtype, x));
    expect(distortion(once, decodeAll(dtype, encodeTensor(dtype, once))).relative).toBeLessThan(0.01);
  });

  function decodeAll(dtype: DType, bytes: Uint8Array): Float32Array {
    const out = new Float32Array(x.length);
    decodeRow(dtype, bytes, 0, x.length, out);
    return out;
  }

  it('makes zeros of zeros', () => {
    for (const dtype of encodableDTypes)
      expect(encodingDistortion(dtype, new Float32Array(256)).maxAbs).toBe(0);
  });
});

describe('distortion', () => {
  // A uniform quantizer of step d errs by d / sqrt(12) on average. For q8_0 d is the block's largest element / 127,
  // which for 32 normal values is near 2.1 standard deviations: about 0.5% of one. Each bit less doubles it.
  it('of the formats falls with their bits', () => {
    const normal = x.subarray(0, 512);
    const relative = (dtype: DType) => encodingDistortion(dtype, normal).relative;
    expect(relative('f32')).toBe(0);
    expect(relative('q8_0')).toBeGreaterThan(0.003);
    expect(relative('q8_0')).toBeLessThan(0.008);
    expect(relative('q5_0')).toBeGreaterThan(4 * relative('q8_0'));
    expect(relative('q4_0')).toBeGreaterThan(1.5 * relative('q5_0'));
    expect(relative('q4_0')).toBeLessThan(0.15);
  });

  it('is NaN where NaN appeared, and refuses unequal lengths', () => {
    expect(distortion(Float32Array.of(1), Float32Array.of(NaN)).maxAbs).toBeNaN();
    expect(refusal(() => distortion(new Float32Array(1), new Float32Array(2))).code).toBe('usage/range');
  });
});

describe('refusals', () => {
  it.each(dtypes.filter((dtype) => !encodableDTypes.includes(dtype)))('%s has no encoder', (dtype) => {
    const error = refusal(() => encodeTensor(dtype, new Float32Array(256)));
    expect(error.code).toBe('unsupported/encoder');
  });

  const blocks = encodableDTypes.filter((dtype) => dtypeLayout(dtype).blockSize > 1);
  it.each(blocks)('%s takes neither NaN nor infinity', (dtype) => {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const values = new Float32Array(256);
      values[37] = bad;
      const error = refusal(() => encodeTensor(dtype, values));
      expect(error).toMatchObject({ code: 'usage/not-encodable', fields: { dtype, index: 37 } });
    }
  });

  it.each(['f16', ...blocks.filter((dtype) => dtype !== 'mxfp4')] as DType[])(
    '%s does not overflow',
    (dtype) => {
      const error = refusal(() =>
        encodeTensor(
          dtype,
          new Float32Array(256).map((_, i) => 1e9 * (i % 5)),
        ),
      );
      expect(error.code).toBe('usage/not-encodable');
    },
  );

  it('keeps infinities and NaN in f16 and bf16', () => {
    expect(encodeTensor('f16', Float32Array.of(Infinity, -Infinity))).toEqual(
      Uint8Array.of(0, 0x7c, 0, 0xfc),
    );
    expect(encodeTensor('bf16', Float32Array.of(Infinity, -Infinity))).toEqual(
      Uint8Array.of(0x80, 0x7f, 0x80, 0xff),
    );
  });

  it('checks the block and the room', () => {
    expect(refusal(() => encodeTensor('q8_0', new Float32Array(33))).code).toBe('format/block-size');
    expect(refusal(() => encodeRow('q8_0', new Float32Array(32), new Uint8Array(33))).code).toBe(
      'usage/range',
    );
    expect(refusal(() => encodeRow('f32', new Float32Array(1), new Uint8Array(8), -1)).code).toBe(
      'usage/range',
    );
  });
});
