/**
 * No file of a package imports itself by way of others. Imports of types count: what two files need of each other is a
 * third thing, with a file of its own.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const packages = fileURLToPath(new URL('../../packages', import.meta.url));

/** For each source file of a folder the files of the same folder that it imports, both relative to it. */
function importsIn(folder: string): Map<string, readonly string[]> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith('.ts'),
  );
  return new Map(
    files.map((file) => {
      const { importedFiles } = ts.preProcessFile(readFileSync(join(folder, file), 'utf8'));
      const specifiers = importedFiles.map(({ fileName }) => fileName).filter((name) => name.startsWith('.'));
      return [file, specifiers.map((name) => normalize(join(dirname(file), name)).replace(/\.js$/, '.ts'))];
    }),
  );
}

/**
 * One cycle for each import that closes one, met on a walk in depth: 'a > b > a'. Empty when there is none, which is all
 * that the number says.
 */
function cyclesOf(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const cycles: string[] = [];
  const path: string[] = [];
  const finished = new Set<string>();
  const walk = (file: string): void => {
    if (finished.has(file)) return;
    const start = path.indexOf(file);
    if (start >= 0) {
      cycles.push([...path.slice(start), file].join(' > '));
      return;
    }
    path.push(file);
    for (const each of graph.get(file) ?? []) walk(each);
    path.pop();
    finished.add(file);
  };
  for (const file of graph.keys()) walk(file);
  return cycles;
}

it('a cycle is found, and a diamond is none', () => {
  const graph = new Map([
    ['a', ['b', 'c']],
    ['b', ['d']],
    ['c', ['d']],
    ['d', []],
  ]);
  expect(cyclesOf(graph)).toEqual([]);
  expect(cyclesOf(graph.set('d', ['c']))).toEqual(['d > c > d']);
  expect(cyclesOf(new Map([['a', ['a']]]))).toEqual(['a > a']);
});

describe('no file imports itself by way of others', () => {
  const sources = readdirSync(packages).filter((name) => existsSync(join(packages, name, 'src')));
  it.each(sources)('in %s', (name) => {
    const graph = importsIn(join(packages, name, 'src'));
    // A file that is not there was read wrongly: then nothing would be found.
    for (const [file, imported] of graph)
      for (const each of imported) expect(graph.has(each), `${file} imports ${each}`).toBe(true);
    expect(cyclesOf(graph)).toEqual([]);
  });
});
