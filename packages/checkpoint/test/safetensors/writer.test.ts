import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { floatToHalf } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { openSafetensors, type SafetensorsTensor, writeSafetensors } from '../../src/index.js';
import { golden, refusal, temporaryDirectory } from '../support.js';

describe('round trip', () => {
  it('keeps types, shapes, names, bytes and metadata, and aligns each tensor to its elements', async () => {
    const path = join(await temporaryDirectory(), 'x.safetensors');
    const tensors: SafetensorsTensor[] = [
      { name: 'bytes', dtype: 'u8', shape: [3], data: Uint8Array.of(1, 2, 3) },
      {
        name: 'half',
        dtype: 'f16',
        shape: [1, 3],
        data: () => new Uint8Array(Uint16Array.from([1, 2, 3], floatToHalf).buffer),
      },
      { name: 'naïve "name" 🙂', dtype: 'f32', shape: [], data: new Uint8Array(Float32Array.of(3.5).buffer) },
      { name: 'wide', dtype: 'i64', shape: [1], data: new Uint8Array(8) },
      { name: 'nothing', dtype: 'f32', shape: [0, 7], data: new Uint8Array(0) },
    ];
    await writeSafetensors(path, tensors, { note: 'é\n"' });
    const file = await openSafetensors(path);
    expect(file.metadata.string('note')).toBe('é\n"');
    expect(file.tensors.map(({ name }) => name).sort()).toEqual(tensors.map(({ name }) => name).sort());
    for (const { name, dtype, shape } of tensors) {
      const info = file.tensor(name)!;
      expect(info).toMatchObject({ dtype, shape });
      expect(
        info.offset %
          (info.byteLength /
            Math.max(
              1,
              shape.reduce((a, b) => a * b, 1),
            ) || 1),
      ).toBe(0);
    }
    expect(await file.decodeTensor('half')).toEqual(Float32Array.of(1, 2, 3));
    expect(await file.decodeTensor('naïve "name" 🙂')).toEqual(Float32Array.of(3.5));
    expect(await file.readTensor('bytes')).toEqual(Uint8Array.of(1, 2, 3));
    await file.close();
  });

  it('writes an empty file', async () => {
    const path = join(await temporaryDirectory(), 'x.safetensors');
    await writeSafetensors(path, []);
    const file = await openSafetensors(path);
    expect(file.tensors).toEqual([]);
    expect(file.metadata.size).toBe(0);
    await file.close();
  });

  it('copies the golden file, types that we know', async () => {
    const path = join(await temporaryDirectory(), 'x.safetensors');
    const original = await openSafetensors(golden('tiny.safetensors'));
    const known = original.tensors.filter((tensor) => tensor.dtype !== undefined);
    await writeSafetensors(
      path,
      known.map(({ name, dtype, shape }) => ({
        name,
        dtype: dtype!,
        shape,
        data: () => original.readTensor(name),
      })),
    );
    const copy = await openSafetensors(path);
    for (const { name, fileType, shape } of known) {
      expect(copy.tensor(name)).toMatchObject({ fileType, shape });
      expect(await copy.readTensor(name)).toEqual(await original.readTensor(name));
    }
    await Promise.all([original.close(), copy.close()]);
  });
});

describe('refusals', () => {
  const tensor: SafetensorsTensor = { name: 'a', dtype: 'f32', shape: [2], data: new Uint8Array(8) };
  const cases: [string, SafetensorsTensor[], Record<string, string>, string][] = [
    ['a block format', [{ ...tensor, dtype: 'q8_0', shape: [32] }], {}, 'unsupported/dtype'],
    ['a name twice', [tensor, tensor], {}, 'usage/tensor'],
    ['the reserved name', [{ ...tensor, name: '__metadata__' }], {}, 'usage/tensor'],
    ['half a surrogate pair', [{ ...tensor, name: '\ud83d' }], {}, 'usage/tensor'],
    ['a negative dimension', [{ ...tensor, shape: [-2] }], {}, 'usage/tensor'],
    ['too few bytes', [{ ...tensor, shape: [3] }], {}, 'usage/tensor-data'],
    ['a number in the metadata', [], { a: 1 as unknown as string }, 'usage/metadata'],
  ];
  it.each(cases)('%s', async (_, tensors, metadata, code) => {
    const directory = await temporaryDirectory();
    expect((await refusal(() => writeSafetensors(join(directory, 'x'), tensors, metadata))).code).toBe(code);
    expect(readdirSync(directory)).toEqual([]);
  });
});
