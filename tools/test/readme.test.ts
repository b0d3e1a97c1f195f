/** What READMEs say about where the packages are to be had. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const readmes = ['README.md', ...readdirSync(`${root}packages`).map((name) => `packages/${name}/README.md`)];

/** Until the first release; the name `unicorn` is a stranger's on npm for ever. */
it.each(readmes)('%s sends nobody to a package that is not there', (file) => {
  const text = readFileSync(root + file, 'utf8');
  if (/npm install|npx unicorn/.test(text)) expect(text).toMatch(/on npm\s+yet/);
  expect(text).not.toMatch(/npm (?:install|i) (?:-g )?unicorn\b/);
});
