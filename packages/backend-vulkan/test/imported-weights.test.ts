/**
 * Weights that a device with unified memory reads where their file is mapped: the same results as copies, no memory. lavapipe
 * is shown as a GPU in the processor, since it reads no files by itself.
 */
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { floatToBfloat, floatToHalf, GraphBuilder, type WeightEntry } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VulkanDevice } from '../src/device/device.js';
import { vulkanBackend } from '../src/index.js';
import type { VulkanWeightSet } from '../src/weights/weight-set.js';
import { driver } from './lavapipe.js';
import { buildMock, hasCompiler } from './mock.js';

/** An odd number of rows of 384 columns: 1.5 MiB of f32. Runs below 1 MiB are copied. */
const [rows, columns] = [1021, 384];

interface Stored {
  readonly name: string;
  readonly dtype: 'f32' | 'f16' | 'bf16';
  readonly shape: readonly number[];
  /** Bytes left free in front of it. */
  readonly gap?: number;
}

function valueOf(name: string, index: number): number {
  // Exact in every dtype.
  return ((index * 7 + name.length * 13) % 31) / 8 - 2;
}

function encode({ name, dtype, shape }: Stored): Uint8Array {
  const count = shape.reduce((product, dim) => product * dim, 1);
  const values = Float32Array.from({ length: count }, (_, index) => valueOf(name, index));
  if (dtype === 'f32') return new Uint8Array(values.buffer);
  const narrow = dtype === 'f16' ? floatToHalf : floatToBfloat;
  return new Uint8Array(Uint16Array.from(values, narrow).buffer);
}

describe.skipIf(!driver.present || !hasCompiler)(`weights in their file (${driver.need}, c++)`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'unicorn-import-'));
  let device: VulkanDevice;
  beforeAll(async () => {
    process.env['UNICORN_VULKAN_LOADER'] = buildMock('mock-loader', folder);
    process.env['MOCK_VULKAN'] = 'integrated';
    device = (await vulkanBackend.open()) as VulkanDevice;
  });
  afterAll(async () => {
    await device.close();
    rmSync(folder, { recursive: true });
  });

  /** A file of these, one behind the other, and what loads them. */
  function file(name: string, stored: readonly Stored[], begin: number): WeightEntry[] {
    const path = join(folder, name);
    const parts: Uint8Array[] = [new Uint8Array(begin)];
    let offset = begin;
    const entries = stored.map((one): WeightEntry => {
      const gap = one.gap ?? 0;
      const bytes = encode(one);
      parts.push(new Uint8Array(gap), bytes);
      offset += gap;
      const source = { kind: 'file', path, offset, byteLength: bytes.byteLength } as const;
      offset += bytes.byteLength;
      return { name: one.name, dtype: one.dtype, shape: one.shape, source };
    });
    writeFileSync(path, Buffer.concat(parts));
    return entries;
  }

  async function loaded(entries: readonly WeightEntry[]): Promise<VulkanWeightSet> {
    return (await device.load(entries)) as VulkanWeightSet;
  }

  /** The first numbers of `x @ weight^T` for an x that picks column 3. */
  async function products(set: VulkanWeightSet, name: string): Promise<Float32Array> {
    const builder = new GraphBuilder('product');
    const x = builder.input('x', 'f32', ['tokens', columns]);
    builder.output('y', builder.matmul(x, builder.weight(name, set.spec(name)!)));
    const executable = await device.compile(builder.build(), set, {
      dims: { tokens: 1 },
      precision: 'f32',
    });
    const y = device.allocate(4 * rows);
    const input = Float32Array.from({ length: columns }, (_, column) => (column === 3 ? 1 : 0));
    await executable.submit({ dims: { tokens: 1 }, buffers: { x: input, y } }).done;
    const result = new Float32Array((await device.read(y, 0, 4 * rows)).buffer);
    executable.dispose();
    y.dispose();
    return result;
  }

  const column3 = (name: string): Float32Array =>
    Float32Array.from({ length: rows }, (_, row) => valueOf(name, row * columns + 3));

  const big: readonly Stored[] = [
    { name: 'a', dtype: 'f32', shape: [rows, columns] },
    { name: 'norm', dtype: 'f32', shape: [columns] },
    { name: 'bb', dtype: 'f16', shape: [rows, columns], gap: 32 },
    { name: 'ccc', dtype: 'bf16', shape: [rows, columns] },
  ];
  const bytesOf = (entries: readonly WeightEntry[]): number =>
    entries.reduce((sum, { source }) => sum + (source as { byteLength: number }).byteLength, 0);

  it('are read there, whatever page they begin on, and count as no memory of the device', async () => {
    for (const begin of [32, 4096, 65536 + 48]) {
      const entries = file(`big${begin}`, big, begin);
      const before = device.memory().weightBytes;
      const allocations = device.allocations;
      const set = await loaded(entries);
      expect(set.importedBytes).toBe(bytesOf(entries));
      expect(set.byteLength).toBe(0);
      expect(device.memory().weightBytes).toBe(before);
      // All of it is one run.
      expect(device.allocations).toBe(allocations + 1);
      for (const name of ['a', 'bb', 'ccc']) expect(await products(set, name)).toEqual(column3(name));
      set.dispose();
    }
  });

  it('are copied where they begin between two vectors, or are too little for an allocation', async () => {
    const odd = file('odd', big.slice(0, 1), 40);
    const little = file('little', [{ name: 'a', dtype: 'f32', shape: [255, 384] }], 32);
    for (const entries of [odd, little]) {
      const set = await loaded(entries);
      expect(set.importedBytes).toBe(0);
      expect(set.byteLength).toBeGreaterThanOrEqual(bytesOf(entries));
      set.dispose();
    }
    const set = await loaded(odd);
    expect(await products(set, 'a')).toEqual(column3('a'));
    set.dispose();
  });

  it('leave what lies far between them alone', async () => {
    const apart = big.map((one) => ({ ...one, gap: 1 << 20 }));
    const entries = file('apart', apart, 0);
    const allocations = device.allocations;
    const set = await loaded(entries);
    // The f32 matrix; the halves are too short, the norm too.
    expect(set.importedBytes).toBe(4 * rows * columns);
    expect(device.allocations).toBeGreaterThan(allocations);
    for (const name of ['a', 'bb', 'ccc']) expect(await products(set, name)).toEqual(column3(name));
    set.dispose();
  });

  it('fail what has read them while their file was written to', async () => {
    const entries = file('written', big, 32);
    const set = await loaded(entries);
    expect(await products(set, 'a')).toEqual(column3('a'));
    utimesSync(join(folder, 'written'), 1, 1);
    for (let i = 0; i < 2; i++) {
      await expect(products(set, 'a')).rejects.toMatchObject({
        code: 'format/changed',
        fields: { file: join(folder, 'written') },
      });
    }
    set.dispose();
    const again = await loaded(entries);
    expect(await products(again, 'a')).toEqual(column3('a'));
    again.dispose();
  });

  it('outlive their set while a submission reads them', async () => {
    const set = await loaded(file('flight', big, 32));
    const builder = new GraphBuilder('product');
    const x = builder.input('x', 'f32', ['tokens', columns]);
    builder.output('y', builder.matmul(x, builder.weight('a', set.spec('a')!)));
    const executable = await device.compile(builder.build(), set, { dims: { tokens: { max: 64 } } });
    const y = device.allocate(4 * rows * 64);
    const { done } = executable.submit({
      dims: { tokens: 64 },
      buffers: { x: new Float32Array(64 * columns), y },
    });
    executable.dispose();
    set.dispose();
    await done;
    y.dispose();
  });
});
