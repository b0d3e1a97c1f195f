/** Runs the built command as a user's shell would. */
import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const binPath = fileURLToPath(new URL('../bin/unicorn.js', import.meta.url));

/** No colour, and nothing from a configuration file of whoever runs the tests. */
const plainly = { NO_COLOR: '1', XDG_CONFIG_HOME: '/nonexistent' };

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** Leaves standard input open, with nothing in it. */
  readonly keepOpen?: boolean;
  /** Sees each piece of stdout as it comes, with the process, to interrupt it. */
  readonly onStdout?: (text: string, child: ChildProcessWithoutNullStreams) => void;
}

export function unicorn(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [binPath, ...args], {
      env: { ...process.env, ...plainly, ...options.env },
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      options.onStdout?.(stdout, child);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout, stderr }));
    child.stdin.on('error', () => {});
    if (!options.keepOpen) child.stdin.end(options.input ?? '');
  });
}

/** The one JSON document on stdout. */
export async function unicornJson<T = Record<string, unknown>>(
  args: readonly string[],
  options: RunOptions = {},
): Promise<T> {
  const { code, stdout, stderr } = await unicorn([...args, '--json'], options);
  if (code !== 0) throw new Error(`unicorn ${args.join(' ')} ended with ${code}: ${stdout}${stderr}`);
  return JSON.parse(stdout) as T;
}

export const temporaryFolder = (): string => mkdtempSync(join(tmpdir(), 'unicorn-cli-'));

/** A line of bash, in which `unicorn` is the command; a pipeline fails with the first of its parts that fails. */
export function shell(line: string, env: Readonly<Record<string, string>> = {}): Finished {
  const script = `set -o pipefail; unicorn() { '${process.execPath}' '${binPath}' "$@"; }; ${line}`;
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script], {
    encoding: 'utf8',
    env: { ...process.env, ...plainly, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return { code: status, stdout, stderr };
}
