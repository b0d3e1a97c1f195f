/** The README's table of ops against the registry. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { ops } from '../../src/index.js';

it('the README lists every op with its operands and attributes', () => {
  const text = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const section = text.slice(text.indexOf('\n## Ops\n'), text.indexOf('\n## Writing a backend\n'));
  const rows = section
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  const wanted = ops.map(({ name, about, operands, attributes }) => [
    `\`${name}\``,
    operands === 'list'
      ? 'any number'
      : operands.map((operand) => `${operand.name}${operand.optional ? '?' : ''}`).join(', '),
    Object.keys(attributes).join(', '),
    about.replaceAll('*', '\\*'),
  ]);
  expect(rows).toEqual(wanted);
});
