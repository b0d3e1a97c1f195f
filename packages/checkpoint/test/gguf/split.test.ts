import { rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openGguf, openWeights, writeGguf, type MetadataEntry } from '../../src/index.js';
import { refusal, temporaryDirectory } from '../support.js';

const u16 = (value: number): MetadataEntry => ({ type: 'u16', value });
const tensor = (name: string, value: number) =>
  ({ name, dtype: 'f32', shape: [1], data: new Uint8Array(Float32Array.of(value).buffer) }) as const;
const nameOf = (index: number): string => `model-0000${index + 1}-of-00003.gguf`;

/** Three parts with a tensor each; the metadata of part `index` are changed. */
async function parts(index = 0, change: readonly [string, MetadataEntry][] = []): Promise<string[]> {
  const directory = await temporaryDirectory();
  const paths = ['a', 'b', 'c'].map((_, part) => join(directory, nameOf(part)));
  for (const [part, path] of paths.entries()) {
    const metadata = new Map<string, MetadataEntry>([
      ['split.no', u16(part)],
      ['split.count', u16(3)],
      ['split.tensors.count', { type: 'i32', value: 3 }],
      ...(part === 0 ? [['general.name', { type: 'string', value: 'whole' }] as const] : []),
      ...(part === index ? change : []),
    ]);
    await writeGguf(path, { metadata: [...metadata], tensors: [tensor('abc'[part]!, part)] });
  }
  return paths;
}

describe('a split file', () => {
  it.each([0, 1, 2])('opens by part %i', async (part) => {
    const paths = await parts();
    for (const file of [await openGguf(paths[part]!), await openWeights(paths[part]!)]) {
      expect(file.path).toBe(paths[part]);
      expect(file.metadata.string('general.name')).toBe('whole');
      expect(file.tensors.map(({ name, path }) => [name, path])).toEqual([
        ['a', paths[0]],
        ['b', paths[1]],
        ['c', paths[2]],
      ]);
      for (const [value, name] of ['a', 'b', 'c'].entries()) {
        expect(await file.decodeTensor(name)).toEqual(Float32Array.of(value));
      }
      await file.close();
      await file.close();
    }
  });

  it('opens by its directory, where no other GGUF file is', async () => {
    const [first] = await parts();
    const directory = join(first!, '..');
    const weights = await openWeights(directory);
    expect(weights.tensors).toHaveLength(3);
    await weights.close();
    await writeGguf(join(directory, 'other.gguf'), { metadata: [], tensors: [] });
    expect((await refusal(() => openWeights(directory))).code).toBe('usage/no-weights');
  });

  it('is refused without a part, by the name of that part', async () => {
    const paths = await parts();
    await rm(paths[1]!);
    const error = await refusal(() => openGguf(paths[2]!));
    expect(error.code).toBe('format/missing-shard');
    expect(error.fix).toContain(basename(paths[1]!));
  });

  it('is refused under a name that does not tell the others', async () => {
    const [first] = await parts();
    const renamed = join(first!, '..', 'model.gguf');
    await rename(first!, renamed);
    const error = await refusal(() => openGguf(renamed));
    expect(error.code).toBe('unsupported/split-gguf');
    expect(error.fix).toContain('00001-of-00003');
  });

  it.each<[string, number, [string, MetadataEntry][], string]>([
    ['a part of another count', 1, [['split.count', u16(4)]], 'format/split'],
    ['a part with another number', 1, [['split.no', u16(2)]], 'format/split'],
    ['a number past the count', 0, [['split.no', u16(3)]], 'format/split'],
    ['more parts than can be', 0, [['split.count', u16(65_535)]], 'format/split'],
    ['a negative number', 0, [['split.no', { type: 'i32', value: -1 }]], 'format/split'],
    ['a text for a count', 0, [['split.count', { type: 'string', value: 'three' }]], 'format/split'],
    ['tensors missing', 0, [['split.tensors.count', { type: 'i32', value: 4 }]], 'format/split'],
  ])('is refused with %s', async (_, part, change, code) => {
    const paths = await parts(part, change);
    expect((await refusal(() => openGguf(paths[0]!))).code).toBe(code);
  });

  it('is refused with a tensor twice', async () => {
    const paths = await parts();
    const metadata: [string, MetadataEntry][] = [
      ['split.no', u16(1)],
      ['split.count', u16(3)],
    ];
    await writeGguf(paths[1]!, { metadata, tensors: [tensor('a', 1)] });
    expect((await refusal(() => openGguf(paths[0]!))).code).toBe('format/duplicate');
  });

  it('of one part is a whole file', async () => {
    const path = join(await temporaryDirectory(), 'x.gguf');
    await writeGguf(path, { metadata: [['split.count', u16(1)]], tensors: [] });
    await (await openGguf(path)).close();
  });
});
