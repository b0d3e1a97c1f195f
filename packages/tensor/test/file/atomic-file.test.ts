import { execFileSync } from 'node:child_process';
import { lstatSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, open, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
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

describe('what is there already', () => {
  it('stays a symbolic link, relative or not, and there may be nothing behind it yet', async () => {
    await mkdir(join(folder, 'other'));
    const real = join(folder, 'other', 'real');
    const path = join(folder, 'link');
    await symlink('other/middle', path);
    await symlink(real, join(folder, 'other', 'middle'));
    for (const text of ['first', 'second']) {
      await writeAtomically(path, text);
      expect(readlinkSync(path)).toBe('other/middle');
      expect(await readFile(real, 'utf8')).toBe(text);
    }
    expect(readdirSync(join(folder, 'other')).sort()).toEqual(['middle', 'real']);
  });

  it('keeps its mode', async () => {
    const path = join(folder, 'script');
    await writeFile(path, 'before');
    for (const mode of [0o755, 0o600, 0o444]) {
      await chmod(path, mode);
      await writeAtomically(path, 'after');
      expect(statSync(path).mode & 0o7777).toBe(mode);
    }
  });

  it('stays a device', async () => {
    await writeAtomically('/dev/null', async (file) => {
      await file.write(Uint8Array.of(1, 2, 3));
      await file.align(8);
      expect(file.position).toBe(8);
    });
    expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true);
    await expect(writeAtomically('/dev/full', 'text')).rejects.toMatchObject({ code: 'resource/disk' });
    expect(lstatSync('/dev/full').isCharacterDevice()).toBe(true);
  });

  it('stays a pipe', async () => {
    const path = join(folder, 'pipe');
    execFileSync('mkfifo', [path]);
    const [read] = await Promise.all([readFile(path, 'utf8'), writeAtomically(path, 'through')]);
    expect(read).toBe('through');
    expect(lstatSync(path).isFIFO()).toBe(true);
  });

  it('is written through the names that the system has for open files', async () => {
    // As /dev/stdout is one where standard output is a pipe: its link leads to no path.
    const path = join(folder, 'pipe');
    execFileSync('mkfifo', [path]);
    const pipe = await open(path, 'r+');
    await rm(path);
    await writeAtomically(`/proc/self/fd/${pipe.fd}`, 'out');
    expect((await pipe.read()).buffer.toString('utf8', 0, 3)).toBe('out');
    await pipe.close();
  });

  it.each(['/', '/dev', '/proc/self', ''])('"%s" is refused in words', async (path) => {
    await expect(writeAtomically(path, 'x')).rejects.toMatchObject({
      code: 'usage/file',
      fix: expect.any(String) as string,
    });
  });

  it('is refused as a directory, or as links without end', async () => {
    await mkdir(join(folder, 'directory'));
    await expect(writeAtomically(join(folder, 'directory'), 'x')).rejects.toMatchObject({
      code: 'usage/file',
    });
    await symlink('b', join(folder, 'a'));
    await symlink('a', join(folder, 'b'));
    await expect(writeAtomically(join(folder, 'a'), 'x')).rejects.toMatchObject({ code: 'usage/file' });
    expect(readdirSync(folder).sort()).toEqual(['a', 'b', 'directory']);
  });
});
