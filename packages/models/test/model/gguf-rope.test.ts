/** Rope as GGUF files spell it, new and old, read as llama.cpp's loader reads it (`llama-model.cpp`, rope scaling). */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GgufTensor, MetadataEntry } from '@unicorn-exec/checkpoint';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openModel } from '../../src/index.js';
import type { DecoderConfig } from '../../src/decoder/decoder-config.js';
import { f32, u32, writeTwin } from './gguf-twin.js';
import { goldenFolder } from './golden-model.js';

let directory: string;
beforeAll(async () => (directory = await mkdtemp(join(tmpdir(), 'unicorn-models-'))));
afterAll(() => rm(directory, { recursive: true }));

const text = (value: string): MetadataEntry => ({ type: 'string', value });
const linear = { type: 'linear', factor: 4 };
const yarn = {
  'llama.rope.scaling.type': text('yarn'),
  'llama.rope.scaling.factor': f32(4),
  'llama.rope.scaling.original_context_length': u32(1000),
};

async function configOf(
  metadata: Record<string, MetadataEntry>,
  extra: readonly GgufTensor[] = [],
): Promise<DecoderConfig> {
  const original = await openModel(goldenFolder('llama'));
  const path = join(directory, 'twin.gguf');
  await writeTwin(original, path, { architecture: 'llama', metadata, permuted: true, extra });
  const twin = await openModel(path);
  for (const model of [original, twin]) await model.close();
  return twin.definition.config;
}

const scalings: Record<string, [metadata: Record<string, MetadataEntry>, expected: unknown]> = {
  'nothing at all': [{}, { type: 'default' }],
  'type none beside a factor': [
    { 'llama.rope.scaling.type': text('none'), 'llama.rope.scaling.factor': f32(4) },
    { type: 'default' },
  ],
  linear: [{ 'llama.rope.scaling.type': text('linear'), 'llama.rope.scaling.factor': f32(4) }, linear],
  'a factor without a type': [{ 'llama.rope.scaling.factor': f32(4) }, linear],
  'a factor by its old name': [{ 'llama.rope.scale_linear': f32(4) }, linear],
  'a factor under both names': [
    { 'llama.rope.scale_linear': f32(8), 'llama.rope.scaling.factor': f32(4) },
    linear,
  ],
  'a factor of 0': [{ 'llama.rope.scaling.factor': f32(0) }, { type: 'default' }],
};

for (const [name, [metadata, expected]] of Object.entries(scalings)) {
  it(`${name} is ${JSON.stringify(expected)}`, async () => {
    expect((await configOf(metadata)).ropes.full.settings.scaling).toEqual(expected);
  });
}

it('multiplies divisors by a linear factor', async () => {
  const divisors = Float32Array.from({ length: 8 }, (_, pair) => 1 + pair);
  const data = new Uint8Array(divisors.buffer);
  const extra = [{ name: 'rope_freqs.weight', dtype: 'f32', shape: [8], data } as const];
  const alone = await configOf({}, extra);
  const both = await configOf({ 'llama.rope.scaling.factor': f32(4) }, extra);
  alone.ropes.full.frequencies.forEach((frequency, pair) =>
    expect(both.ropes.full.frequencies[pair]).toBeCloseTo(frequency / 4, 7),
  );
});

it('has the context that YaRN makes of the trained one, or a longer one of the file', async () => {
  expect((await configOf(yarn)).contextLength).toBe(4000);
  const shorter = { ...yarn, 'llama.rope.scaling.original_context_length': u32(1) };
  expect((await configOf(shorter)).contextLength).toBe((await configOf({})).contextLength);
});
