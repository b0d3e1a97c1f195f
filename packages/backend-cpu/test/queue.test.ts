/** The order of a device's queue: what waits for whom, when it ran, and copies between submissions. */
import { GraphBuilder, referenceBackend, type Completion, type Device } from '@unicorn-exec/tensor';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cpuBackend } from '../src/index.js';
import {
  bytesOf,
  compileDoubling,
  compileHeavy,
  compileLookup,
  floats,
  heavyBytes,
  heavyRows,
  ManualCompletion,
} from './small-graphs.js';

let device: Device;

beforeEach(async () => {
  device = await cpuBackend.open('cpu', { threads: 2 });
});

afterEach(() => device.close());

const one = { n: 1 };

function ended(completion: Completion): () => boolean {
  let is = false;
  completion.done.then(
    () => (is = true),
    () => (is = true),
  );
  return () => is;
}

const later = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

describe('times', () => {
  it('lie between the call and the end, on the clock of performance.now()', async () => {
    const executable = await compileHeavy(device);
    const y = device.allocate(heavyBytes);
    const bindings = { dims: { n: heavyRows }, buffers: { x: new Float32Array(heavyRows * 512), y } };
    const before = performance.now();
    const completions = [executable.submit(bindings), executable.submit(bindings)];
    expect(completions[0]!.times()).toEqual([]);
    await completions[1]!.done;
    const after = performance.now();
    const [first, second] = completions.map((completion) => completion.times()[0]!);
    expect(first!.device).toBe('cpu');
    // The clocks agree to far less than a millisecond.
    expect(first!.beginMs).toBeGreaterThan(before - 0.5);
    expect(first!.endMs).toBeGreaterThan(first!.beginMs);
    expect(second!.beginMs).toBeGreaterThanOrEqual(first!.endMs);
    expect(second!.endMs).toBeLessThan(after + 0.5);
  });

  it('are also those of submissions that waited, failed, and of copies', async () => {
    const [executable, lookup] = [await compileDoubling(device), await compileLookup(device)];
    const [y, z] = [device.allocate(16), device.allocate(16)];
    const gate = new ManualCompletion();
    const waited = executable.submit({ dims: one, buffers: { x: new Float32Array(4), y } }, { after: gate });
    const open = performance.now();
    gate.resolve();
    await waited.done;
    expect(waited.times()[0]!.beginMs).toBeGreaterThan(open - 0.5);
    const failed = lookup.submit({ dims: one, buffers: { ids: Int32Array.of(7), y } });
    await expect(failed.done).rejects.toMatchObject({ code: 'usage/token-id' });
    expect(failed.times()).toHaveLength(1);
    const never = executable.submit({ dims: one, buffers: { x: y, y: z } }, { after: failed });
    await expect(never.done).rejects.toMatchObject({ code: 'usage/token-id' });
    expect(never.times()).toEqual([]);
    const copied = device.copy({ buffer: y, byteOffset: 0 }, { buffer: z, byteOffset: 0 }, 16);
    await copied.done;
    expect(copied.times()).toHaveLength(1);
  });
});

describe('after', () => {
  it('takes completions of this device and of others, and holds up what is behind', async () => {
    const executable = await compileDoubling(device);
    const [a, b, c, d] = Array.from({ length: 4 }, () => device.allocate(16));
    const [far, farther] = [new ManualCompletion(), new ManualCompletion()];
    const first = executable.submit({ dims: one, buffers: { x: Float32Array.of(1, 2, 3, 4), y: a! } });
    const second = executable.submit(
      { dims: one, buffers: { x: a!, y: b! } },
      { after: [far, first, farther] },
    );
    const third = executable.submit({ dims: one, buffers: { x: b!, y: c! } });
    const copied = device.copy({ buffer: c!, byteOffset: 4 }, { buffer: d!, byteOffset: 0 }, 12);
    const written = device.write(d!, 12, bytesOf(-1));
    const read = device.read(d!, 0, 16);
    const behind = [second, third, copied].map(ended);
    await first.done;
    far.resolve();
    await later();
    expect(behind.map((is) => is())).toEqual([false, false, false]);
    farther.resolve();
    await written;
    expect(behind.map((is) => is())).toEqual([true, true, true]);
    expect(floats(await read)).toEqual([16, 24, 32, -1]);
  });

  it('fails with any of them, and does nothing then', async () => {
    const [executable, lookup] = [await compileDoubling(device), await compileLookup(device)];
    const [y, z] = [device.allocate(16), device.allocate(16)];
    const good = executable.submit({ dims: one, buffers: { x: new Float32Array(4), y } });
    const bad = lookup.submit({ dims: one, buffers: { ids: Int32Array.of(7), y } });
    const far = new ManualCompletion();
    const submit = (after: readonly Completion[]): Completion =>
      executable.submit({ dims: one, buffers: { x: Float32Array.of(1, 1, 1, 1), y: z } }, { after });
    // Before this device told of the failure, and after; directly, and behind another device.
    for (const again of [false, true]) {
      if (again) await expect(bad.done).rejects.toMatchObject({ code: 'usage/token-id' });
      const failing = [submit([good, bad]), submit([bad, far]), submit([good, bad])];
      // A failed one fails the next that waits for it.
      failing.push(submit([failing[1]!]));
      far.resolve();
      for (const { done } of failing) await expect(done).rejects.toMatchObject({ code: 'usage/token-id' });
      expect(floats(z.host!)).toEqual([0, 0, 0, 0]);
    }
    const lost = new ManualCompletion();
    const alsoLost = submit([good, lost]);
    const free = submit([]);
    lost.reject(new Error('lost'));
    await expect(alsoLost.done).rejects.toThrow('lost');
    await free.done;
    expect(floats(z.host!)).toEqual([2, 2, 2, 2]);
  });
});

describe('copy', () => {
  it('keeps its place among submissions', async () => {
    const executable = await compileDoubling(device);
    const [a, b] = [device.allocate(64), device.allocate(64)];
    await device.write(a, 0, bytesOf(1, 2, 3, 4));
    let last: Completion | undefined;
    for (let i = 0; i < 10; i++) {
      executable.submit({ dims: one, buffers: { x: a, y: b } });
      last = device.copy({ buffer: b, byteOffset: 0 }, { buffer: a, byteOffset: 0 }, 16);
    }
    // A write made now does not disturb them, and is not overtaken.
    const written = device.write(b, 0, bytesOf(9, 9, 9, 9));
    const next = executable.submit({ dims: one, buffers: { x: b, y: { buffer: b, byteOffset: 0 } } });
    await Promise.all([last!.done, written, next.done]);
    expect(floats(await device.read(a, 0, 16))).toEqual([1, 2, 3, 4].map((v) => v * 1024));
    expect(floats(await device.read(b, 0, 16))).toEqual([18, 18, 18, 18]);
  });

  it('moves large and small ranges, to and from other devices', async () => {
    const other = await referenceBackend.open();
    for (const byteLength of [0, 1, 4097, 3 * 2 ** 20 + 5]) {
      const bytes = Uint8Array.from({ length: byteLength }, (_, i) => i * 7);
      const [near, far] = [device.allocate(byteLength + 3), other.allocate(byteLength + 9)];
      await device.write(near, 3, bytes);
      const out = device.copy({ buffer: near, byteOffset: 3 }, { buffer: far, byteOffset: 9 }, byteLength);
      await out.done;
      const back = device.copy({ buffer: far, byteOffset: 9 }, { buffer: near, byteOffset: 0 }, byteLength, {
        after: out,
      });
      await back.done;
      expect(Buffer.compare(far.host!.subarray(9), bytes)).toBe(0);
      expect(Buffer.compare(await device.read(near, 0, byteLength), bytes)).toBe(0);
    }
    expect(device.memory().copiedBytes).toBe(0);
    await other.close();
  });

  it('refuses what lies outside, overlaps, or is gone', () => {
    const [a, b] = [device.allocate(16), device.allocate(16)];
    const refused = (code: string, from: number, to: number, byteLength: number, target = b): void =>
      expect(() =>
        device.copy({ buffer: a, byteOffset: from }, { buffer: target, byteOffset: to }, byteLength),
      ).toThrow(expect.objectContaining({ code }));
    refused('usage/range', 4, 0, 13);
    refused('usage/range', 0, 8, 9);
    refused('usage/range', -1, 0, 4);
    refused('usage/range', 0, 0, NaN);
    refused('usage/range', 0, 4, 8, a);
    refused('usage/binding', 0, 0, 4, { byteLength: 16, dispose() {} });
    b.dispose();
    refused('usage/disposed', 0, 0, 4);
  });
});

describe('several weight sets', () => {
  const entry = (name: string, value: number) =>
    ({
      name,
      dtype: 'f32',
      shape: [4],
      source: { kind: 'bytes', bytes: bytesOf(value, value, value, value) },
    }) as const;

  it('make one, in any order', async () => {
    const b = new GraphBuilder('three');
    let x = b.input('x', 'f32', ['n', 4]);
    for (const name of ['c', 'a', 'd']) x = b.add(x, b.weight(name, { dtype: 'f32', shape: [4] }));
    b.output('y', x);
    const sets = [await device.load([entry('a', 1), entry('b', 10)]), await device.load([])];
    sets.push(await device.load([entry('c', 100), entry('d', 1000)]));
    for (const weights of [sets, [...sets].reverse()]) {
      const executable = await device.compile(b.build(), weights, { dims: { n: 1 } });
      const y = device.allocate(16);
      await executable.submit({ dims: one, buffers: { x: new Float32Array(4), y } }).done;
      expect(floats(y.host!)).toEqual([1101, 1101, 1101, 1101]);
      executable.dispose();
    }
    sets.push(await device.load([entry('b', 0)]));
    await expect(device.compile(b.build(), sets, { dims: { n: 1 } })).rejects.toMatchObject({
      code: 'usage/weight',
      fields: { name: 'b' },
    });
    for (const set of sets) set.dispose();
    expect(device.memory().weightBytes).toBe(0);
  });
});
