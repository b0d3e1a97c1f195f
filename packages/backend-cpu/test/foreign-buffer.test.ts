/** Buffers of other devices in every role: bound where they lie, synchronized where they are not coherent. */
import {
  GraphBuilder,
  referenceBackend,
  type Completion,
  type Device,
  type Executable,
} from '@unicorn-exec/tensor';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cpuBackend } from '../src/index.js';
import { compileDoubling, compileLookup, floats, ManualCompletion } from './small-graphs.js';
import { SplitBuffer } from './split-buffer.js';

let device: Device;

beforeEach(async () => {
  device = await cpuBackend.open('cpu', { threads: 2 });
});

afterEach(() => device.close());

const one = { n: 1 };

/** Blocks of four tokens with one head of four: keys, then values. */
const blockBytes = 2 * 4 * 4 * 4;

/** Writes key and value of each token, and attends. */
async function compileCache(on: Device): Promise<Executable> {
  const b = new GraphBuilder('cache');
  const state = b.state('kv', 'f32', ['pool', 2, 1, 4, 4]);
  const row = b.input('row', 'f32', ['n', 1, 4]);
  const written = b.kvWrite(state, row, row, b.input('slots', 'i32', ['n']));
  const positions = b.input('positions', 'i32', ['n']);
  const starts = b.input('starts', 'i32', [1]);
  const blocks = b.input('blocks', 'i32', [1, 2]);
  b.output('y', b.attention({ query: row, state: written, positions, starts, blocks }, { scale: 1 }));
  const dims = { n: { max: 8 }, pool: { max: 8 } };
  return on.compile(b.build(), await on.load([]), { dims, precision: 'f32' });
}

/** One token at position 5, in the second of the sequence's blocks 2 and 6. */
function cacheInputs(value: number): Record<string, Float32Array | Int32Array> {
  return {
    row: new Float32Array(4).fill(value),
    slots: Int32Array.of(6 * 4 + 1),
    positions: Int32Array.of(5),
    starts: Int32Array.of(0),
    blocks: Int32Array.of(2, 6),
  };
}

describe('coherent buffers of others', () => {
  it('are bound in every role where they lie', async () => {
    const other = await referenceBackend.open();
    const executable = await compileCache(device);
    const own = await compileCache(other);
    const dims = { n: 1, pool: 8 };
    const results: number[][] = [];
    for (const target of [executable, own]) {
      const kv = other.allocate(8 * blockBytes);
      const [row, y] = [other.allocate(16), other.allocate(16)];
      // The same bindings again take the short way.
      for (const value of [1, 2, 3]) {
        new Float32Array(row.host!.buffer, row.host!.byteOffset, 4).fill(value);
        await target.submit({ dims, buffers: { ...cacheInputs(value), row, kv, y } }).done;
      }
      results.push([...floats(y.host!), ...floats(kv.host!)]);
    }
    results[0]!.forEach((value, i) => expect(value).toBeCloseTo(results[1]![i]!, 5));
    expect(device.memory()).toMatchObject({ copiedBytes: 0, bufferBytes: 0 });
    await other.close();
  });

  it('are refused when they are gone, also on the short way', async () => {
    const other = await cpuBackend.open('cpu', { threads: 1 });
    const plain = await referenceBackend.open();
    const executable = await compileDoubling(device);
    for (const y of [other.allocate(16), plain.allocate(16), device.importBuffer(other.allocate(16))]) {
      const bindings = { dims: one, buffers: { x: Float32Array.of(1, 2, 3, 4), y } };
      for (let i = 0; i < 2; i++) await executable.submit(bindings).done;
      expect(floats(y.host!)).toEqual([2, 4, 6, 8]);
      y.dispose();
      for (let i = 0; i < 2; i++) {
        expect(() => executable.submit(bindings)).toThrow(expect.objectContaining({ family: 'usage' }));
      }
    }
    await other.close();
    await plain.close();
  });

  it('must begin at a multiple of four bytes, and be addressable', async () => {
    const executable = await compileDoubling(device);
    const odd = device.importBuffer(new Uint8Array(new ArrayBuffer(32), 2, 16));
    const far = { byteLength: 16, dispose() {} };
    for (const y of [odd, far]) {
      expect(() => executable.submit({ dims: one, buffers: { x: new Float32Array(4), y } })).toThrow(
        expect.objectContaining({ code: 'usage/binding', fields: { name: 'y' } }),
      );
    }
    expect(() => device.importBuffer(far)).toThrow(expect.objectContaining({ code: 'unsupported/import' }));
  });
});

describe('buffers that are not coherent', () => {
  it('are synchronized where a submission touches them, and nowhere else', async () => {
    const executable = await compileCache(device);
    const [kv, row, y] = [new SplitBuffer(8 * blockBytes), new SplitBuffer(32), new SplitBuffer(16)];
    row.farFloats.fill(3);
    kv.farFloats.fill(7);
    const dims = { n: 1, pool: 8 };
    for (let i = 0; i < 2; i++) {
      const buffers = { ...cacheInputs(0), row: { buffer: row, byteOffset: 16 }, kv, y };
      await executable.submit({ dims, buffers }).done;
    }
    const [seen, written] = [2, 6].map((block) => `${block * blockBytes}+${blockBytes}`);
    // The block of the new token is given back, not the one that was only read.
    const once = [`toHost ${seen}`, `toHost ${written}`, `toDevice ${written}`];
    expect(kv.calls).toEqual([...once, ...once]);
    expect(row.calls).toEqual(['toHost 16+16', 'toHost 16+16']);
    expect(y.calls).toEqual(['toHost 0+16', 'toDevice 0+16', 'toHost 0+16', 'toDevice 0+16']);
    // The block of the new token has it, the others are as they were.
    expect([...kv.farFloats.subarray((6 * blockBytes) / 4 + 4, (6 * blockBytes) / 4 + 8)]).toEqual([
      3, 3, 3, 3,
    ]);
    expect(kv.farFloats[0]).toBe(7);
    expect(kv.host[0]).toBe(0);
    expect(y.farFloats[0]).toBeGreaterThan(3);
    expect(device.memory().copiedBytes).toBe(0);
  });

  it('keep the order of the queue, behind and before own submissions', async () => {
    const executable = await compileDoubling(device);
    const [near, nearer] = [device.allocate(16), device.allocate(16)];
    const split = new SplitBuffer(16);
    const gate = new ManualCompletion();
    const submit = (
      x: Float32Array | typeof near,
      y: typeof near,
      after: readonly Completion[] = [],
    ): Completion => executable.submit({ dims: one, buffers: { x, y } }, { after });
    const order: number[] = [];
    const all = [
      submit(Float32Array.of(1, 2, 3, 4), near),
      submit(near, split),
      submit(split, nearer),
      submit(nearer, split, [gate]),
      submit(split, near),
      submit(near, nearer),
    ];
    all.forEach(({ done }, index) => void done.then(() => order.push(index)));
    gate.resolve();
    await all.at(-1)!.done;
    await device.read(nearer, 0, 0);
    expect(order).toEqual([0, 1, 2, 3, 4, 5]);
    expect([...split.farFloats]).toEqual([16, 32, 48, 64]);
    expect(floats(nearer.host!)).toEqual([64, 128, 192, 256]);
    for (const completion of all) {
      const [time] = completion.times();
      expect(time!.endMs).toBeGreaterThanOrEqual(time!.beginMs);
    }
  });

  it('are copied, written and read with the ranges in question', async () => {
    const split = new SplitBuffer(64);
    split.farFloats.set([1, 2, 3, 4], 4);
    const near = device.allocate(16);
    await device.copy({ buffer: split, byteOffset: 16 }, { buffer: near, byteOffset: 0 }, 16).done;
    expect(floats(near.host!)).toEqual([1, 2, 3, 4]);
    await device.copy({ buffer: near, byteOffset: 4 }, { buffer: split, byteOffset: 32 }, 8).done;
    expect([...split.farFloats.subarray(8, 11)]).toEqual([2, 3, 0]);
    expect(split.calls).toEqual(['toHost 16+16', 'toDevice 32+8']);
    const imported = device.importBuffer(split);
    split.farFloats[0] = 5;
    for (const busy of [false, true]) {
      split.calls.length = 0;
      if (busy) void device.copy({ buffer: near, byteOffset: 0 }, { buffer: near, byteOffset: 8 }, 8);
      const written = device.write(imported, 4, Uint8Array.of(1, 2));
      const read = device.read(imported, 0, 8);
      await written;
      expect((await read).subarray(4, 6)).toEqual(Uint8Array.of(1, 2));
      expect(split.calls).toEqual(['toDevice 4+2', 'toHost 0+8']);
      expect([...split.far.subarray(4, 6)]).toEqual([1, 2]);
    }
  });

  it('are left alone by what fails', async () => {
    const [executable, lookup] = [await compileDoubling(device), await compileLookup(device)];
    const split = new SplitBuffer(16);
    const bad = lookup.submit({ dims: one, buffers: { ids: Int32Array.of(7), y: split } });
    await expect(bad.done).rejects.toMatchObject({ code: 'usage/token-id' });
    const next = executable.submit(
      { dims: one, buffers: { x: new Float32Array(4), y: split } },
      { after: bad },
    );
    await expect(next.done).rejects.toMatchObject({ code: 'usage/token-id' });
    expect(split.calls).toEqual(['toHost 0+16']);
    await executable.submit({ dims: one, buffers: { x: Float32Array.of(1, 1, 1, 1), y: split } }).done;
    expect([...split.farFloats]).toEqual([2, 2, 2, 2]);
  });

  it('keep their sync when they are imported, and their memory when the import is disposed of', async () => {
    const executable = await compileDoubling(device);
    const split = new SplitBuffer(16);
    const imported = device.importBuffer(split);
    expect(imported.host).toBe(split.host);
    await executable.submit({ dims: one, buffers: { x: Float32Array.of(1, 2, 3, 4), y: imported } }).done;
    expect([...split.farFloats]).toEqual([2, 4, 6, 8]);
    imported.dispose();
    expect(imported.host!.byteLength).toBe(0);
    expect(split.host.byteLength).toBe(16);
  });
});

describe('an import', () => {
  it('of a buffer of the same backend holds its memory while it is used', async () => {
    const other = await cpuBackend.open('cpu', { threads: 1 });
    const executable = await compileDoubling(device);
    const theirs = other.allocate(16);
    const imported = device.importBuffer(theirs);
    expect(imported.sync).toBeUndefined();
    const { done } = executable.submit({
      dims: one,
      buffers: { x: Float32Array.of(1, 2, 3, 4), y: imported },
    });
    theirs.dispose();
    await done;
    expect(imported.host!.byteLength).toBe(0);
    expect(other.memory().bufferBytes).toBe(0);
    await other.close();
  });
});
