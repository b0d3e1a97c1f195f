/** What a configuration says and the file's own tensors contradict: refused, or used with a warning, as the origin does. */
import { mkdtemp, cp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeGguf, type MetadataEntry } from '@unicorn-exec/checkpoint';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelToGguf, openModel } from '../../src/index.js';
import { goldenFolder } from './golden-model.js';

let folder: string;
beforeAll(async () => (folder = await mkdtemp(join(tmpdir(), 'unicorn-models-'))));
afterAll(() => rm(folder, { recursive: true }));

/** A golden as a GGUF file in which one key is another. */
async function ggufWith(golden: string, key: string, entry: MetadataEntry): Promise<string> {
  const model = await openModel(goldenFolder(golden));
  const { metadata, tensors } = modelToGguf(model);
  const path = join(folder, `${golden}.gguf`);
  const changed = new Map([...metadata, [key, entry] as const]);
  await writeGguf(path, { metadata: [...changed], tensors });
  await model.close();
  return path;
}

const u32 = (value: number): MetadataEntry => ({ type: 'u32', value });

describe('fewer layers than there are tensors of', () => {
  it.each(['llama', 'qwen2', 'qwen3'])('%s as a directory: warns, as transformers does', async (golden) => {
    const path = join(folder, golden);
    await cp(goldenFolder(golden), path, { recursive: true });
    const file = join(path, 'config.json');
    const config = JSON.parse(await readFile(file, 'utf8')) as { num_hidden_layers: number };
    config.num_hidden_layers--;
    await writeFile(file, JSON.stringify(config));
    const model = await openModel(path);
    const layer = config.num_hidden_layers;
    expect(model.layers).toBe(layer);
    expect(model.warnings).toEqual([
      expect.stringContaining(`"num_hidden_layers" is ${layer}, but there are tensors of layer ${layer} `),
    ]);
    await model.close();
  });

  it.each(['llama', 'qwen2', 'qwen3'])('%s as GGUF: refused, as llama.cpp does', async (golden) => {
    const path = await ggufWith(golden, `${golden}.block_count`, u32(1));
    await expect(openModel(path)).rejects.toMatchObject({
      code: 'format/config',
      fields: { field: 'block_count', layers: 1 },
    });
  });
});

describe('a vocabulary size', () => {
  it('that is not the number of rows: warns, and the rows count', async () => {
    const model = await openModel(await ggufWith('llama', 'llama.vocab_size', u32(7)));
    expect(model.vocabularySize).toBeGreaterThan(7);
    expect(model.warnings).toEqual([expect.stringContaining('says that it has 7 tokens')]);
    await model.close();
  });

  const nonsense: MetadataEntry[] = [
    u32(0),
    u32(2 ** 31),
    { type: 'i32', value: -1 },
    { type: 'f32', value: NaN },
    { type: 'f64', value: 1e308 },
    { type: 'string', value: '7' },
    { type: 'bool', value: true },
    { type: 'array', elementType: 'i32', values: [1] },
  ];
  it.each(nonsense)('of $type $value: refused', async (entry) => {
    await expect(openModel(await ggufWith('llama', 'llama.vocab_size', entry))).rejects.toMatchObject({
      code: 'format/config',
      fields: { field: 'llama.vocab_size' },
    });
  });
});

describe('the pattern of sliding layers', () => {
  it.each<MetadataEntry>([
    { type: 'array', elementType: 'string', values: [] },
    { type: 'array', elementType: 'f32', values: [] },
    { type: 'array', elementType: 'i32', values: [] },
  ])('of $elementType other than true and false: refused', async (entry) => {
    const model = await openModel(goldenFolder('gemma3-text'));
    const wrong = { string: 'x', f32: NaN, i32: 2 }[(entry as { elementType: 'f32' }).elementType];
    const values = new Array(model.layers).fill(wrong) as number[];
    await model.close();
    const key = 'gemma3.attention.sliding_window_pattern';
    const path = await ggufWith('gemma3-text', key, { ...entry, values } as MetadataEntry);
    await expect(openModel(path)).rejects.toMatchObject({
      code: 'format/config',
      fields: { field: `${key}[0]` },
    });
  });
});
