/** Where an addon is looked for, and what is said when none is found. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { addonError, diagnoseAddon, loadAddon, type AddonConfig } from '../src/index.js';
import { shellWord } from '../src/load-addon.js';

interface Addon {
  readonly version: number;
  readonly from: string;
}

let folder: string;
let config: AddonConfig<Addon>;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'unicorn-native-'));
  writeFileSync(join(folder, 'package.json'), '{"name":"@example/backend-toy"}');
  config = {
    package: '@example/backend-toy',
    folder,
    name: 'unicorn_toy',
    title: 'the toy kernels',
    variable: 'UNICORN_TOY_KERNELS',
    version: 3,
  };
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

/** A module in place of an addon. */
const write = (from: string, path: string, version = 3): string => {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, `exports.version = ${version}; exports.from = '${from}';`);
  return path;
};

/** The prebuilt package of this platform, installed where npm would put it. */
const installPrebuilt = (version = 3): string => {
  const name = `@example/backend-toy-${process.platform}-${process.arch}`;
  write('prebuilt', join(folder, 'node_modules', name, 'index.js'), version);
  return name;
};

// Node takes a file that ends in .node for a shared object, so a module can only stand for one elsewhere.
const local = (): string => join(folder, 'build', 'Release', 'unicorn_toy.node');

describe('diagnoseAddon', () => {
  it('tries nothing else than the file that is named', () => {
    installPrebuilt();
    expect(diagnoseAddon(config, '/nowhere/addon.node')).toEqual({
      attempts: [
        {
          what: 'environment',
          path: '/nowhere/addon.node',
          reason: 'there is no such file',
          fix: 'Correct or unset UNICORN_TOY_KERNELS.',
        },
      ],
    });
  });

  it('takes the name from the variable', () => {
    const path = write('environment', join(folder, 'own.cjs'));
    vi.stubEnv('UNICORN_TOY_KERNELS', path);
    expect(diagnoseAddon(config)).toEqual({
      loaded: { addon: { version: 3, from: 'environment' }, path },
      attempts: [{ what: 'environment', path }],
    });
    vi.stubEnv('UNICORN_TOY_KERNELS', '');
    expect(diagnoseAddon(config).loaded).toBeUndefined();
  });

  it('prefers the prebuilt package, found from the folder of the addon’s own', () => {
    const path = installPrebuilt();
    writeFileSync(write('local build', local()), 'no shared object');
    expect(diagnoseAddon(config)).toEqual({
      loaded: { addon: { version: 3, from: 'prebuilt' }, path },
      attempts: [{ what: 'prebuilt', path }],
    });
  });

  it('goes on when an attempt fails, and says why each did', () => {
    const name = installPrebuilt(2);
    writeFileSync(write('local build', local()), 'no shared object');
    const { loaded, attempts } = diagnoseAddon(config);
    expect(loaded).toBeUndefined();
    expect(attempts).toEqual([
      {
        what: 'prebuilt',
        path: name,
        reason: 'it is of version 2, and this package wants 3',
        fix: `npm install ${name}`,
      },
      {
        what: 'local build',
        path: local(),
        reason: expect.stringContaining(local()) as unknown,
        fix: `apt-get install g++ cmake make && node ${join(folder, 'tools', 'build-native.mjs')}`,
      },
    ]);
  });
});

it.each(['of another package', 'of none'])(
  'code that a bundler moved to the folder %s is named as that',
  (whose) => {
    if (whose === 'of none') rmSync(join(folder, 'package.json'));
    else writeFileSync(join(folder, 'package.json'), '{"name":"somebody-elses-server"}');
    installPrebuilt();
    expect(() => loadAddon(config)).toThrow(
      'its code was moved away from @example/backend-toy, as bundlers do',
    );
    expect(addonError(config, diagnoseAddon(config)).fix).toMatch(/esbuild.*webpack.*Next\.js/);
    // A file that is named is found wherever the code lies.
    expect(diagnoseAddon(config, write('environment', join(folder, 'own.cjs'))).loaded).toBeDefined();
  },
);

it('a path in a command is one word to the shell', () => {
  expect(shellWord('/a/b-1.mjs')).toBe('/a/b-1.mjs');
  expect(shellWord("/a b/it's")).toBe(String.raw`'/a b/it'\''s'`);
});

describe('addonError', () => {
  it('tells of every attempt, and the last one to mend', () => {
    const error = addonError(config, diagnoseAddon(config));
    const name = `@example/backend-toy-${process.platform}-${process.arch}`;
    expect(error).toMatchObject({
      code: 'device/addon',
      fix: `apt-get install g++ cmake make && node ${join(folder, 'tools', 'build-native.mjs')}`,
    });
    expect(error.message).toMatch(/^The toy kernels could not be loaded\. Tried: prebuilt @example/);
    expect(error.message).toContain(name);
    expect(error.message).toContain(`; local build ${local()}: there is no such file.`);
    expect(error.fields['attempts']).toHaveLength(2);
  });
});

describe('loadAddon', () => {
  it('tries again after a failure, and never after a success', () => {
    expect(() => loadAddon(config)).toThrow('The toy kernels could not be loaded.');
    installPrebuilt();
    const addon = loadAddon(config);
    expect(addon.from).toBe('prebuilt');
    vi.stubEnv('UNICORN_TOY_KERNELS', '/nowhere');
    expect(loadAddon(config)).toBe(addon);
    expect(() => loadAddon({ ...config })).toThrow('environment /nowhere: there is no such file');
  });
});
