/** Mapped files that are cut short or written to while they are open: failures of their readers, and of nobody else. */
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  mkdtempSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { guarded, loadAddon } from '../src/index.js';
import { toyConfig, type ToyAddon } from './toy-addon.js';

/** Declares the tests, for `toy-addon.test.ts`, which has built the addon. */
export function describeLostPages(built: { path: string } | { missing: string }): void {
  describe.skipIf('missing' in built)('mapped files that change while they are open', () => {
    const folder = mkdtempSync(join(tmpdir(), 'unicorn-lost-'));
    let addon: ToyAddon;
    beforeAll(() => {
      addon = loadAddon(toyConfig);
    });
    afterAll(() => rmSync(folder, { recursive: true }));

    const byteLength = 100_000;
    const path = join(folder, 'bytes');
    const fresh = (): string => {
      writeFileSync(path, new Uint8Array(byteLength).fill(1));
      return path;
    };

    it.each([
      ['is cut short by pages', () => truncateSync(path, 4096), 'format/truncated'],
      ['is cut short inside its last page', () => truncateSync(path, byteLength - 1), 'format/truncated'],
      ['is emptied', () => truncateSync(path, 0), 'format/truncated'],
      [
        'is cut short, and filled again',
        () => (truncateSync(path, 0), writeFileSync(path, new Uint8Array(byteLength))),
        'format/changed',
      ],
      ['is written to', () => utimesSync(path, 1, 1), 'format/changed'],
      ['becomes longer', () => appendFileSync(path, 'more'), 'format/changed'],
    ])('one that %s, with the same error from then on', (_, change, code) => {
      const file = addon.openFile(fresh());
      const sum = (): number => guarded(() => addon.sumOf(file, 0, byteLength));
      expect(sum()).toBe(byteLength);
      change();
      if (code === 'format/changed') utimesSync(path, 2, 2); // The clock of files may be slower than the test.
      for (let i = 0; i < 2; i++) {
        expect(sum).toThrow(
          expect.objectContaining({ code, fields: expect.objectContaining({ file: path }) as object }),
        );
        // The file is whole again, the mapping is not.
        fresh();
      }
      expect(addon.sumOf(addon.openFile(fresh()), 0, byteLength)).toBe(byteLength);
    });

    describe('in a process of its own', () => {
      const child = fileURLToPath(new URL('lost-pages-child.mjs', import.meta.url));
      const addons = 'path' in built ? [built.path, join(folder, 'other.node')] : [];
      beforeAll(() => copyFileSync(addons[0]!, addons[1]!));

      function run(scenario: string, paths: readonly string[]) {
        const task = JSON.stringify({ addons: paths, folder, scenario });
        const { status, signal, stdout, stderr } = spawnSync(process.execPath, [child, task], {
          encoding: 'utf8',
          timeout: 60_000,
        });
        return { status, signal, lines: stdout.split('\n').slice(0, -1), stderr };
      }

      const cut = ['format/truncated', 300_000];
      const seen = (count: number): string =>
        JSON.stringify(
          [[300_000, 300_000], cut, cut].map((each) => Array.from({ length: count }, () => each)),
        );

      it.each([
        ['one addon', addons.slice(0, 1)],
        ['two addons', addons],
      ])('and %s', (_, paths) => {
        expect(run('main', paths)).toMatchObject({ status: 0, lines: [seen(paths.length)] });
        const { status, lines } = run('workers', paths);
        expect({ status, last: lines.at(-1) }).toEqual({ status: 0, last: seen(paths.length) });
        const all = [...Array.from({ length: 3 }, () => seen(paths.length)), ...paths.map(() => seen(1))];
        expect(lines.toSorted()).toEqual(all.toSorted());
      });

      it('after an earlier handler, which gets the faults of others', () => {
        expect(run('foreign, caught', addons)).toMatchObject({ status: 3, lines: [seen(2), 'caught'] });
      });

      it('without one: faults of others end the process as ever, also when the addons were unloaded', () => {
        const { status, signal } = run('foreign, in the end', addons);
        // A sanitizer has a handler of its own.
        if (process.env[toyConfig.variable] === undefined)
          expect({ status, signal }).toEqual({ status: null, signal: 'SIGBUS' });
        else expect(status).not.toBe(0);
      });
    });
  });
}
