/** Devices beside each other: order, closing and cancelling in flight, files that change, memory of others. */
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GraphBuilder, referenceBackend, type Bindings, type Device } from '@unicorn-exec/tensor';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cpuBackend } from '../src/index.js';
import { randomBytes, randomSource } from './fixture.js';
import { compileDoubling, compileHeavy } from './small-graphs.js';

let device: Device;

beforeEach(async () => {
  device = await cpuBackend.open('cpu', { threads: 2 });
});

afterEach(() => device.close());

describe('submissions', () => {
  it('run in order, each on what the one before wrote', async () => {
    const executable = await compileDoubling(device);
    const [a, b] = [device.allocate(16), device.allocate(16)];
    await device.write(a, 0, new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer));
    let last = Promise.resolve();
    for (let i = 0; i < 20; i++) {
      const [x, y] = i % 2 === 0 ? [a, b] : [b, a];
      last = executable.submit({ dims: { n: 1 }, buffers: { x, y } }).done;
    }
    await last;
    expect([...new Float32Array(a.host!.buffer, 0, 4)]).toEqual([1, 2, 3, 4].map((v) => v * 2 ** 20));
  });

  it('may repeat the bindings of the one before, but for the data', async () => {
    const executable = await compileDoubling(device);
    const y = device.allocate(64);
    const bindings = (x: Float32Array): Bindings => ({ dims: { n: 1 }, buffers: { x, y } });
    for (let i = 1; i < 5; i++) {
      await executable.submit(bindings(Float32Array.of(i, 0, 0, 7, 99))).done;
      expect([...new Float32Array(y.host!.buffer, 0, 5)]).toEqual([2 * i, 0, 0, 14, 0]);
    }
    const refused = (buffers: Bindings['buffers'], n = 1): void =>
      expect(() => executable.submit({ dims: { n }, buffers })).toThrow(
        expect.objectContaining({ family: 'usage' }),
      );
    const x = new Float32Array(4);
    refused({ x: new Float32Array(3), y });
    refused({ x: new Int32Array(4), y });
    refused({ x, y, z: x });
    refused({ x, y }, 9);
    refused({ x });
    refused({ x, z: y });
    y.dispose();
    refused({ x, y });
  });

  it('may write over what they read', async () => {
    const executable = await compileDoubling(device);
    const x = device.allocate(16);
    await device.write(x, 0, new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer));
    await executable.submit({ dims: { n: 1 }, buffers: { x, y: x } }).done;
    expect([...new Float32Array(x.host!.buffer, 0, 4)]).toEqual([2, 4, 6, 8]);
  });

  it('copy host data before they return', async () => {
    const executable = await compileHeavy(device);
    const y = device.allocate(256 * 512 * 4);
    const x = new Float32Array(256 * 512).fill(0.5);
    await executable.submit({ dims: { n: 256 }, buffers: { x, y } }).done;
    const expected = Float32Array.from(new Float32Array(y.host!.buffer));
    const completion = executable.submit({ dims: { n: 256 }, buffers: { x, y } });
    x.fill(-7);
    await completion.done;
    expect(new Float32Array(y.host!.buffer)).toEqual(expected);
  });

  it('wait for another device, and later ones behind them', async () => {
    const other = await cpuBackend.open('cpu', { threads: 1 });
    const slow = await compileHeavy(other);
    const executable = await compileDoubling(device);
    const far = other.allocate(256 * 512 * 4);
    const order: string[] = [];
    const first = slow.submit({ dims: { n: 256 }, buffers: { x: new Float32Array(256 * 512), y: far } });
    const [y, z] = [device.allocate(16), device.allocate(16)];
    const x = Float32Array.of(1, 1, 1, 1);
    const second = executable.submit({ dims: { n: 1 }, buffers: { x, y } }, { after: first });
    x.fill(9);
    const third = executable.submit({ dims: { n: 1 }, buffers: { x: y, y: z } });
    await Promise.all([
      first.done.then(() => order.push('first')),
      second.done.then(() => order.push('second')),
      third.done.then(() => order.push('third')),
    ]);
    expect(order).toEqual(['first', 'second', 'third']);
    expect([...new Float32Array(z.host!.buffer)]).toEqual([4, 4, 4, 4]);
    await other.close();
  });

  it('fail with what they wait for on another device', async () => {
    const other = await referenceBackend.open();
    const b = new GraphBuilder('lookup');
    b.output('y', b.embed(b.input('ids', 'i32', ['n']), b.weight('t', { dtype: 'f32', shape: [2, 4] })));
    const weights = await other.load([
      { name: 't', dtype: 'f32', shape: [2, 4], source: { kind: 'bytes', bytes: new Uint8Array(32) } },
    ]);
    const lookup = await other.compile(b.build(), weights, { dims: { n: 1 } });
    const failing = lookup.submit({
      dims: { n: 1 },
      buffers: { ids: Int32Array.of(5), y: other.allocate(16) },
    });
    const executable = await compileDoubling(device);
    const buffers = { x: new Float32Array(4), y: device.allocate(16) };
    const next = executable.submit({ dims: { n: 1 }, buffers }, { after: failing });
    await expect(next.done).rejects.toMatchObject({ code: 'usage/token-id' });
    await executable.submit({ dims: { n: 1 }, buffers }).done;
  });

  it('keep the buffers that they use when those are disposed of', async () => {
    const executable = await compileHeavy(device);
    const [x, y] = [device.allocate(256 * 512 * 4), device.allocate(256 * 512 * 4)];
    const completion = executable.submit({ dims: { n: 256 }, buffers: { x, y } });
    x.dispose();
    y.dispose();
    executable.dispose();
    expect(y.host!.byteLength).toBe(0);
    await completion.done;
  });
});

describe('closing', () => {
  it('waits for submissions in flight', async () => {
    const other = await cpuBackend.open('cpu', { threads: 2 });
    const executable = await compileHeavy(other);
    const y = other.allocate(256 * 512 * 4);
    const settled: number[] = [];
    for (let i = 0; i < 3; i++) {
      const { done } = executable.submit({
        dims: { n: 256 },
        buffers: { x: new Float32Array(256 * 512), y },
      });
      void done.then(() => settled.push(i));
    }
    await Promise.all([other.close(), other.close()]);
    expect(settled).toEqual([0, 1, 2]);
    expect(() => other.allocate(4)).toThrow(expect.objectContaining({ code: 'device/closed' }));
    await other.close();
  });

  it('leaves other devices alone', async () => {
    const other = await cpuBackend.open('cpu', { threads: 2 });
    const executable = await compileDoubling(device);
    await other.close();
    const y = device.allocate(16);
    await executable.submit({ dims: { n: 1 }, buffers: { x: Float32Array.of(1, 2, 3, 4), y } }).done;
    expect(new Float32Array(y.host!.buffer)[3]).toBe(8);
  });
});

describe('memory', () => {
  it('of a large buffer is not touched until used', async () => {
    const before = process.memoryUsage().rss;
    const buffer = device.allocate(2 ** 30);
    expect(buffer.host!.byteLength).toBe(2 ** 30);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 2 ** 20);
    buffer.dispose();
  });

  it('beyond what an ArrayBuffer holds is still read and written', async () => {
    const byteLength = 2 ** 33 + 100;
    if (device.info.maxBufferBytes < byteLength) return;
    const buffer = device.allocate(byteLength);
    await device.write(buffer, byteLength - 3, Uint8Array.of(1, 2, 3));
    expect([...(await device.read(buffer, byteLength - 4, 4))]).toEqual([0, 1, 2, 3]);
    buffer.dispose();
  });
});

describe('weights in files', () => {
  let folder: string;
  const [rows, columns] = [4096, 1024];
  const byteLength = (rows * columns * 34) / 32;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'unicorn-cpu-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const entry = (path: string, dtype: 'q8_0' | 'f32' = 'q8_0') => ({
    name: 'w',
    dtype,
    shape: dtype === 'q8_0' ? [rows, columns] : [byteLength / 4],
    source: { kind: 'file', path, offset: 0, byteLength } as const,
  });

  it('report progress and can be cancelled', async () => {
    const path = join(folder, 'weights');
    await writeFile(path, randomBytes('q8_0', rows * columns, randomSource(1)));
    const seen: number[] = [];
    const set = await device.load([entry(path)], {
      onProgress: ({ loadedBytes, totalBytes }) => {
        expect(totalBytes).toBe(byteLength);
        seen.push(loadedBytes);
      },
    });
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBe(byteLength);
    set.dispose();
    const { weightBytes } = device.memory();
    expect(weightBytes).toBe(0);

    const controller = new AbortController();
    const load = device.load([entry(path)], { signal: controller.signal });
    controller.abort();
    await expect(load).rejects.toMatchObject({ code: 'usage/cancelled' });
    await expect(device.load([entry(path)], { signal: controller.signal })).rejects.toMatchObject({
      code: 'usage/cancelled',
    });
    expect(device.memory().weightBytes).toBe(0);
  });

  it('that were shortened since their header was read are refused', async () => {
    const path = join(folder, 'weights');
    await writeFile(path, new Uint8Array(byteLength));
    await truncate(path, byteLength - 1);
    await expect(device.load([entry(path)])).rejects.toMatchObject({
      code: 'format/truncated',
      fields: { file: path, field: 'w', offset: byteLength - 1 },
    });
  });

  it('may lie at any byte, packed or not', async () => {
    const path = join(folder, 'weights');
    const random = randomSource(2);
    const table = randomBytes('q8_0', 64 * 32, random);
    const plain = randomBytes('f32', 40, random);
    await writeFile(path, Buffer.concat([Buffer.from([1, 2, 3]), table, plain]));
    const spec = { dtype: 'q8_0', shape: [64, 32] } as const;
    const b = new GraphBuilder('unaligned');
    const x = b.input('x', 'f32', ['n', 32]);
    b.output(
      'y',
      b.multiply(
        b.matmul(x, b.weight('t', spec, { rows: 40 })),
        b.weight('p', { dtype: 'f32', shape: [40] }),
      ),
    );
    const graph = b.build();
    const floats = Float32Array.from({ length: 32 }, random);
    const results: Float32Array[] = [];
    for (const at of [device, await referenceBackend.open()]) {
      const weights = await at.load([
        { name: 't', ...spec, source: { kind: 'file', path, offset: 3, byteLength: table.byteLength } },
        {
          name: 'p',
          dtype: 'f32',
          shape: [40],
          source: { kind: 'file', path, offset: 3 + table.byteLength, byteLength: 160 },
        },
      ]);
      const executable = await at.compile(graph, weights, { dims: { n: 1 }, precision: 'f32' });
      const y = at.allocate(160);
      await executable.submit({ dims: { n: 1 }, buffers: { x: floats, y } }).done;
      results.push(new Float32Array(y.host!.slice().buffer));
    }
    results[0]!.forEach((value, i) => expect(value).toBeCloseTo(results[1]![i]!, 5));
  });
});

describe('opening', () => {
  it('refuses what is not a number of threads', async () => {
    for (const threads of [0, -1, 1.5, Number.NaN, 1e6]) {
      await expect(cpuBackend.open('cpu', { threads })).rejects.toMatchObject({ code: 'usage/threads' });
    }
  });

  it('refuses a device that there is not', async () => {
    await expect(cpuBackend.open('gpu')).rejects.toMatchObject({ code: 'device/unavailable' });
  });
});
