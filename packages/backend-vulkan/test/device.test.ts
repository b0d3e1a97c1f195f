/** What the conformance suite does not ask of a device: bindings, faults of ids on the device, replay without allocation. */
import { GraphBuilder, type Device, type DeviceBuffer, type Graph } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VulkanDevice } from '../src/device.js';
import { vulkanBackend } from '../src/index.js';
import { driver } from './lavapipe.js';

const [rows, columns] = [7, 8];

function lookup(): Graph {
  const b = new GraphBuilder('lookup');
  const table = b.weight('table', { dtype: 'f32', shape: [rows, columns] });
  b.output('y', b.embed(b.input('ids', 'i32', ['tokens']), table));
  return b.build();
}

describe.skipIf(!driver.present)(`a Vulkan device (${driver.need})`, () => {
  let device: VulkanDevice;
  beforeAll(async () => {
    device = (await vulkanBackend.open()) as VulkanDevice;
  });
  afterAll(() => device.close());

  const table = Float32Array.from({ length: rows * columns }, (_, i) => i);
  const compiled = async (target: Device = device, residency: 'device' | 'host' = 'device') => {
    const source = { kind: 'bytes', bytes: new Uint8Array(table.buffer) } as const;
    const weights = await target.load([
      { name: 'table', dtype: 'f32', shape: [rows, columns], source, residency },
    ]);
    const executable = await target.compile(lookup(), weights, { dims: { tokens: { max: 4 } } });
    return { weights, executable };
  };

  const idsOn = async (target: Device, ids: readonly number[]): Promise<DeviceBuffer> => {
    const buffer = target.allocate(4 * ids.length);
    await target.write(buffer, 0, new Uint8Array(Int32Array.from(ids).buffer));
    return buffer;
  };

  const firstOf = async (buffer: DeviceBuffer): Promise<number> =>
    new Float32Array((await device.read(buffer, 0, 4)).buffer)[0]!;

  it('notices ids past the table that only the device knows, and goes on', async () => {
    const { weights, executable } = await compiled();
    const y = device.allocate(4 * columns);
    const good = await idsOn(device, [3]);
    const bad = await idsOn(device, [rows]);
    const runs = [good, bad, good].map((ids) =>
      executable.submit({ dims: { tokens: 1 }, buffers: { ids, y } }),
    );
    await runs[0]!.done;
    await expect(runs[1]!.done).rejects.toMatchObject({ code: 'usage/token-id', fields: { value: rows } });
    await runs[2]!.done;
    expect(await firstOf(y)).toBe(3 * columns);
    executable.dispose();
    weights.dispose();
  });

  it('replays without allocating', async () => {
    const { weights, executable } = await compiled();
    const y = device.allocate(4 * columns);
    const submit = (id: number): Promise<void> =>
      executable.submit({ dims: { tokens: 1 }, buffers: { ids: Int32Array.of(id), y } }).done;
    await submit(0);
    const before = device.allocations;
    for (let id = 0; id < rows; id++) {
      await submit(id);
      expect(await firstOf(y)).toBe(id * columns);
    }
    expect(device.allocations).toBe(before);
    executable.dispose();
    weights.dispose();
  });

  it('wants bindings at multiples of its alignment', async () => {
    const { weights, executable } = await compiled();
    const buffer = device.allocate(256);
    const buffers = { ids: Int32Array.of(0), y: { buffer, byteOffset: 4 } };
    expect(() => executable.submit({ dims: { tokens: 1 }, buffers })).toThrow(
      expect.objectContaining({ code: 'usage/binding' }),
    );
    executable.dispose();
    weights.dispose();
  });

  it('reads an input that another device computed, and writes no other device', async () => {
    const other = await vulkanBackend.open();
    try {
      const { weights, executable } = await compiled();
      const ids = await idsOn(other, [5]);
      const y = device.allocate(4 * columns);
      await executable.submit({ dims: { tokens: 1 }, buffers: { ids, y } }).done;
      expect(await firstOf(y)).toBe(5 * columns);
      const far = other.allocate(4 * columns);
      expect(() => executable.submit({ dims: { tokens: 1 }, buffers: { ids, y: far } })).toThrow(
        expect.objectContaining({ code: 'usage/binding' }),
      );
      executable.dispose();
      weights.dispose();
    } finally {
      await other.close();
    }
  });

  it('looks rows in host memory up by ids of the host only', async () => {
    const { weights, executable } = await compiled(device, 'host');
    const y = device.allocate(4 * columns * 2);
    await executable.submit({ dims: { tokens: 2 }, buffers: { ids: Int32Array.of(6, 1), y } }).done;
    expect(await firstOf(y)).toBe(6 * columns);
    const ids = await idsOn(device, [1]);
    expect(() => executable.submit({ dims: { tokens: 1 }, buffers: { ids, y } })).toThrow(
      expect.objectContaining({ code: 'unsupported/op' }),
    );
    executable.dispose();
    weights.dispose();
  });

  it('refuses a buffer that was disposed of, also where it was recorded with', async () => {
    const { weights, executable } = await compiled();
    const y = device.allocate(4 * columns);
    const buffers = { ids: Int32Array.of(2), y };
    await executable.submit({ dims: { tokens: 1 }, buffers }).done;
    y.dispose();
    expect(() => executable.submit({ dims: { tokens: 1 }, buffers })).toThrow();
    const again = device.allocate(4 * columns);
    await executable.submit({ dims: { tokens: 1 }, buffers: { ...buffers, y: again } }).done;
    expect(await firstOf(again)).toBe(2 * columns);
    executable.dispose();
    weights.dispose();
  });
});
