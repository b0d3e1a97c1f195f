/** How this process was called, so that the commands in messages are ones that the reader can type. */
import { basename, relative } from 'node:path';
import { quoted } from './shell-word.js';

/**
 * The words that call this command again: `unicorn` where it is on the path, `npx unicorn` in a checkout, `npx
 * @unicorn-exec/cli` where npx fetched it (`npx unicorn` is somebody else's package there), else node with the file.
 */
export function invocation(
  script: string = process.argv[1] ?? '',
  environment: Readonly<NodeJS.ProcessEnv> = process.env,
): string {
  if (/[\\/]_npx[\\/]/.test(script)) return 'npx @unicorn-exec/cli';
  if (basename(script) !== 'unicorn') {
    const near = relative(process.cwd(), script);
    return `node ${quoted(near.startsWith('..') ? script : near)}`;
  }
  return environment.npm_command === 'exec' ? 'npx unicorn' : 'unicorn';
}

/** The text with each `unicorn COMMAND` between backquotes as the reader would call it. */
export function namedAsCalled(text: string, call: string = invocation()): string {
  return text.replaceAll(/`unicorn (?=[a-z-])/g, () => `\`${call} `);
}
