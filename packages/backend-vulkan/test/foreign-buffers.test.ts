/**
 * Memory between devices: buffers that the host sees, memory of the host's that is imported, and buffers of other devices in
 * every role, by import and by shadow, coherent and not.
 */
import {
  GraphBuilder,
  HostBuffer,
  type ByteRange,
  type DeviceBuffer,
  type Graph,
} from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VulkanDevice } from '../src/device/device.js';
import { vulkanBackend } from '../src/index.js';
import { driver } from './lavapipe.js';

const [blocks, kvHeads, blockTokens, headDim] = [5, 2, 4, 32];
const rowFloats = kvHeads * blockTokens * headDim;
const stateBytes = 4 * 2 * blocks * rowFloats;

/** Writes keys and values, and adds one to every key's row besides: touches the blocks that slots name. */
function writing(): Graph {
  const b = new GraphBuilder('writing');
  const heads = (name: string) => b.input(name, 'f32', ['tokens', kvHeads, headDim]);
  const state = b.state('kv', 'f32', [blocks, 2, kvHeads, blockTokens, headDim]);
  b.kvWrite(state, heads('key'), heads('value'), b.input('slots', 'i32', ['tokens']));
  b.output('twice', b.scale(b.input('x', 'f32', ['tokens', 4]), 2));
  return b.build();
}

const host = (memory: Uint8Array): DeviceBuffer => HostBuffer.over(memory);

/** Memory that no driver takes: it begins in the middle of a vector. */
const misaligned = (byteLength: number): Uint8Array =>
  new Uint8Array(new ArrayBuffer(byteLength + 64), 4, byteLength);

/** A buffer of a device that is not coherent: what the host sees and what the device has differ until they are synced. */
class Incoherent implements DeviceBuffer {
  readonly host: Uint8Array;
  readonly device: Uint8Array;
  readonly calls: { direction: string; ranges: readonly ByteRange[] }[] = [];

  constructor(
    readonly byteLength: number,
    memory: Uint8Array = new Uint8Array(byteLength),
  ) {
    this.host = memory;
    this.device = new Uint8Array(byteLength);
  }

  sync(direction: 'toHost' | 'toDevice', ranges: readonly ByteRange[]): void {
    this.calls.push({ direction, ranges });
    for (const { byteOffset, byteLength } of ranges) {
      const [from, to] = direction === 'toHost' ? [this.device, this.host] : [this.host, this.device];
      to.set(from.subarray(byteOffset, byteOffset + byteLength), byteOffset);
    }
  }

  dispose(): void {}
}

describe.skipIf(!driver.present)(`buffers of other devices (${driver.need})`, () => {
  let device: VulkanDevice;
  beforeAll(async () => {
    device = (await vulkanBackend.open()) as VulkanDevice;
  });
  afterAll(() => device.close());

  const compiled = async (graph: Graph) =>
    device.compile(graph, await device.load([]), { dims: { tokens: { max: 8 } }, precision: 'f32' });

  const floats = (bytes: Uint8Array): Float32Array =>
    new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

  /** Tokens 0, 1, 2 of block 3 and token 0 of block 1. */
  const slots = Int32Array.of(12, 13, 14, 4);
  const bindings = (kv: DeviceBuffer, twice: DeviceBuffer, x: DeviceBuffer | Float32Array, first = 1) => {
    const rows = (begin: number): Float32Array =>
      Float32Array.from({ length: 4 * kvHeads * headDim }, (_, i) => begin + i);
    return {
      dims: { tokens: 4 },
      buffers: { kv, twice, x, key: rows(first), value: rows(1000 + first), slots },
    };
  };

  /** The key of token 0 of block 1 and the first of block 3, as `bindings` gives them. */
  const expectWritten = (kv: Uint8Array, first = 1): void => {
    const all = floats(kv);
    const key = (block: number): number => all[2 * block * rowFloats]!;
    expect([key(3), key(1)]).toEqual([first, first + 3 * kvHeads * headDim]);
    expect(all.subarray(2 * 3 * rowFloats + rowFloats)[0]).toBe(1000 + first);
  };

  it('required to have the host’s view have it, of any size', async () => {
    for (const byteLength of [0, 64, 1 << 20, 3 * 2 ** 20 + 5]) {
      const buffer = device.allocate(byteLength, { host: 'required' });
      expect(buffer.host).toHaveLength(byteLength);
      expect(buffer.host!.every((byte) => byte === 0)).toBe(true);
      if (byteLength > 0) {
        buffer.host![byteLength - 1] = 7;
        expect((await device.read(buffer, byteLength - 1, 1))[0]).toBe(7);
        await device.write(buffer, 0, Uint8Array.of(9));
        expect(buffer.host![0]).toBe(9);
      }
      buffer.dispose();
      expect(buffer.host).toHaveLength(0);
    }
  });

  it('of the host’s are imported where they lie', async () => {
    const memory = new Uint8Array(4096 + 64).subarray(32, 4096);
    const buffer = device.importBuffer(memory);
    await device.write(buffer, 100, Uint8Array.of(5));
    expect(memory[100]).toBe(5);
    memory[101] = 6;
    expect([...(await device.read(buffer, 100, 2))]).toEqual([5, 6]);
    const own = device.allocate(64);
    await device.copy({ buffer, byteOffset: 96 }, { buffer: own, byteOffset: 16 }, 8).done;
    expect((await device.read(own, 20, 2)).join()).toBe('5,6');
    buffer.dispose();
    own.dispose();
    expect(() => device.importBuffer(misaligned(64))).toThrow(
      expect.objectContaining({ code: 'unsupported/import' }),
    );
  });

  it.each([
    ['imported', (byteLength: number) => new Uint8Array(byteLength), false],
    ['copied in and out', misaligned, true],
  ] as const)('are bound in every role, %s', async (_, allocate, isCopied) => {
    const run = await compiled(writing());
    const before = device.memory().copiedBytes;
    const memory = allocate(stateBytes);
    const [out, x] = [allocate(64), allocate(64)];
    floats(x).set(Float32Array.from({ length: 16 }, (_, i) => i));
    // Block 2 is another device's: the submission must leave alone what it does not name.
    const other = floats(memory)
      .subarray(2 * 2 * rowFloats, 2 * 3 * rowFloats)
      .fill(-1);
    const [kv, twice, given] = [host(memory), host(out), host(x)];
    const first = run.submit(bindings(kv, twice, given));
    // Submitted while the first runs: it must see what that wrote.
    const second = run.submit(bindings(kv, twice, given, 7), { after: first });
    await Promise.all([first.done, second.done]);
    expectWritten(memory, 7);
    expect(other.every((value) => value === -1)).toBe(true);
    expect([...floats(out)]).toEqual(Array.from({ length: 16 }, (_, i) => 2 * i));
    const copied = device.memory().copiedBytes - before;
    if (!isCopied) expect(copied).toBe(0);
    // Blocks 1 and 3 in and out, the output out, the input in: twice.
    else expect(copied).toBe(2 * (2 * 2 * 8 * rowFloats + 64 + 64));
    const third = run.submit(
      bindings(
        kv,
        twice,
        Float32Array.from({ length: 16 }, () => 3),
        9,
      ),
    );
    await third.done;
    expectWritten(memory, 9);
    expect(floats(out)[5]).toBe(6);
    run.dispose();
    expect(device.memory().scratchBytes).toBe(0);
  });

  it.each([
    ['imported', undefined],
    ['copied in and out', misaligned(stateBytes)],
  ])('that are not coherent are synchronized in the ranges touched, %s', async (_, memory) => {
    const run = await compiled(writing());
    const kv = new Incoherent(stateBytes, memory);
    const twice = device.allocate(64);
    await run.submit(bindings(kv, twice, new Float32Array(16))).done;
    expectWritten(kv.device);
    const blockBytes = 8 * rowFloats;
    const touched = [1, 3].map((block) => ({ byteOffset: block * blockBytes, byteLength: blockBytes }));
    expect(kv.calls).toEqual([
      { direction: 'toHost', ranges: touched },
      { direction: 'toDevice', ranges: touched },
    ]);
    run.dispose();
    twice.dispose();
  });

  it('that are not coherent are synchronized when they were imported before', async () => {
    const run = await compiled(writing());
    const kv = new Incoherent(stateBytes);
    const [imported, twice] = [device.importBuffer(kv), device.allocate(64)];
    // Twice over the same buffers, in other blocks: what is synchronized follows from the slots of each submission.
    await run.submit(bindings(imported, twice, new Float32Array(16))).done;
    const moved = bindings(imported, twice, new Float32Array(16));
    moved.buffers.slots = Int32Array.of(0, 1, 2, 3);
    await run.submit(moved).done;
    expectWritten(kv.device);
    const blockBytes = 8 * rowFloats;
    const touched = [1, 3].map((block) => ({ byteOffset: block * blockBytes, byteLength: blockBytes }));
    const first = [{ byteOffset: 0, byteLength: blockBytes }];
    expect(kv.calls).toEqual([
      { direction: 'toHost', ranges: touched },
      { direction: 'toDevice', ranges: touched },
      { direction: 'toHost', ranges: first },
      { direction: 'toDevice', ranges: first },
    ]);
    run.dispose();
    twice.dispose();
    imported.dispose();
  });

  it('that are not coherent are synchronized when what was imported is read, written and copied', async () => {
    const memory = new Incoherent(4096);
    const [imported, own] = [device.importBuffer(memory), device.allocate(64)];
    memory.device[5] = 5;
    expect((await device.read(imported, 5, 1))[0]).toBe(5);
    await device.write(imported, 6, Uint8Array.of(6));
    expect(memory.device[6]).toBe(6);
    memory.device[32] = 7;
    await device.copy({ buffer: imported, byteOffset: 32 }, { buffer: own, byteOffset: 0 }, 1).done;
    expect((await device.read(own, 0, 1))[0]).toBe(7);
    await device.copy({ buffer: own, byteOffset: 0 }, { buffer: imported, byteOffset: 64 }, 1).done;
    expect(memory.device[64]).toBe(7);
    const range = (byteOffset: number) => [{ byteOffset, byteLength: 1 }];
    expect(memory.calls).toEqual([
      { direction: 'toHost', ranges: range(5) },
      { direction: 'toDevice', ranges: range(6) },
      { direction: 'toHost', ranges: range(32) },
      { direction: 'toDevice', ranges: range(64) },
    ]);
    imported.dispose();
    own.dispose();
  });

  it('are refused where the host cannot address them, or they were disposed of', async () => {
    const run = await compiled(writing());
    const twice = device.allocate(64);
    const without: DeviceBuffer = { byteLength: stateBytes, dispose() {} };
    expect(() => run.submit(bindings(without, twice, new Float32Array(16)))).toThrow('cannot address');
    const gone = HostBuffer.allocate(stateBytes, () => {});
    await run.submit(bindings(gone, twice, new Float32Array(16))).done;
    gone.dispose();
    expect(() => run.submit(bindings(gone, twice, new Float32Array(16)))).toThrow('disposed of');
    run.dispose();
    twice.dispose();
  });

  it('are copied between, and both ends are told', async () => {
    const [own, foreign, apart] = [device.allocate(256), host(new Uint8Array(256)), host(misaligned(256))];
    await device.write(
      own,
      0,
      Uint8Array.from({ length: 256 }, (_, i) => i),
    );
    const out = device.copy({ buffer: own, byteOffset: 32 }, { buffer: foreign, byteOffset: 0 }, 64);
    const away = device.copy({ buffer: own, byteOffset: 5 }, { buffer: apart, byteOffset: 3 }, 7, {
      after: [out],
    });
    await device.copy({ buffer: foreign, byteOffset: 0 }, { buffer: own, byteOffset: 128 }, 4, {
      after: [out, away],
    }).done;
    expect([...foreign.host!.subarray(0, 3)]).toEqual([32, 33, 34]);
    expect([...apart.host!.subarray(3, 10)]).toEqual([5, 6, 7, 8, 9, 10, 11]);
    expect([...(await device.read(own, 128, 4))]).toEqual([32, 33, 34, 35]);
    const [time] = out.times();
    expect(time).toMatchObject({ device: device.info.id });
    expect(time!.endMs).toBeGreaterThanOrEqual(time!.beginMs);
    expect(Math.abs(time!.endMs - performance.now())).toBeLessThan(5000);
    expect(() => device.copy({ buffer: own, byteOffset: 0 }, { buffer: own, byteOffset: 4 }, 8)).toThrow(
      'overlap',
    );
    own.dispose();
  });

  it('tell when they ran, on one clock', async () => {
    const run = await compiled(writing());
    const [kv, twice] = [device.allocate(stateBytes), device.allocate(64)];
    const begin = performance.now();
    const first = run.submit(bindings(kv, twice, new Float32Array(16)));
    const second = run.submit(bindings(kv, twice, new Float32Array(16)));
    expect(first.times()).toEqual([]);
    await second.done;
    const end = performance.now();
    const [one, two] = [first.times()[0]!, second.times()[0]!];
    for (const { beginMs, endMs } of [one, two]) {
      expect(beginMs).toBeGreaterThanOrEqual(begin - 1);
      expect(endMs).toBeGreaterThanOrEqual(beginMs);
      expect(endMs).toBeLessThanOrEqual(end + 1);
    }
    expect(two.beginMs).toBeGreaterThanOrEqual(one.endMs);
    run.dispose();
  });
});

describe.skipIf(!driver.present)(`several weight sets (${driver.need})`, () => {
  it('are one to a graph, and those of another device are refused', async () => {
    const device = await vulkanBackend.open();
    const entry = (name: string, value: number) => ({
      name,
      dtype: 'f32' as const,
      shape: [2, 4],
      source: { kind: 'bytes' as const, bytes: new Uint8Array(new Float32Array(8).fill(value).buffer) },
    });
    const b = new GraphBuilder('adapted');
    const x = b.input('x', 'f32', ['tokens', 4]);
    const of = (name: string) => b.matmul(x, b.weight(name, { dtype: 'f32', shape: [2, 4] }));
    b.output('y', b.add(of('base'), of('adapter')));
    const [base, adapter] = [
      await device.load([entry('base', 1)]),
      await device.load([entry('adapter', 10)]),
    ];
    const run = await device.compile(b.build(), [base, adapter], { dims: { tokens: 1 } });
    const y = device.allocate(8);
    await run.submit({ dims: { tokens: 1 }, buffers: { x: new Float32Array(4).fill(1), y } }).done;
    const bytes = await device.read(y, 0, 8);
    expect([...new Float32Array(bytes.buffer, bytes.byteOffset, 2)]).toEqual([44, 44]);
    const other = await vulkanBackend.open();
    await expect(other.compile(b.build(), [base, adapter], { dims: { tokens: 1 } })).rejects.toMatchObject({
      code: 'usage/weight',
    });
    await other.close();
    await device.close();
  });
});
