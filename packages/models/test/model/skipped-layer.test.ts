/** Leaving a layer out of a size is the same as a checkpoint without that layer. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openSafetensors, writeSafetensors, type SafetensorsTensor } from '@unicorn-exec/checkpoint';
import { openModel } from '../../src/index.js';
import { goldenFolder, GoldenNumbers, maxAbsDifference } from './golden-model.js';
import { StepRunner } from './step-runner.js';

const left = 6;
const layers = 8;
const perLayer = 32;

/** The golden without layer `left`: later layers renumbered, its part of the per-layer weights cut out. */
async function writeShorter(folder: string): Promise<void> {
  const source = goldenFolder('gemma3n-text');
  const config = JSON.parse(await readFile(join(source, 'config.json'), 'utf8')) as Record<string, unknown>;
  const without = (key: string): unknown[] => (config[key] as unknown[]).toSpliced(left, 1);
  await mkdir(folder);
  const shorter = {
    ...config,
    num_hidden_layers: layers - 1,
    num_kv_shared_layers: (config['num_kv_shared_layers'] as number) - 1,
    layer_types: without('layer_types'),
    intermediate_size: without('intermediate_size'),
    activation_sparsity_pattern: without('activation_sparsity_pattern'),
  };
  await writeFile(join(folder, 'config.json'), JSON.stringify(shorter));
  const file = await openSafetensors(join(source, 'model.safetensors'));
  const tensors: SafetensorsTensor[] = [];
  for (const { name, shape } of file.tensors) {
    const layer = Number(/layers\.(\d+)\./.exec(name)?.[1] ?? -1);
    if (layer === left) continue;
    const values = await file.decodeTensor(name);
    const columns = shape.at(-1)!;
    const isTable = name.includes('embed_tokens_per_layer');
    const isProjection = name.includes('per_layer_model_projection');
    const kept = values.filter((_, index) => {
      const feature = isTable ? index % columns : isProjection ? Math.floor(index / columns) : -1;
      return feature < 0 || Math.floor(feature / perLayer) !== left;
    });
    tensors.push({
      name: layer > left ? name.replace(`layers.${layer}.`, `layers.${layer - 1}.`) : name,
      dtype: 'f32',
      shape: isTable
        ? [shape[0]!, columns - perLayer]
        : isProjection
          ? [shape[0]! - perLayer, columns]
          : shape,
      data: new Uint8Array(kept.buffer, kept.byteOffset, kept.byteLength),
    });
  }
  await file.close();
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
}

it('a size without a layer computes what a checkpoint without it does', async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'unicorn-models-'));
  const folder = join(scratch, 'shorter');
  await writeShorter(folder);
  const [whole, shorter] = [await openModel(goldenFolder('gemma3n-text')), await openModel(folder)];
  const widths = new Array<number>(layers - 1).fill(160);
  const size = whole.resolveSize({ feedForward: widths, skip: [left] });
  // The per-layer table and its projection are read whole.
  expect(size.parameters - shorter.parameters).toBe(perLayer * (445 + 64));
  const golden = await GoldenNumbers.open('gemma3n-text');
  const ids = await golden.ids('a.input_ids');
  const runners = [await StepRunner.create(whole, { size }), await StepRunner.create(shorter)] as const;
  const part = { sequence: 0, position: 0, ids };
  const [skipped, expected] = [await runners[0].step([part]), await runners[1].step([part])];
  expect(maxAbsDifference(skipped.logits!, expected.logits!)).toBe(0);
  for (const opened of [...runners, whole, shorter, golden]) await opened.close();
  await rm(scratch, { recursive: true });
});
