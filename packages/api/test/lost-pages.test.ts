/**
 * A model's file that is cut short or written to while it answers: its requests fail, the process and other engines do not.
 * Every backend that maps files is in this one process, each with its own handler of lost pages.
 */
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync, truncateSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { modelPath } from '@unicorn-exec/model-nano';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine, type GenerateRequest } from '../src/index.js';
import { backends } from './shared.js';

const request = {
  prompt: 'Once upon a time',
  sampling: { temperature: 0 },
  ignoreEnd: true,
  maxTokens: 24,
} satisfies GenerateRequest;
const usable = new Set(backends.filter((each) => each.usable).map(({ name }) => name));

/** The tokens of an answer; `then` is called after some of them. */
async function answer(engine: Engine, then?: () => void): Promise<number[]> {
  const tokens: number[] = [];
  for await (const chunk of engine.generate(request)) {
    tokens.push(...chunk.tokens);
    if (tokens.length >= 3) then?.();
  }
  return tokens;
}

describe('a model whose file changes while it answers', () => {
  const folder = mkdtempSync(join(tmpdir(), 'unicorn-lost-'));
  let steady: Engine;
  let right: number[];
  beforeAll(async () => {
    steady = await Engine.load({ context: 128 });
    right = await answer(steady);
  });
  afterAll(async () => {
    await steady.close();
    rmSync(folder, { recursive: true });
  });

  const changes = {
    'is cut short': { act: (path: string) => truncateSync(path, 4096), code: 'format/truncated' },
    'is written to': { act: (path: string) => utimesSync(path, 1, 1), code: 'format/changed' },
  };
  const cases = (['cpu', 'vulkan'] as const).flatMap((backend) =>
    Object.entries(changes).map(([change, { act, code }]) => ({ backend, change, act, code })),
  );

  for (const { backend, change, act, code } of cases) {
    it.skipIf(!usable.has(backend))(`on ${backend}: it ${change}`, async () => {
      const path = join(folder, `${backend}.gguf`);
      copyFileSync(modelPath, path);
      const engine = await Engine.load({ model: path, backend, context: 128 });
      const beside = answer(steady);
      const failing = answer(engine, () => act(path));
      await expect(failing).rejects.toMatchObject({ code, fields: { file: path } });
      expect(await beside).toEqual(right);
      // Later requests fare alike, also when the file is whole again: what was mapped is not.
      await expect(answer(engine)).rejects.toMatchObject({ code });
      copyFileSync(modelPath, path);
      await expect(answer(engine)).rejects.toMatchObject({ code });
      await engine.close();
      const again = await Engine.load({ model: path, backend, context: 128 });
      expect((await answer(again)).slice(0, 3)).toEqual(right.slice(0, 3));
      await again.close();
      expect(await answer(steady)).toEqual(right);
    });
  }

  it('on reference: no change reaches what was loaded', async () => {
    const path = join(folder, 'reference.gguf');
    copyFileSync(modelPath, path);
    const engine = await Engine.load({ model: path, backend: 'reference', context: 128 });
    truncateSync(path, 4096);
    expect(await answer(engine)).toEqual(right);
    await engine.close();
  });

  it('in worker threads, one after the other and beside this one', async () => {
    const inWorker = async (name: string): Promise<unknown> => {
      const path = join(folder, `${name}.gguf`);
      copyFileSync(modelPath, path);
      const worker = new Worker(new URL('./lost-pages-worker.mjs', import.meta.url), { workerData: path });
      const [outcome] = (await once(worker, 'message')) as unknown[];
      await once(worker, 'exit');
      return outcome;
    };
    const expected = usable.has('cpu') ? 'format/truncated' : 'answered';
    const [own, ...outcomes] = await Promise.all([answer(steady), inWorker('first'), inWorker('second')]);
    expect(own).toEqual(right);
    expect([...outcomes, await inWorker('third')]).toEqual([expected, expected, expected]);
  });
});
