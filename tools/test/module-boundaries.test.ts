/**
 * Proves that lint enforces the import table of the architecture: every pair of packages is tried in memory, with the
 * workspace's own ESLint configuration, and exactly the pairs below pass. The table is written out a second time on
 * purpose; widening it should take two edits.
 */
import { fileURLToPath } from 'node:url';
import { ESLint } from 'eslint';
import tseslint from 'typescript-eslint';
import { describe, expect, it } from 'vitest';

const workspace = fileURLToPath(new URL('../..', import.meta.url));
const rule = '@nx/enforce-module-boundaries';

/** What the sources of each package may import of ours. */
const allowed: Record<string, readonly string[]> = {
  tensor: [],
  conformance: ['tensor'],
  checkpoint: ['tensor'],
  quant: ['tensor', 'checkpoint'],
  'backend-cpu': ['tensor'],
  models: ['tensor', 'checkpoint'],
  scheduler: ['tensor'],
  'model-nano': [],
  api: ['tensor', 'conformance', 'checkpoint', 'quant', 'backend-cpu', 'models', 'scheduler', 'model-nano'],
  cli: ['api'],
};
const packages = Object.keys(allowed);

// Files that do not exist have no types, so the rules that ask for types are left out; the boundary rule is not one.
const eslint = new ESLint({ cwd: workspace, overrideConfig: tseslint.configs.disableTypeChecked });

/** The ids of the rules that `source` breaks when it stands in `file`, a path relative to the workspace. */
async function brokenRules(file: string, source: string): Promise<(string | null)[]> {
  const [result] = await eslint.lintText(source, { filePath: file });
  return result!.messages.map((message) => message.ruleId);
}

const importOf = (name: string) => `export * from '@unicorn-exec/${name}';\n`;

describe('module boundaries', () => {
  for (const from of packages) {
    it(`${from} imports ${allowed[from]!.join(', ') || 'nothing of ours'}`, async () => {
      const passed = [];
      for (const to of packages.filter((name) => name !== from)) {
        const broken = await brokenRules(`packages/${from}/src/probe.ts`, importOf(to));
        if (broken.length === 0) passed.push(to);
        else expect(broken).toEqual([rule]);
      }
      expect(passed.sort()).toEqual([...allowed[from]!].sort());
    });
  }

  it('tests of a backend import the conformance suite, its sources do not', async () => {
    expect(await brokenRules('packages/backend-cpu/test/probe.test.ts', importOf('conformance'))).toEqual([]);
    expect(await brokenRules('packages/backend-cpu/src/probe.ts', importOf('conformance'))).toEqual([rule]);
  });

  it('tests of any other package keep to the table', async () => {
    expect(await brokenRules('packages/quant/test/probe.test.ts', importOf('models'))).toEqual([rule]);
  });

  it.each([
    ['a dynamic import', "export const models = await import('@unicorn-exec/models');\n"],
    ['a type import', "export type * from '@unicorn-exec/models';\n"],
    ['a relative path', "export * from '../../models/src/index.js';\n"],
  ])('%s of a forbidden package fails too', async (_, source) => {
    expect(await brokenRules('packages/scheduler/src/probe.ts', source)).toEqual([rule]);
  });

  it('an npm package must stand in package.json', async () => {
    const source = "export { Template } from '@huggingface/jinja';\n";
    expect(await brokenRules('packages/tensor/src/probe.ts', source)).toEqual([rule]);
    expect(await brokenRules('packages/models/src/probe.ts', source)).toEqual([]);
  });

  it('api imports accelerator backends dynamically only', async () => {
    const restricted = '@typescript-eslint/no-restricted-imports';
    const file = 'packages/api/src/probe.ts';
    expect(await brokenRules(file, importOf('backend-npu'))).toContain(restricted);
    expect(
      await brokenRules(file, "export const npu = import('@unicorn-exec/backend-npu');\n"),
    ).not.toContain(restricted);
    expect(await brokenRules(file, importOf('backend-cpu'))).toEqual([]);
  });
});
