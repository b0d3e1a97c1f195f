import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openSafetensorsIndex, openWeights, writeSafetensors } from '../src/index.js';
import { golden, refusal, temporaryDirectory } from './support.js';

const indexName = 'model.safetensors.index.json';

async function shardedDirectory(
  weightMap: Record<string, unknown> = { a: 'one.safetensors', b: 'two.safetensors' },
) {
  const directory = await temporaryDirectory();
  const tensor = (name: string, value: number) =>
    ({ name, dtype: 'f32', shape: [1], data: new Uint8Array(Float32Array.of(value).buffer) }) as const;
  await writeSafetensors(join(directory, 'one.safetensors'), [tensor('a', 1), tensor('unlisted', 9)]);
  await writeSafetensors(join(directory, 'two.safetensors'), [tensor('b', 2)]);
  await writeFile(
    join(directory, indexName),
    JSON.stringify({ metadata: { total_size: 8, note: 'x', nested: {} }, weight_map: weightMap }),
  );
  return directory;
}

describe('shards', () => {
  it.each(['directory', 'index'])('open by their %s', async (by) => {
    const directory = await shardedDirectory();
    const path = by === 'directory' ? directory : join(directory, indexName);
    for (const weights of [await openSafetensorsIndex(path), await openWeights(path)]) {
      expect(weights.path).toBe(join(directory, indexName));
      expect(weights.tensors.map(({ name, path: file }) => [name, file])).toEqual([
        ['a', join(directory, 'one.safetensors')],
        ['b', join(directory, 'two.safetensors')],
      ]);
      expect(await weights.decodeTensor('a')).toEqual(Float32Array.of(1));
      expect(await weights.decodeTensor('b')).toEqual(Float32Array.of(2));
      expect(weights.metadata.number('total_size')).toBe(8);
      expect([...weights.metadata.keys()]).toEqual(['total_size', 'note']);
      await weights.close();
      await weights.close();
    }
  });

  it.each([
    ['a tensor that its shard lacks', { a: 'two.safetensors' }, 'format/shard'],
    ['a shard that is not there', { a: 'three.safetensors' }, 'format/missing-shard'],
    ['a shard elsewhere', { a: '../one.safetensors' }, 'format/shard'],
    ['an absolute shard', { a: '/etc/passwd' }, 'format/shard'],
    ['the directory above', { a: '..' }, 'format/shard'],
    ['a number as a shard', { a: 1 }, 'format/shard'],
  ])('are refused for %s', async (_, weightMap, code) => {
    const directory = await shardedDirectory(weightMap);
    const error = await refusal(() => openSafetensorsIndex(directory));
    expect(error.code).toBe(code);
    expect(error.fields).toMatchObject({ file: join(directory, indexName), offset: expect.any(Number) });
    expect(error.message).toContain(join(directory, indexName));
  });

  it.each([
    ['no JSON', '{"weight_map": nothing}'],
    ['an array', '[]'],
    ['no map', '{}'],
    ['a list as map', '{"weight_map": []}'],
    ['deep nesting', '{"metadata":' + '['.repeat(100_000) + '}'],
  ])('are refused for an index of %s', async (_, text) => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, indexName), text);
    expect((await refusal(() => openSafetensorsIndex(directory))).code).toBe('format/json');
    expect((await refusal(() => openWeights(directory))).code).toBe('format/json');
  });
});

describe('openWeights', () => {
  it('goes by content, not by name', async () => {
    const directory = await temporaryDirectory();
    await copyFile(golden('tiny.gguf'), join(directory, 'a.bin'));
    await copyFile(golden('tiny.safetensors'), join(directory, 'b.gguf'));
    const first = await openWeights(join(directory, 'a.bin'));
    const second = await openWeights(join(directory, 'b.gguf'));
    expect([first.format, second.format]).toEqual(['gguf', 'safetensors']);
    await Promise.all([first.close(), second.close()]);
  });

  it('finds the weights of a directory', async () => {
    const directory = await temporaryDirectory();
    await copyFile(golden('tiny.gguf'), join(directory, 'some.gguf'));
    const gguf = await openWeights(directory);
    expect(gguf.format).toBe('gguf');
    await copyFile(golden('tiny.safetensors'), join(directory, 'model.safetensors'));
    const safetensors = await openWeights(directory);
    expect(safetensors.format).toBe('safetensors');
    await Promise.all([gguf.close(), safetensors.close()]);
  });

  it('says what it looked for, and leaves a choice to the caller', async () => {
    const directory = await temporaryDirectory();
    const none = await refusal(() => openWeights(directory));
    expect(none.code).toBe('usage/no-weights');
    expect(none.message).toContain('model.safetensors');
    await copyFile(golden('tiny.gguf'), join(directory, 'a.gguf'));
    await copyFile(golden('tiny.gguf'), join(directory, 'b.gguf'));
    const several = await refusal(() => openWeights(directory));
    expect(several.code).toBe('usage/no-weights');
    expect(several.message).toContain('a.gguf, b.gguf');
    await mkdir(join(directory, 'model.safetensors'));
    expect((await refusal(() => openWeights(directory))).family).toBe('usage');
  });

  it('refuses what is not a weight file', async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, 'x');
    for (const text of ['', 'GGU', 'hello, world', '\u0000'.repeat(64)]) {
      await writeFile(path, text);
      expect((await refusal(() => openWeights(path))).code).toBe('format/magic');
    }
    expect((await refusal(() => openWeights(join(directory, 'absent')))).code).toBe('usage/file');
  });

  it('knows a safetensors header whose length reads like a brace', async () => {
    // 123 is "{": padding brings a header of one tensor to it.
    const directory = await temporaryDirectory();
    const path = join(directory, 'brace');
    const header = '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.padEnd(123);
    await writeFile(
      path,
      Buffer.concat([Buffer.from([123, 0, 0, 0, 0, 0, 0, 0]), Buffer.from(header), Buffer.from([7])]),
    );
    const weights = await openWeights(path);
    expect(weights.format).toBe('safetensors');
    await weights.close();
  });
});
