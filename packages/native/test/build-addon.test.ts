/** What is said when an addon cannot be built: nothing to build with, sources that do not compile. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawnSync } from 'node:child_process';
import { afterAll, describe, expect, it } from 'vitest';
import { buildNativeAddon } from '../src/index.js';

const kit = fileURLToPath(new URL('../tools/build-addon.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'unicorn-native-'));
afterAll(() => rmSync(folder, { recursive: true }));

const tool = join(folder, 'tools', 'build-native.mjs');
mkdirSync(join(folder, 'tools'));
writeFileSync(
  tool,
  `import { buildAddon, isProgram, runBuild } from ${JSON.stringify(kit)};
  const addon = { folder: ${JSON.stringify(folder)}, name: 'broken', title: 'the broken kernels', without: 'They are missed.' };
  export const buildNative = (options) => buildAddon(addon, options);
  if (isProgram(import.meta.url)) await runBuild(addon);\n`,
);

/** Runs the tool as a program. The compiler is the one in the path, whatever the environment says. */
const run = (args: readonly string[], env: Record<string, string>): ReturnType<typeof spawnSync> =>
  spawnSync(process.execPath, [tool, ...args], {
    encoding: 'utf8',
    env: { ...process.env, CXX: undefined, ...env },
  });

describe('a build that has nothing to build with', () => {
  it('is one warning and no failure', () => {
    const { status, stdout, stderr } = run([], { PATH: folder });
    expect(status).toBe(0);
    expect(stdout).toBe('');
    expect(stderr).toBe(
      'unicorn: WARNING: the broken kernels could not be built: there is no C++ compiler. They are missed. ' +
        `Fix: apt-get install g++ cmake make && node ${tool}\n`,
    );
  });

  it('is a failure of its own kind when asked to be strict', () => {
    expect(run(['--strict'], { PATH: folder }).status).toBe(2);
  });
});

const hasTools = spawnSync('cmake', ['--version']).status === 0;

describe.skipIf(!hasTools)('a build that fails (needs cmake)', () => {
  it('is an error with the words of the tools, and what to install', async () => {
    writeFileSync(join(folder, 'CMakeLists.txt'), 'message(FATAL_ERROR "no such thing")\n');
    await expect(buildNativeAddon({ folder, title: 'the broken kernels' })).rejects.toMatchObject({
      code: 'device/build',
      message: 'The broken kernels could not be built: CMake could not configure it.',
      fields: { output: expect.stringContaining('no such thing') as unknown },
      fix: 'apt-get install g++ cmake make',
    });
    const { status, stderr } = run(['--strict'], {});
    expect(status).toBe(1);
    expect(stderr).toContain('no such thing');
    expect(stderr).toContain('unicorn: WARNING: the broken kernels could not be built');
  });
});
