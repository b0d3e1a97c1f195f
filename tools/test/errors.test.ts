/** Holds `docs/errors.md` to the sources: every code that they give is listed, and nothing else is. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { errorCodes } from '../error-codes.ts';

const workspace = fileURLToPath(new URL('../..', import.meta.url));

interface Row {
  readonly code: string;
  readonly family: string;
  readonly when: string;
  readonly remedy: string;
}

/** The rows of the tables `| code | when | what to do |`, each with the family that its heading names. */
function listedErrors(markdown: string): Row[] {
  const rows: Row[] = [];
  let family = '';
  for (const line of markdown.split('\n')) {
    family = /^## `(\w+)`/.exec(line)?.[1] ?? family;
    const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
    const code = /^`([^`]+)`$/.exec(cells[1] ?? '')?.[1];
    if (code) rows.push({ code, family, when: cells[2] ?? '', remedy: cells[3] ?? '' });
  }
  return rows;
}

describe('docs/errors.md', () => {
  const rows = listedErrors(readFileSync(`${workspace}/docs/errors.md`, 'utf8'));
  const listed = rows.map(({ code }) => code);
  const { given, expected } = errorCodes(`${workspace}/packages`);

  it('lists every code that a source gives', () => {
    expect([...given].filter((code) => !listed.includes(code)).sort()).toEqual([]);
  });

  it('lists no code that no source gives', () => {
    expect(listed.filter((code) => !given.has(code))).toEqual([]);
  });

  it('lists each code once, sorted, under its family, with an occasion and a remedy', () => {
    expect(listed).toEqual([...new Set(listed)]);
    for (const { code, family, when, remedy } of rows) {
      expect(code.split('/')[0]).toBe(family);
      expect(when, code).not.toBe('');
      expect(remedy, code).not.toBe('');
    }
    for (const family of new Set(rows.map((row) => row.family))) {
      const codes = rows.filter((row) => row.family === family).map(({ code }) => code);
      expect(codes).toEqual(codes.toSorted());
    }
  });

  it('no source waits for a code that none gives', () => {
    expect([...expected].filter((code) => !given.has(code))).toEqual([]);
  });
});
