/** Which file is taken for the addon, and what makes one unfit. How attempts are told of is tested in `native`. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { addonVariable, diagnoseAddon } from '../src/index.js';
import { addonConfig } from '../src/load-addon.js';

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

  it('refuses an addon that cannot say which SIMD levels it has', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'unicorn-addon-'));
    const path = join(folder, 'addon.cjs');
    const probe = "() => { throw new Error('no levels'); }";
    await writeFile(path, `exports.version = ${addonConfig.version}; exports.probe = ${probe};`);
    expect(diagnoseAddon(path).attempts[0]!.reason).toBe('no levels');
    await rm(folder, { recursive: true });
  });
});
