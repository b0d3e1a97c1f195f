/** JSON that nests deeper than a stack: whatever holds it, opening ends in an error with a code. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isUnicornError } from '@unicorn-exec/tensor';
import { openModel, openTextSide } from '../../src/index.js';
import { goldenFolder } from './golden-model.js';

const depth = 20_000;
const deep = {
  lists: '['.repeat(depth) + ']'.repeat(depth),
  objects: '{"a":'.repeat(depth) + '1' + '}'.repeat(depth),
};

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'unicorn-models-'));
  await cp(goldenFolder('gemma3n-text'), directory, { recursive: true });
  await cp(new URL('../goldens/nano-tokenizer.json', import.meta.url), join(directory, 'tokenizer.json'));
  await cp(
    new URL('../goldens/nano-tokenizer-config.json', import.meta.url),
    join(directory, 'tokenizer_config.json'),
  );
});
afterAll(() => rm(directory, { recursive: true }));

/** Opens all of the model. Either it opens, for what nobody reads may be anything, or it says why not. */
async function tryOpen(): Promise<void> {
  const open = async (): Promise<void> => {
    const model = await openModel(directory);
    try {
      await model.tokenizer();
      await model.chatTemplate();
    } finally {
      await model.close();
    }
  };
  for (const work of [open, () => openTextSide(directory)]) {
    await work().catch((error: unknown) => expect(isUnicornError(error), String(error)).toBe(true));
  }
}

const files = [
  'config.json',
  'generation_config.json',
  'matformer.json',
  'tokenizer.json',
  'tokenizer_config.json',
];
for (const file of files) {
  describe(file, () => {
    const path = (): string => join(directory, file);
    for (const [kind, text] of Object.entries(deep)) {
      it(`may be nothing but ${kind}`, async () => {
        const before = await readFile(path()).catch(() => undefined);
        try {
          await writeFile(path(), text);
          await tryOpen();
        } finally {
          await (before ? writeFile(path(), before) : rm(path()));
        }
      });

      it(`may have ${kind} at any of its keys`, async () => {
        const before = await readFile(path(), 'utf8').catch(() => undefined);
        const json = JSON.parse(before ?? '{"granularities":{},"eos_token_id":1,"top_k":1}') as Record<
          string,
          unknown
        >;
        for (const key of [...Object.keys(json), 'rope_scaling', 'rope_parameters', 'quantization_config']) {
          await writeFile(
            path(),
            JSON.stringify({ ...json, [key]: 'DEEP' }).replace('"DEEP"', () => text),
          );
          await tryOpen();
        }
        await (before === undefined ? rm(path()) : writeFile(path(), before));
      });
    }
  });
}
