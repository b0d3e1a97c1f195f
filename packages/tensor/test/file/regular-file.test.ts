/** Regular files are read; all else is refused by name before it is opened. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openRegularFile, readRegularFile } from '../../src/index.js';
import { irregularKinds, makeIrregular } from './irregular.js';

const folder = mkdtempSync(join(tmpdir(), 'unicorn-regular-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('a path', () => {
  it.each(irregularKinds)('to a %s is refused', async (kind) => {
    const path = join(folder, kind);
    makeIrregular(kind, path);
    const refused = { code: 'usage/file', fix: expect.any(String) as string };
    await expect(openRegularFile(path)).rejects.toMatchObject(refused);
    await expect(readRegularFile(path)).rejects.toMatchObject(refused);
  });

  it('to nothing is refused', async () => {
    const refused = { code: 'usage/file', fields: { reason: 'ENOENT' } };
    await expect(readRegularFile(join(folder, 'nothing'))).rejects.toMatchObject(refused);
  });

  it('to a file is read, unless it has too many bytes', async () => {
    const path = join(folder, 'file');
    writeFileSync(path, 'content');
    expect(String(await readRegularFile(path, 7))).toBe('content');
    await expect(readRegularFile(path, 6)).rejects.toMatchObject({
      code: 'format/too-large',
      fields: { byteLength: 7 },
    });
  });
});
