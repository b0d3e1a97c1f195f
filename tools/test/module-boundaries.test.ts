/**
 * Holds the workspace to `tools/import-table.js`: every folder in `packages/` stands in it, lint passes exactly the
 * imports that it allows (every pair of packages is tried in memory, with the workspace's own ESLint configuration),
 * manifests name what it allows, and INTERNALS shows it as it is.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ESLint } from 'eslint';
import tseslint from 'typescript-eslint';
import { describe, expect, it } from 'vitest';
import { importTable, networkGlobals, networkModules } from '../import-table.js';
import { withImportTable } from '../print-import-table.mjs';

const workspace = fileURLToPath(new URL('../..', import.meta.url));
const boundary = '@nx/enforce-module-boundaries';
const restricted = '@typescript-eslint/no-restricted-imports';
const packages = Object.keys(importTable);
const scope = '@unicorn-exec/';

interface Manifest {
  readonly name: string;
  readonly nx?: { readonly tags?: readonly string[] };
  readonly dependencies?: Record<string, string>;
  readonly devDependencies?: Record<string, string>;
}

const text = (path: string) => readFileSync(`${workspace}/${path}`, 'utf8');
const manifest = (name: string) => JSON.parse(text(`packages/${name}/package.json`)) as Manifest;
const ours = (dependencies: Record<string, string> = {}) =>
  Object.keys(dependencies)
    .filter((name) => name.startsWith(scope))
    .map((name) => name.slice(scope.length))
    .sort();

// Files that do not exist have no types, so the rules that ask for types are left out; those tried here ask for none.
const eslint = new ESLint({ cwd: workspace, overrideConfig: tseslint.configs.disableTypeChecked });

/** The ids of the rules that `source` breaks when it stands in `file`, a path relative to the workspace. */
async function brokenRules(file: string, source: string): Promise<(string | null)[]> {
  const [result] = await eslint.lintText(source, { filePath: file });
  return result!.messages.map((message) => message.ruleId);
}

const importOf = (name: string) => `export * from '${scope}${name}';\n`;
const dynamicImportOf = (name: string) => `export const module = import('${scope}${name}');\n`;

/** The packages whose import, as `write` writes it, lint lets pass in a file of `from`. Anything else must be named there. */
async function passing(
  from: string,
  file: string,
  write: (name: string) => string,
  rules: readonly string[],
): Promise<string[]> {
  const passed = [];
  for (const to of packages.filter((name) => name !== from)) {
    const broken = await brokenRules(`packages/${from}/${file}`, write(to));
    if (broken.length === 0) passed.push(to);
    else expect(rules).toEqual(expect.arrayContaining(broken));
  }
  return passed.sort();
}

describe('the import table', () => {
  it('has every package, and no other', () => {
    const folders = readdirSync(`${workspace}/packages`, { withFileTypes: true });
    expect([...packages].sort()).toEqual(
      folders
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => name)
        .sort(),
    );
  });

  it('names each package after those that it imports, so that there is no cycle', () => {
    packages.forEach((name, index) => {
      const { imports, dynamic = [], tests = [] } = importTable[name]!;
      for (const each of [...imports, ...dynamic, ...tests]) expect(packages.slice(0, index)).toContain(each);
    });
  });

  it('is printed in INTERNALS as it is', async () => {
    const internals = text('INTERNALS.md');
    expect(internals, 'run: node tools/print-import-table.mjs').toBe(await withImportTable(internals));
  });

  it('has the packages that the README lists', () => {
    const listed = Array.from(
      text('README.md').matchAll(/^\| \[`@unicorn-exec\/([^`]+)`\]/gm),
      ([, name]) => name!,
    );
    expect(listed.sort()).toEqual([...packages].sort());
  });
});

describe.each(packages)('%s', (from) => {
  const { imports, dynamic = [], tests = [] } = importTable[from]!;

  it(`imports ${imports.join(', ') || 'nothing of ours'}`, async () => {
    expect(await passing(from, 'src/probe.ts', importOf, [boundary, restricted])).toEqual(
      [...imports].sort(),
    );
  });

  it(`imports by import() ${dynamic.join(', ') || 'no other'}`, async () => {
    const allowed = [...imports, ...dynamic].sort();
    expect(await passing(from, 'src/probe.ts', dynamicImportOf, [boundary])).toEqual(allowed);
  });

  it(`imports in tests ${tests.join(', ') || 'no other'}`, async () => {
    const allowed = [...imports, ...dynamic, ...tests].sort();
    expect(await passing(from, 'test/probe.test.ts', importOf, [boundary])).toEqual(allowed);
  });

  it('has the tag that lint knows it by, and depends on what it may import', () => {
    const { name, nx, dependencies, devDependencies } = manifest(from);
    expect(name).toBe(`${scope}${from}`);
    expect(nx?.tags).toEqual([`scope:${from}`]);
    for (const each of ours(dependencies)) expect([...imports, ...dynamic]).toContain(each);
    for (const each of ours(devDependencies)) expect([...imports, ...dynamic, ...tests]).toContain(each);
  });

  it('depends on what its sources import, not only in development', () => {
    const named = new Set<string>();
    for (const file of sourcesOf(from)) {
      const specifiers = text(file).matchAll(/(?:from|import\()\s*'@unicorn-exec\/([\w-]+)/g);
      for (const [, name] of specifiers) named.add(name!);
    }
    named.delete(from);
    expect(ours(manifest(from).dependencies)).toEqual([...named].sort());
  });
});

/** The sources of a package, relative to the workspace. */
function sourcesOf(name: string): string[] {
  const folder = `packages/${name}`;
  return readdirSync(`${workspace}/${folder}`, { recursive: true, encoding: 'utf8' })
    .filter((path) => /^(?:src|bin)\/.*\.[jt]s$/.test(path) || /^[^/]+\.js$/.test(path))
    .map((path) => `${folder}/${path}`);
}

describe('an import that the table forbids', () => {
  it.each([
    ['dynamic', "export const models = await import('@unicorn-exec/models');\n"],
    ['of types', "export type * from '@unicorn-exec/models';\n"],
    ['by a relative path', "export * from '../../models/src/index.js';\n"],
  ])('%s fails too', async (_, source) => {
    expect(await brokenRules('packages/scheduler/src/probe.ts', source)).toEqual([boundary]);
  });

  it('of npm fails where package.json does not name it', async () => {
    const source = "export { Tokenizer } from '@huggingface/tokenizers';\n";
    expect(await brokenRules('packages/tensor/src/probe.ts', source)).toEqual([boundary]);
    expect(await brokenRules('packages/models/src/probe.ts', source)).toEqual([]);
  });
});

it('types of what is imported by import() are free', async () => {
  const source = "export type { Backend } from '@unicorn-exec/backend-cpu';\n";
  expect(await brokenRules('packages/api/src/probe.ts', source)).toEqual([]);
});

describe('the network', () => {
  const sources = [
    ...networkModules.flatMap((name) => [
      `export * from 'node:${name}';\n`,
      `export { default } from '${name}';\n`,
      `import module from 'node:${name}';\nexport { module };\n`,
      `export const module = import('node:${name}');\n`,
    ]),
    ...networkGlobals.flatMap((name) => [
      `export const it = ${name};\n`,
      `export const it = globalThis.${name};\n`,
    ]),
  ];

  it.each(packages)('%s may use it only where the table says so', async (name) => {
    for (const source of sources) {
      const broken = await brokenRules(`packages/${name}/src/probe.ts`, source);
      expect(broken.length, source).toBe(importTable[name]!.network ? 0 : 1);
      if (broken.length > 0) expect(broken[0], source).toMatch(/^no-restricted-(?:syntax|globals)$/);
    }
  });
});
