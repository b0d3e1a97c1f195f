/** What a server's author sees who bundles the engine: what is missing, and what to tell the bundler. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../..', import.meta.url));

const program = `
  import { Engine } from '@unicorn-exec/api';
  import { loadAddon } from '@unicorn-exec/backend-cpu';
  const told = ({ code, message, fix }) => ({ code, message, fix });
  let addon;
  try { loadAddon(); } catch (error) { addon = told(error); }
  Engine.load().then(() => undefined, told).then((model) => console.log(JSON.stringify({ addon, model })));
`;

it.each(['esm', 'cjs'] as const)(
  'a bundle of format %s says that packages must stay outside',
  async (format) => {
    const folder = mkdtempSync(join(tmpdir(), 'unicorn-bundle-'));
    try {
      writeFileSync(join(folder, 'package.json'), '{"name":"a-server"}');
      const outfile = join(folder, `server.${format === 'esm' ? 'mjs' : 'cjs'}`);
      await build({
        stdin: { contents: program, resolveDir: root },
        outfile,
        format,
        platform: 'node',
        bundle: true,
        tsconfig: join(root, 'tsconfig.source.json'),
        logLevel: 'silent',
        ...(format === 'esm'
          ? {
              banner: {
                js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
              },
            }
          : {}),
      });
      const { stdout } = await promisify(execFile)(process.execPath, [outfile]);
      const fix = expect.stringMatching(/esbuild.*webpack.*Next\.js/) as string;
      expect(JSON.parse(stdout)).toEqual({
        addon: { code: 'device/addon', message: expect.stringContaining('as bundlers do') as string, fix },
        model: { code: 'usage/model', message: expect.stringContaining('bundler') as string, fix },
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
