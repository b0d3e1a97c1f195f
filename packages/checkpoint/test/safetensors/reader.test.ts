import { describe, expect, it } from 'vitest';
import { openSafetensors } from '../../src/index.js';
import { golden, goldenJson, refusal } from '../support.js';

const tiny = goldenJson<{
  header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
  values: Record<string, string[]>;
}>('tiny.safetensors.json');

/** Types without a dtype of ours. */
const foreign = ['C64', 'F8_E4M3', 'F8_E5M2'];

describe('tiny.safetensors', () => {
  it('lists every tensor, in storage order, with its metadata', async () => {
    const file = await openSafetensors(golden('tiny.safetensors'));
    const { __metadata__: metadata, ...tensors } = tiny.header;
    expect(
      Object.fromEntries([...file.metadata.keys()].map((key) => [key, file.metadata.string(key)])),
    ).toEqual(metadata);
    const dataStart = file.tensors[0]!.offset;
    expect(file.tensors).toEqual(
      Object.entries(tensors).map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [begin, end],
          },
        ]) => ({
          name,
          dtype: foreign.includes(dtype) ? undefined : dtype.toLowerCase(),
          fileType: dtype,
          shape,
          path: golden('tiny.safetensors'),
          offset: dataStart + begin,
          byteLength: end - begin,
        }),
      ),
    );
    await file.close();
  });

  it('decodes every tensor that has a meaning, and hands out the bytes of the others', async () => {
    const file = await openSafetensors(golden('tiny.safetensors'));
    for (const { name, dtype, fileType, byteLength } of file.tensors) {
      expect(await file.readTensor(name)).toHaveLength(byteLength);
      if (dtype === undefined) {
        const error = await refusal(() => file.decodeTensor(name));
        expect(error.code).toBe('unsupported/dtype');
        expect(error.message).toContain(fileType);
        continue;
      }
      const expected = tiny.values[name]!.map((text) =>
        text === 'True' ? 1 : text === 'False' ? 0 : Number(text),
      );
      expect([...(await file.decodeTensor(name))], name).toEqual(expected.map(Math.fround));
    }
    await file.close();
  });
});
