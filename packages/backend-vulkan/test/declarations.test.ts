/** That an op is one declaration: nothing of this backend but `kernel/` and `fusion/` knows one by its name. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ops } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { kernelTable } from '../src/kernel/kernels.js';
import { supportOf } from '../src/device/support.js';

const source = join(import.meta.dirname, '..', 'src');

/** Folders whose files declare what becomes of ops. */
const declaring = ['kernel', 'fusion'];

const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(
  (file) => file.endsWith('.ts') && !declaring.some((folder) => file.startsWith(folder)),
);

describe('ops', () => {
  it.each(ops.filter(({ name, view }) => !view && !(name in kernelTable)))(
    'without a kernel are refused: $name',
    ({ name }) => {
      const graph = { name: 'g', values: [], nodes: [], outputs: {} };
      const node = { id: 0, op: name, inputs: {}, outputs: [], attributes: {} };
      expect(supportOf(node, graph)).toEqual({ ok: false, reason: `the op ${name}` });
    },
  );

  it.each(files)('are not named in %s', (file) => {
    const text = readFileSync(join(source, file), 'utf8');
    const compared = ops.filter(({ name }) =>
      new RegExp(`\\.op\\b[^\\n]*['"\`]${name}['"\`]|case '${name}'`).test(text),
    );
    expect(compared.map(({ name }) => name)).toEqual([]);
  });

  it('that nobody declared are refused', () => {
    const graph = { name: 'g', values: [], nodes: [], outputs: {} };
    const node = { id: 0, op: 'unheardOf', inputs: {}, outputs: [], attributes: {} };
    expect(supportOf(node, graph)).toEqual({ ok: false, reason: 'there is no op named "unheardOf"' });
  });
});
