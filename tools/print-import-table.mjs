/**
 * The import table as INTERNALS.md has it, between two comments. Run as a program, this writes it there:
 *
 *     node tools/print-import-table.mjs
 */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { importTable } from './import-table.js';

const internals = fileURLToPath(new URL('../INTERNALS.md', import.meta.url));

/**
 * @param {string} markdown the text of INTERNALS.md
 * @returns {Promise<string>} the same with the table as it is now
 * @throws Error when the two comments are not there
 */
export async function withImportTable(markdown) {
  const parts = /^([^]*<!-- import table -->\n)[^]*(<!-- end of import table -->[^]*)$/.exec(markdown);
  if (!parts) throw new Error('INTERNALS.md has no place for the import table.');
  const [, before, after] = parts;
  const text = `${before}\n${tableMarkdown()}\n\n${after}`;
  return format(text, { ...(await resolveConfig(internals)), parser: 'markdown' });
}

/** One row a package; prettier pads the columns. */
function tableMarkdown() {
  const names = (list) => list.map((name) => `\`${name}\``).join(', ');
  const rows = Object.entries(importTable).map(([name, { owns, imports, dynamic = [], tests = [] }]) => {
    const clauses = [names(imports) || 'nothing of ours'];
    if (dynamic.length > 0) clauses.push(`by \`import()\` alone: ${names(dynamic)}`);
    if (tests.length > 0) clauses.push(`in tests: ${names(tests)}`);
    return `| \`${name}\` | ${owns} | ${clauses.join('; ')} |`;
  });
  return ['| package | owns | imports |', '| --- | --- | --- |', ...rows].join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await writeFile(internals, await withImportTable(await readFile(internals, 'utf8')));
}
