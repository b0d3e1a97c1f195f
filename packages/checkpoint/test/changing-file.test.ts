/** Checkpoints whose file is cut short or written to while they are open. */
import { appendFileSync, copyFileSync, truncateSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openWeights, writeSafetensors } from '../src/index.js';
import { golden, refusal, temporaryDirectory } from './support.js';

const kinds = {
  gguf: (path: string) => Promise.resolve(copyFileSync(golden('tiny.gguf'), path)),
  safetensors: (path: string) =>
    writeSafetensors(path, [{ name: 'a', dtype: 'f32', shape: [2000], data: new Uint8Array(8000) }]),
};

const changes = {
  'cut short': { act: (path: string) => truncateSync(path, 100), code: 'format/truncated' },
  emptied: { act: (path: string) => truncateSync(path, 0), code: 'format/truncated' },
  'written to': { act: (path: string) => utimesSync(path, 1, 1), code: 'format/changed' },
  'made longer': { act: (path: string) => appendFileSync(path, 'more'), code: 'format/changed' },
};

describe.each(Object.entries(kinds))('a file of %s', (kind, write) => {
  it.each(Object.entries(changes))('that is %s fails its readers', async (_, { act, code }) => {
    const path = join(await temporaryDirectory(), `model.${kind}`);
    await write(path);
    const weights = await openWeights(path);
    const { name } = weights.tensors.at(-1)!;
    const before = await weights.readTensor(name);
    act(path);
    for (let i = 0; i < 2; i++) {
      expect(await refusal(() => weights.readTensor(name))).toMatchObject({ code, fields: { file: path } });
    }
    await weights.close();
    await write(path);
    const again = await openWeights(path);
    expect(await again.readTensor(name)).toEqual(before);
    await again.close();
  });
});
