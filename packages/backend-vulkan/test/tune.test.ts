/** The search for tiles on a device: what it finds is kept, used, and changes no bits with the number of rows. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomWeight } from '@unicorn-exec/conformance';
import { GraphBuilder } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cacheVariable, productUses, tune, tuneGraph, vulkanBackend, type ProductUse } from '../src/index.js';
import { loadAddon } from '../src/load-addon.js';
import { findDevice } from '../src/backend.js';
import type { VulkanDevice } from '../src/device/device.js';
import { matmul, matmulKernel } from '../src/kernel/matmul.js';
import { defaultTiler } from '../src/kernel/tiler.js';
import { KernelRunner } from '../src/measure/kernel-runner.js';
import { ShaderLibrary } from '../src/device/shader-library.js';
import { laneCandidates, laneCounts } from '../src/tuning/tile-candidates.js';
import { deviceTraits } from '../src/device/traits.js';
import { tunedTiler, type Tuning } from '../src/tuning/tuning.js';
import { tunedShadersHash, TuningFile } from '../src/tuning/tuning-file.js';
import { driver } from './lavapipe.js';

describe.skipIf(!driver.present)(`tuning (${driver.need})`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'unicorn-tune-'));
  const before = process.env[cacheVariable];
  beforeAll(() => {
    process.env[cacheVariable] = folder;
  });
  afterAll(() => {
    if (before === undefined) delete process.env[cacheVariable];
    else process.env[cacheVariable] = before;
    rmSync(folder, { recursive: true });
  });

  const shape = { dtype: 'q4_0', rows: 40, columns: 256, banks: 1 } as const;
  const use: ProductUse = { form: 'int8', shape: { ...shape, tokens: 1 }, count: 3 };
  const small = { coldBytes: 2 ** 20 };

  it('tries the candidates of every product and reports both times', async () => {
    const seen: number[] = [];
    const report = await tune([use, { ...use, shape: { ...shape, banks: 2, tokens: 3 } }], {
      ...small,
      onProgress: ({ done, total }) => {
        expect(total).toBe(2);
        seen.push(done);
      },
    });
    expect(seen).toEqual([0, 1, 2]);
    expect(report.complete).toBe(true);
    expect(report.products.map(({ form, shape: one }) => `${form} ${one.tokens} ${one.banks}`)).toEqual([
      'int8 1 1',
      'int8 3 2',
    ]);
    for (const { defaultUs, bestUs } of report.products) {
      expect(defaultUs).toBeGreaterThan(0);
      expect(bestUs).toBeLessThanOrEqual(defaultUs);
    }
    expect(report.path!.startsWith(folder)).toBe(true);
    const found = report.products.some(
      ({ tile, lanes }) => lanes !== undefined || Object.keys(tile).length > 0,
    );
    expect(existsSync(report.path!)).toBe(found);
  });

  it('ends in time, or when it is told to, and says that it is not complete', async () => {
    const began = performance.now();
    const late = await tune([use], { ...small, budgetMs: 1 });
    expect(late.complete).toBe(false);
    expect(late.products.length).toBeLessThan(2);
    const stopped = await tune([use], { ...small, signal: AbortSignal.abort() });
    expect(stopped).toMatchObject({ complete: false, products: [] });
    expect(performance.now() - began).toBeLessThan(20_000);
  });

  it('refuses a model without products, and a device that is not there', async () => {
    await expect(tune([])).rejects.toMatchObject({ code: 'usage/model' });
    await expect(tune([use], { device: 'vulkan99' })).rejects.toMatchObject({ code: 'device/unavailable' });
  });

  it('lists the products of a graph as kernels are asked for them', async () => {
    const builder = new GraphBuilder('layer');
    const x = builder.input('x', 'f32', ['tokens', 64]);
    const wide = builder.weight('wide', { dtype: 'q4_0', shape: [96, 64] });
    const narrow = builder.weight('narrow', { dtype: 'q8_0', shape: [64, 96] });
    builder.output('y', builder.matmul(builder.matmul(x, wide), narrow));
    const graph = builder.build();
    const entries = [
      { name: 'wide', dtype: 'q4_0' as const, shape: [96, 64], source: bytes('q4_0', 96, 64) },
      { name: 'narrow', dtype: 'q8_0' as const, shape: [64, 96], source: bytes('q8_0', 64, 96) },
    ];
    const traits = deviceTraits(findDevice(loadAddon()).physical);
    expect(await productUses(graph, entries, traits, [1, 5])).toEqual([
      { form: 'int8', shape: { dtype: 'q4_0', rows: 96, columns: 64, tokens: 1, banks: 1 }, count: 1 },
      { form: 'int8', shape: { dtype: 'q8_0', rows: 64, columns: 96, tokens: 1, banks: 1 }, count: 1 },
      { form: 'int8', shape: { dtype: 'q4_0', rows: 96, columns: 64, tokens: 5, banks: 1 }, count: 1 },
      { form: 'int8', shape: { dtype: 'q8_0', rows: 64, columns: 96, tokens: 5, banks: 1 }, count: 1 },
    ]);
    const report = await tuneGraph(graph, entries, { ...small, tokens: [1], budgetMs: 3000 });
    expect(report.products.length).toBeLessThanOrEqual(2);
  });

  it('is used by the device that is opened next', async () => {
    const addon = loadAddon();
    const { physical } = findDevice(addon);
    // No other test has tuned for so many columns.
    const columns = 288;
    const rows =
      defaultTiler.int8({ ...shape, columns, tokens: 1 }, deviceTraits(physical)).rows === 2 ? 4 : 2;
    const tuning: Tuning = { lanes: [], tiles: [{ form: 'int8', rows: 40, columns, tile: { rows } }] };
    await new TuningFile(physical, tunedShadersHash(new ShaderLibrary())).write(tuning);
    const device = (await vulkanBackend.open()) as VulkanDevice;
    const runner = new KernelRunner(addon, physical);
    const x = await runner.floats([1, columns]);
    const out = await runner.floats([1, 40]);
    const weight = await runner.weight('q4_0', 40, columns, randomWeight('q4_0', 40, columns, 'weight'));
    const nowhere = runner.memory(0);
    const call = {
      x,
      fast: true,
      products: [{ weight, out, posts: [] }],
      scratch: nowhere,
      counters: nowhere,
    };
    const { table, traits } = device.target;
    const constants = (dispatches: ReturnType<typeof matmul.dispatch>) =>
      dispatches.at(-1)!.pipeline.constants;
    expect(constants(table.matmul.dispatch(call, traits))).toEqual(
      constants(matmulKernel(tunedTiler([tuning], defaultTiler)).dispatch(call, traits)),
    );
    expect(constants(table.matmul.dispatch(call, traits))).not.toEqual(
      constants(matmul.dispatch(call, traits)),
    );
    runner.close();
    await device.close();
  });

  it('changes no bits with the number of rows, whichever tile each number takes', async () => {
    const addon = loadAddon();
    const runner = new KernelRunner(addon, findDevice(addon).physical);
    const { traits } = runner;
    const single = { ...shape, tokens: 1 };
    const candidates = laneCandidates(defaultTiler.int8(single, traits), single, traits);
    const lanes = laneCounts('int8', 256 / 32, traits);
    const weight = await runner.weight('q4_0', 40, 256, randomWeight('q4_0', 40, 256, 'weight'));
    const values = new Float32Array(randomWeight('f32', 9, 256, 'x').buffer);
    for (const count of lanes) {
      let whole: Float32Array | undefined;
      for (const tokens of [9, 1, 2, 3, 5, 8]) {
        // Another candidate for each number of rows.
        const tile = candidates[(7 * tokens + 13 * count) % candidates.length]!;
        const tuning: Tuning = {
          lanes: [{ form: 'int8', columns: 256, lanes: count }],
          tiles: [{ form: 'int8', tokens, tile }],
        };
        const tiler = tunedTiler([tuning], defaultTiler);
        const x = await runner.floats([tokens, 256], values.subarray(0, tokens * 256));
        const out = await runner.floats([tokens, 40]);
        const nowhere = runner.memory(0);
        const call = { x, fast: true, products: [{ weight, out, posts: [] }], counters: nowhere };
        const scratch = runner.memory(
          matmulKernel(tiler).scratchBytes({ ...call, scratch: nowhere }, traits),
        );
        await runner.run(matmulKernel(tiler).dispatch({ ...call, scratch }, traits));
        const result = await runner.readFloats(out);
        whole ??= result;
        expect(result).toEqual(whole.subarray(0, result.length));
      }
    }
    runner.close();
  });
});

function bytes(dtype: 'q4_0' | 'q8_0', rows: number, columns: number) {
  return { kind: 'bytes' as const, bytes: randomWeight(dtype, rows, columns, dtype) };
}
