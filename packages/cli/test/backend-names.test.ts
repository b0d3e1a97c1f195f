/**
 * Proves that one file of the library knows which backends there are: no other source of `api` or `cli` imports a
 * backend's package or spells a backend's name in its code. Comments may.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { backendNames } from '@unicorn-exec/api/backends';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const workspace = fileURLToPath(new URL('../../..', import.meta.url));
const listFile = 'packages/api/src/machine/backends.ts';
const names = backendNames.filter((name) => name !== 'auto');

/**
 * A literal that is a backend's name, or that has one as a word of its own. Names that are words of everyday language too
 * count as whole literals and in flags. `npu` and `hybrid` are names of no backend yet; what is said of the hardware that
 * is called so counts in flags alone.
 */
function namesBackend(text: string): boolean {
  if (text.includes('@unicorn-exec/backend-')) return true;
  return [...names, 'npu', 'hybrid'].some((name) => {
    const inFlag = `--backend[ =]${name}\\b`;
    const isPlainWord = name === 'cpu' || name === 'reference';
    const pattern = name === 'npu' ? inFlag : isPlainWord ? `^${name}$|${inFlag}` : `\\b${name}\\b`;
    return new RegExp(pattern, 'i').test(text);
  });
}

function sources(): string[] {
  return ['api', 'cli'].flatMap((name) =>
    readdirSync(`${workspace}packages/${name}/src`, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => `packages/${name}/src/${path}`),
  );
}

/** The texts of all literals of a file: strings, parts of templates, and types that are strings. */
function literals(file: string, text: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node)) {
      found.push(node.text);
    }
    node.forEachChild(visit);
  };
  visit(ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true));
  return found;
}

describe('names of backends', () => {
  it.each(sources().filter((file) => file !== listFile))('%s has none', (file) => {
    expect(literals(file, readFileSync(workspace + file, 'utf8')).filter(namesBackend)).toEqual([]);
  });

  it('would be found', () => {
    const probe =
      "import('@unicorn-exec/backend-x'); type A = 'cpu'; const b = `--backend ${c} vulkan`; 'CPU threads';";
    expect(literals('probe.ts', probe).filter(namesBackend)).toEqual([
      '@unicorn-exec/backend-x',
      'cpu',
      ' vulkan',
    ]);
    const list = literals(listFile, readFileSync(workspace + listFile, 'utf8'));
    expect(list.filter(namesBackend)).toEqual(expect.arrayContaining([...names]));
  });
});
