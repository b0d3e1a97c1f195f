/** A process without file descriptors goes on: patterns and templates of files need none. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const child = fileURLToPath(new URL('./without-descriptors.mjs', import.meta.url));

it('splits and renders without a file descriptor left', () => {
  const line = `ulimit -n 64; exec '${process.execPath}' '${child}'`;
  const { status, signal, stdout, stderr } = spawnSync('bash', ['-c', line], { encoding: 'utf8' });
  expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
  expect(JSON.parse(stdout)).toEqual({
    exhausted: 'EMFILE',
    results: [41, 'resource/tokenizer', 21],
    rendered: 'Hi',
  });
});
