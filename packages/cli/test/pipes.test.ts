/** What the command does between pipes and files: readers that leave, disks that are full, prompts that are piped in. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { shell, temporaryFolder, unicorn, unicornJson } from './command.js';

const folder = temporaryFolder();

/** Commands that print a lot, a little, in pieces, and from each way out of the program. */
const printing = [
  '--help',
  '--version',
  'run --help',
  'show --json',
  'show --tensors',
  'run -n 40 "Tell me a story."',
  'run -n 40 --json --stream "Tell me a story."',
  'tokenize --json "Hello, world!"',
];

describe('standard output', () => {
  it.each(printing)('%s: a reader that leaves ends it quietly', (line) => {
    const { code, stderr } = shell(`unicorn ${line} < /dev/null | true`);
    expect(stderr).not.toMatch(/error|EPIPE/i);
    expect(code).toBe(0);
  });

  it.each(printing)('%s: a full disk is told, and fails', (line) => {
    const { code, stderr } = shell(`unicorn ${line} < /dev/null > /dev/full`);
    expect(stderr).toMatch(/^error: There is no room to write standard output\.$/m);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(code).toBe(1);
  });

  it('goes on without a reader of standard error', () => {
    const { code, stdout } = shell(
      `{ unicorn run --verbose -n 3 --temperature 0 "Who are you?" < /dev/null 2>&3 3>&-; } 3> >(true)`,
    );
    expect(stdout).toMatch(/^I am/);
    expect(code).toBe(0);
  });
});

describe('the prompt', () => {
  const ids = async (args: readonly string[], input = ''): Promise<number[]> =>
    (await unicornJson<{ promptTokenIds: number[] }>(['run', '-n', '1', ...args], { input })).promptTokenIds;

  it('has what is piped in behind what was given', async () => {
    expect(await ids(['Summarize:'], 'A fox ran.')).toEqual(await ids(['Summarize:\n\nA fox ran.']));
    const file = join(folder, 'prompt.txt');
    writeFileSync(file, 'A fox ran.\n');
    expect(await ids(['-f', file])).toEqual(await ids(['A fox ran.']));
    expect(await ids(['-p', 'Summarize:', '-f', file])).toEqual(await ids(['Summarize:\n\nA fox ran.']));
  });

  it.each([
    ['an empty pipe', 'unicorn run < /dev/null'],
    ['a pipe of blanks', 'echo | unicorn run'],
    ['an empty pipe for raw text', 'unicorn run --raw < /dev/null'],
    ['an empty argument', 'unicorn run "" < /dev/null'],
    ['a directory', 'unicorn run < /'],
  ])('%s is refused', (_what, line) => {
    const { code, stderr, stdout } = shell(line);
    expect(stderr).toMatch(/^error: .*(empty|cannot be read)/);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });

  it.each(['run', 'chat', 'tokenize', 'tokenize --jsonl'])(
    '%s: 600 MB are said to be too long, and are not read',
    (command) => {
      // The limit of memory is below what V8, Node.js and these bytes would take.
      const line = `head -c 600000000 /dev/zero | tr '\\0' a | (ulimit -v 4000000; unicorn ${command})`;
      const { code, stderr } = shell(line);
      expect(stderr).toMatch(/too long/);
      expect(code).toBe(command === 'chat' ? 1 : 2);
    },
    120_000,
  );

  it('is not waited for on a socket that says nothing', async () => {
    const { code, stdout, stderr } = await unicorn(['run', '-n', '3', '--temperature', '0', 'Who are you?'], {
      keepOpen: true,
    });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^I am/);
    expect(stderr).toContain('standard input is open and says nothing');
  });

  it('may be a pipe given as a file', () => {
    const { code, stdout } = shell('unicorn run -n 3 --temperature 0 -f <(echo "Who are you?") < /dev/null');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^I am/);
  });

  it('that is a directory is refused', async () => {
    mkdirSync(join(folder, 'directory'));
    const { code, stderr } = await unicorn(['run', '-f', join(folder, 'directory')]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/cannot be read/);
  });
});

describe('lines of JSON', () => {
  it('one that is not UTF-8 spoils no other', async () => {
    const input = Buffer.concat([Buffer.from('"Hi"\n"'), Buffer.from([0xff]), Buffer.from('"\r\n"Ho"')]);
    const { stdout } = await unicorn(['tokenize', '--jsonl'], { input });
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { ids?: number[]; error?: { code: string } });
    expect(lines.map(({ ids, error }) => (ids ? 'ids' : error?.code))).toEqual([
      'ids',
      'usage/encoding',
      'ids',
    ]);
  });

  it('run --json --stream prints the pieces, then the document', async () => {
    const { stdout } = await unicorn(['run', '--json', '--stream', '-n', '4', '--temperature', '0', 'Hi']);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { text: string; tokens: number[]; model?: string });
    const document = lines.at(-1)!;
    expect(lines.length).toBeGreaterThan(2);
    expect(document.model).toBeTypeOf('string');
    const pieces = lines.slice(0, -1);
    expect(pieces.flatMap(({ tokens }) => tokens)).toEqual(document.tokens);
    expect(document.text.startsWith(pieces.map(({ text }) => text).join(''))).toBe(true);
  });
});
