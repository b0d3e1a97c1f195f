import { readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type GgufContent, type MetadataEntry, openGguf, writeGguf } from '../../src/index.js';
import { golden, goldenBytes, refusal, temporaryDirectory } from '../support.js';

/** Every type at its limits. */
const metadata: [string, MetadataEntry][] = [
  ['general.architecture', { type: 'string', value: 'test' }],
  ['u8', { type: 'u8', value: 255 }],
  ['i8', { type: 'i8', value: -128 }],
  ['u16', { type: 'u16', value: 65535 }],
  ['i16', { type: 'i16', value: -32768 }],
  ['u32', { type: 'u32', value: 4294967295 }],
  ['i32', { type: 'i32', value: -2147483648 }],
  ['u64', { type: 'u64', value: 2n ** 64n - 1n }],
  ['i64', { type: 'i64', value: -(2n ** 63n) }],
  ['u64 small', { type: 'u64', value: 5 }],
  ['f32', { type: 'f32', value: -0.15625 }],
  ['f64', { type: 'f64', value: Math.PI }],
  ['bool', { type: 'bool', value: true }],
  ['text', { type: 'string', value: 'naïve 🙂\n' }],
  ['empty', { type: 'string', value: '' }],
  ['strings', { type: 'array', elementType: 'string', values: ['a', '', 'é🙂'] }],
  ['no strings', { type: 'array', elementType: 'string', values: [] }],
  ['floats', { type: 'array', elementType: 'f32', values: Float32Array.of(1, -0.5) }],
  ['bools', { type: 'array', elementType: 'bool', values: [true, false] }],
  ['i64s', { type: 'array', elementType: 'i64', values: [1, -(2n ** 62n)] }],
];

/** What stands for a tensor's data; the writer does not look into it. */
const bytes = (length: number) => Uint8Array.from({ length }, (_, i) => 37 * i);

describe('round trip', () => {
  it('keeps every metadata type', async () => {
    const path = join(await temporaryDirectory(), 'types.gguf');
    await writeGguf(path, { metadata, tensors: [] });
    const file = await openGguf(path);
    const plain = (entry: MetadataEntry) =>
      entry.type === 'array'
        ? { type: 'array', elementType: entry.elementType, values: Array.from(entry.values) }
        : { type: entry.type, value: entry.value };
    expect([...file.metadata.entries()].map(([key, entry]) => [key, plain(entry)])).toEqual(
      metadata.map(([key, entry]) => [key, plain(entry)]),
    );
    await file.close();
  });

  it.each([undefined, 8, 64, 4096])('keeps tensors at alignment %s', async (alignment) => {
    const path = join(await temporaryDirectory(), 'tensors.gguf');
    const content: GgufContent = {
      metadata: [],
      tensors: [
        { name: 'a', dtype: 'f32', shape: [3], data: () => bytes(12) },
        { name: 'b', dtype: 'q8_0', shape: [2, 3, 32], data: bytes(6 * 34) },
        { name: 'c', dtype: 'i8', shape: [5], data: () => Promise.resolve(Uint8Array.of(1, 2, 3, 4, 5)) },
        {
          name: 'd',
          dtype: 'f16',
          shape: [1, 2, 3, 4],
          data: pieces(bytes(48)),
        },
      ],
      ...(alignment === undefined ? {} : { alignment }),
    };
    await writeGguf(path, content);
    const file = await openGguf(path);
    expect(file.alignment).toBe(alignment ?? 32);
    expect(file.byteLength % file.alignment).toBe(0);
    expect(file.tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape }))).toEqual(
      content.tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
    );
    for (const { offset } of file.tensors) expect(offset % file.alignment).toBe(0);
    expect(await file.readTensor('b')).toEqual(bytes(6 * 34));
    expect(await file.readTensor('c')).toEqual(Uint8Array.of(1, 2, 3, 4, 5));
    expect(await file.readTensor('d')).toEqual(bytes(48));
    await file.close();
  });

  function pieces(whole: Uint8Array) {
    return function* () {
      for (let at = 0; at < whole.length; at += 7) yield whole.subarray(at, at + 7);
    };
  }

  it('copies the golden file byte for byte', async () => {
    const path = join(await temporaryDirectory(), 'copy.gguf');
    const original = await openGguf(golden('tiny.gguf'));
    await writeGguf(path, {
      metadata: original.metadata.entries(),
      tensors: original.tensors.map(({ name, dtype, shape }) => ({
        name,
        dtype: dtype!,
        shape,
        data: () => original.readTensor(name),
      })),
    });
    await original.close();
    expect(new Uint8Array(readFileSync(path))).toEqual(goldenBytes('tiny.gguf'));
  });
});

describe('refusals', () => {
  const tensor = { name: 'a', dtype: 'f32', shape: [2], data: new Uint8Array(8) } as const;
  const one = (entry: unknown): GgufContent => ({ metadata: [['k', entry as MetadataEntry]], tensors: [] });
  const cases: [string, GgufContent, string][] = [
    ['a number over its type', one({ type: 'u8', value: 256 }), 'usage/metadata'],
    ['a negative unsigned number', one({ type: 'u64', value: -1 }), 'usage/metadata'],
    ['a fraction as an integer', one({ type: 'i32', value: 1.5 }), 'usage/metadata'],
    ['an unsafe integer', one({ type: 'u64', value: 2 ** 60 }), 'usage/metadata'],
    ['a string as a number', one({ type: 'f32', value: '1' }), 'usage/metadata'],
    ['a number as a string', one({ type: 'string', value: 1 }), 'usage/metadata'],
    ['a number as a bool', one({ type: 'bool', value: 1 }), 'usage/metadata'],
    ['an unknown type', one({ type: 'f80', value: 1 }), 'usage/metadata'],
    ['half a surrogate pair', one({ type: 'string', value: '\ud83d' }), 'usage/metadata'],
    ['a mixed array', one({ type: 'array', elementType: 'i32', values: [1, 'x'] }), 'usage/metadata'],
    ['a key twice', { metadata: [...metadata, metadata[0]!], tensors: [] }, 'usage/metadata'],
    ['an alignment of 48', { metadata: [], tensors: [], alignment: 48 }, 'usage/metadata'],
    ['an alignment of 0', { metadata: [], tensors: [], alignment: 0 }, 'usage/metadata'],
    ['a tensor twice', { metadata: [], tensors: [tensor, tensor] }, 'usage/tensor'],
    ['a scalar', { metadata: [], tensors: [{ ...tensor, shape: [] }] }, 'usage/tensor'],
    ['five dimensions', { metadata: [], tensors: [{ ...tensor, shape: [1, 1, 1, 1, 2] }] }, 'usage/tensor'],
    ['a dimension of zero', { metadata: [], tensors: [{ ...tensor, shape: [0] }] }, 'usage/tensor'],
    [
      'a part of a block',
      { metadata: [], tensors: [{ ...tensor, dtype: 'q8_0', shape: [33] }] },
      'usage/tensor',
    ],
    ['a dtype of others', { metadata: [], tensors: [{ ...tensor, dtype: 'u16' }] }, 'unsupported/dtype'],
    ['too few bytes', { metadata: [], tensors: [{ ...tensor, shape: [3] }] }, 'usage/tensor-data'],
    ['too many bytes', { metadata: [], tensors: [{ ...tensor, shape: [1] }] }, 'usage/tensor-data'],
  ];
  it.each(cases)('%s', async (_, content, code) => {
    const directory = await temporaryDirectory();
    expect((await refusal(() => writeGguf(join(directory, 'x.gguf'), content))).code).toBe(code);
    expect(readdirSync(directory)).toEqual([]);
  });

  it('leaves the old file alone when the data fail half way, and passes the failure on', async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, 'x.gguf');
    await writeFile(path, 'old');
    const failure = Object.assign(new Error('the source went away'), { code: 'ENOENT' });
    const data = function* (): Generator<Uint8Array> {
      yield new Uint8Array(4);
      throw failure;
    };
    await expect(writeGguf(path, { metadata: [], tensors: [{ ...tensor, data }] })).rejects.toBe(failure);
    expect(readdirSync(directory)).toEqual(['x.gguf']);
    expect(readFileSync(path, 'utf8')).toBe('old');
  });

  it('explains a directory that is not there', async () => {
    const path = join(await temporaryDirectory(), 'none', 'x.gguf');
    const error = await refusal(() => writeGguf(path, { metadata: [], tensors: [] }));
    expect(error.code).toBe('usage/file');
    expect(error.message).toContain(path);
  });
});
