/** A model's files that are no regular files, or nest without end: refused at once, whichever it is. */
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { isUnicornError } from '@unicorn-exec/tensor';
import { irregularKinds, makeIrregular } from './irregular.js';
import { openModel, openTextSide } from '../../src/index.js';

const goldens = fileURLToPath(new URL('../goldens/', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'unicorn-irregular-'));
afterAll(() => rmSync(root, { recursive: true }));

const files: Record<string, string> = {
  'config.json': `${goldens}qwen3/config.json`,
  'model.safetensors': `${goldens}qwen3/model.safetensors`,
  'tokenizer.json': `${goldens}nano-tokenizer.json`,
  'tokenizer_config.json': `${goldens}nano-tokenizer-config.json`,
};
const optional = [
  'generation_config.json',
  'matformer.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'model.safetensors.index.json',
];

/** A model's directory, with one file made by `make`. */
function directoryWith(name: string, make: (path: string) => void): string {
  const folder = mkdtempSync(join(root, 'model-'));
  for (const [file, from] of Object.entries(files)) {
    if (file !== name) copyFileSync(from, join(folder, file));
  }
  make(join(folder, name));
  return folder;
}

/** Everything that is read of a directory but the weights' bytes. */
async function readAll(folder: string): Promise<void> {
  const model = await openModel(folder);
  try {
    await model.tokenizer();
    await model.chatTemplate();
  } finally {
    await model.close();
  }
}

const names = [...Object.keys(files), ...optional];

it('is read where all is well', async () => {
  await readAll(directoryWith('generation_config.json', (path) => writeFileSync(path, '{}')));
});

describe.each(names)('%s', (name) => {
  it.each(irregularKinds)('as a %s', async (kind) => {
    const folder = directoryWith(name, (path) => makeIrregular(kind, path));
    const code = expect.stringMatching(/^usage\/(?:file|no-weights)$/) as string;
    await expect(readAll(folder)).rejects.toMatchObject({ code });
  });

  it.runIf(name.endsWith('.json')).each([
    ['lists', '['.repeat(20_000)],
    ['lists that end', `${'['.repeat(20_000)}${']'.repeat(20_000)}`],
    ['objects', `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`],
    ['lists within', `{"weight_map":${'['.repeat(20_000)}${']'.repeat(20_000)}}`],
  ])('of 20,000 nested %s', async (_, text) => {
    const folder = directoryWith(name, (path) => writeFileSync(path, text));
    const error: unknown = await readAll(folder).catch((reason: unknown) => reason);
    expect(isUnicornError(error) ? 'told' : error).toBe('told');
  });
});

it.each(irregularKinds.filter((kind) => kind !== 'directory'))('as the model itself: a %s', async (kind) => {
  const path = join(mkdtempSync(join(root, 'model-')), 'model.gguf');
  makeIrregular(kind, path);
  await expect(openModel(path)).rejects.toMatchObject({ code: 'usage/file' });
  await expect(openTextSide(path)).rejects.toMatchObject({ code: 'usage/file' });
});
