/** A range of a file is there as a whole, or an error says where it ends. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readFileRange } from '../../src/index.js';

const folder = mkdtempSync(join(tmpdir(), 'unicorn-range-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('a range of a file', () => {
  const path = join(folder, 'bytes');
  writeFileSync(
    path,
    Uint8Array.from({ length: 100 }, (_, i) => i),
  );

  it.each([
    [0, 100],
    [40, 10],
    [99, 1],
    [100, 0],
  ])('from byte %i on, %i bytes, is read', async (offset, byteLength) => {
    const target = new Uint8Array(byteLength);
    await readFileRange(path, target, offset, 'a');
    expect([...target]).toEqual(Array.from({ length: byteLength }, (_, i) => offset + i));
  });

  it.each([
    [0, 101, 100],
    [99, 2, 100],
    [100, 1, 100],
    [500, 1, 500],
  ])('from byte %i on, %i bytes, ends too soon', async (offset, byteLength, end) => {
    await expect(readFileRange(path, new Uint8Array(byteLength), offset, 'a')).rejects.toMatchObject({
      code: 'format/truncated',
      message: `${path} ends inside the tensor "a".`,
      fields: { file: path, field: 'a', offset: end, needed: offset + byteLength },
    });
  });

  it('of nothing is refused', async () => {
    const absent = readFileRange(join(folder, 'absent'), new Uint8Array(1), 0, 'a');
    await expect(absent).rejects.toMatchObject({ code: 'usage/file' });
  });
});
