import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { writeAtomically } from '../../src/index.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unicorn-tensor-'));
  onTestFinished(() => rm(folder, { recursive: true }));
});

it('takes text, bytes, and pieces with their places', async () => {
  const path = join(folder, 'it');
  await writeAtomically(path, 'naïve');
  expect(await readFile(path, 'utf8')).toBe('naïve');
  await writeAtomically(path, Uint8Array.of(1, 2));
  expect([...(await readFile(path))]).toEqual([1, 2]);
  await writeAtomically(path, async (file) => {
    await file.write(Uint8Array.of(7));
    await file.align(4);
    expect(file.position).toBe(4);
    await file.write(Uint8Array.of(8));
  });
  expect([...(await readFile(path))]).toEqual([7, 0, 0, 0, 8]);
  expect(readdirSync(folder)).toEqual(['it']);
});

it('leaves what was there when it fails, and nothing else', async () => {
  const path = join(folder, 'it');
  await writeFile(path, 'before');
  const failing = writeAtomically(path, async (file) => {
    await file.write(Uint8Array.of(1));
    throw new RangeError('no more');
  });
  await expect(failing).rejects.toThrow(RangeError);
  expect(await readFile(path, 'utf8')).toBe('before');
  expect(readdirSync(folder)).toEqual(['it']);
});

it('makes the directory only where it is told to', async () => {
  const path = join(folder, 'a', 'b', 'it');
  await expect(writeAtomically(path, '')).rejects.toMatchObject({
    code: 'usage/file',
    fields: { file: path },
  });
  await writeAtomically(path, 'x', { makeDirectory: true });
  expect(await readFile(path, 'utf8')).toBe('x');
});

it('leaves one of several that write at the same time, whole', async () => {
  const path = join(folder, 'it');
  const texts = Array.from({ length: 8 }, (_, index) => String(index).repeat(100_000));
  await Promise.all(texts.map((text) => writeAtomically(path, text)));
  expect(texts).toContain(await readFile(path, 'utf8'));
  expect(readdirSync(folder)).toEqual(['it']);
});
