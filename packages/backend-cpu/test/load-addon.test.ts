/** What is said when the addon cannot be loaded. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { addonError, addonVariable, diagnoseAddon } from '../src/index.js';

describe('diagnoseAddon', () => {
  it('tries nothing else than the file that is named', () => {
    const { loaded, attempts } = diagnoseAddon('/nowhere/addon.node');
    expect(loaded).toBeUndefined();
    expect(attempts).toEqual([
      {
        what: 'environment',
        path: '/nowhere/addon.node',
        reason: 'there is no such file',
        fix: `Correct or unset ${addonVariable}.`,
      },
    ]);
  });

  it('survives a file that is no addon', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'unicorn-addon-'));
    const path = join(folder, 'broken.node');
    await writeFile(path, 'not a shared object');
    const { loaded, attempts } = diagnoseAddon(path);
    expect(loaded).toBeUndefined();
    expect(attempts[0]!.reason).toBeTruthy();
    await rm(folder, { recursive: true });
  });

  it('refuses a build of another version', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'unicorn-addon-'));
    const path = join(folder, 'old.cjs');
    await writeFile(path, 'exports.version = 0;');
    expect(diagnoseAddon(path).attempts[0]!.reason).toMatch(/version 0/);
    await rm(folder, { recursive: true });
  });

  it('tells of every attempt and the last one to mend', () => {
    const error = addonError({
      attempts: [
        { what: 'prebuilt', path: 'package', reason: 'not found', fix: 'npm install package' },
        {
          what: 'local build',
          path: 'file',
          reason: 'there is no such file',
          fix: 'apt-get install g++ cmake make',
        },
      ],
    });
    expect(error).toMatchObject({ code: 'device/addon', fix: 'apt-get install g++ cmake make' });
    expect(error.message).toContain('prebuilt package: not found; local build file: there is no such file');
    expect(error.fields.attempts).toHaveLength(2);
  });
});
