/**
 * Numbers of configurations and headers, each replaced by what it cannot be: the engine answers or refuses with a code, in
 * bounded time and memory, and never crashes. Every 47th case in each run; all of them with UNICORN_LONG_TESTS=1.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeGguf } from '@unicorn-exec/checkpoint';
import { architectures, modelToGguf, openModel } from '@unicorn-exec/models';
import { afterAll, describe, expect, it } from 'vitest';
import { ggufMutations, jsonMutations } from './configuration-fuzz/mutations.js';
import { LoadChild } from './configuration-fuzz/pool.js';

const isLong = process.env['UNICORN_LONG_TESTS'] === '1';
/** A prime, so that the cases of a short run are of all kinds. */
const stride = isLong ? 1 : 47;
const mostBytes = 1.5 * 2 ** 30;
const goldens = fileURLToPath(new URL('../../models/test/goldens/', import.meta.url));
const names = ['llama', 'llama3-rope', 'qwen2', 'qwen3', 'smollm3', 'gemma2', 'gemma3-text', 'gemma3n-text'];

interface Case {
  readonly name: string;
  /** Writes the model. @returns its path */
  write(): string;
}

const folder = mkdtempSync(join(tmpdir(), 'unicorn-fuzz-'));
const totals = { loads: 0, slowestMs: 0, slowest: '', peakBytes: 0, outcomes: {} as Record<string, number> };
afterAll(() => {
  rmSync(folder, { recursive: true });
  console.log(JSON.stringify({ ...totals, peakMiB: Math.round(totals.peakBytes / 2 ** 20) }));
});

/** A directory like the golden's, with another `config.json`. */
function* directoryCases(golden: string): Generator<Case> {
  for (const file of ['config.json', 'config.v5.json']) {
    const source = readFileSync(`${goldens}${golden}/${file}`, 'utf8');
    for (const { name, content } of jsonMutations(source)) {
      yield {
        name: `${golden}/${file} ${name}`,
        write() {
          const directory = join(folder, golden);
          mkdirSync(directory, { recursive: true });
          const weights = join(directory, 'model.safetensors');
          rmSync(weights, { force: true });
          symlinkSync(`${goldens}${golden}/model.safetensors`, weights);
          writeFileSync(join(directory, 'config.json'), content());
          return directory;
        },
      };
    }
  }
}

async function* ggufCases(golden: string): AsyncGenerator<Case> {
  const path = join(folder, `${golden}.gguf`);
  const model = await openModel(`${goldens}${golden}`);
  await writeGguf(path, modelToGguf(model));
  await model.close();
  for (const { name, content } of ggufMutations(readFileSync(path))) {
    yield {
      name: `${golden}.gguf ${name}`,
      write() {
        writeFileSync(path, content());
        return path;
      },
    };
  }
}

describe.each(['directory', 'gguf'] as const)('numbers of a %s', (kind) => {
  it.concurrent.each(names)('%s', { timeout: 1_800_000 }, async (golden) => {
    const child = new LoadChild();
    const wrong: string[] = [];
    let index = 0;
    try {
      for await (const { name, write } of kind === 'directory' ? directoryCases(golden) : ggufCases(golden)) {
        if (index++ % stride !== 0) continue;
        const { outcome, milliseconds } = await child.load(write());
        const isCode = /^(answered|(usage|unsupported|resource|format|device)\/[a-z-]+)$/.test(outcome);
        if (!isCode) wrong.push(`${name}: ${outcome}`);
        totals.loads++;
        totals.outcomes[isCode ? outcome : 'wrong'] = (totals.outcomes[isCode ? outcome : 'wrong'] ?? 0) + 1;
        if (milliseconds > totals.slowestMs)
          Object.assign(totals, { slowestMs: milliseconds, slowest: name });
      }
    } finally {
      child.close();
    }
    totals.peakBytes = Math.max(totals.peakBytes, child.peakBytes);
    expect(wrong).toEqual([]);
    expect(child.peakBytes).toBeLessThan(mostBytes);
  });
});

it('tries every architecture', () => {
  const tried = names.map((name) => name.replace(/-(text|rope)$/, '').replace('llama3', 'llama'));
  expect([...new Set(tried)].sort()).toEqual(architectures.map(({ id }) => id).sort());
});
