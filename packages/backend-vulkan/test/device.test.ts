/** What the conformance suite does not ask of a device: bindings, faults of ids on the device, replay without allocation. */
import {
  GraphBuilder,
  sampleControls,
  sampleParameters,
  type Device,
  type DeviceBuffer,
  type Graph,
} from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VulkanDevice } from '../src/device/device.js';
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

  it('fails a submission whose pipelines cannot be made, and that alone', async () => {
    const { weights, executable } = await compiled();
    const y = device.allocate(4 * columns);
    const submit = () =>
      executable.submit({ dims: { tokens: 1 }, buffers: { ids: Int32Array.of(2), y } }).done;
    const { ensure } = device.pipelines;
    // Not a mock, which would handle the rejections that nobody may leave unhandled.
    device.pipelines.ensure = () => Promise.reject(new Error('no pipeline'));
    await expect(submit()).rejects.toThrow('no pipeline');
    device.pipelines.ensure = ensure;
    await submit();
    expect(await firstOf(y)).toBe(2 * columns);
    executable.dispose();
    weights.dispose();
  });

  it('keeps the inputs of many submissions in flight apart', async () => {
    const { weights, executable } = await compiled();
    const outputs = Array.from({ length: 12 }, () => device.allocate(4 * columns));
    const ids = new Int32Array(1);
    const runs = outputs.map((y, i) => {
      // The host overwrites its data as soon as it was submitted.
      ids[0] = i % rows;
      return executable.submit({ dims: { tokens: 1 }, buffers: { ids, y } });
    });
    await runs.at(-1)!.done;
    const first = await Promise.all(outputs.map(firstOf));
    expect(first).toEqual(outputs.map((_, i) => (i % rows) * columns));
    executable.dispose();
    weights.dispose();
  });

  it('takes what a submission in flight writes as the input of the next', async () => {
    const vocabulary = 11;
    const follower = (id: number): number => (3 * id + 1) % vocabulary;
    const b = new GraphBuilder('walk');
    const { ids } = b.sample({
      logits: b.embed(
        b.input('from', 'i32', ['tokens']),
        b.weight('next', { dtype: 'f32', shape: [vocabulary, vocabulary] }),
      ),
      parameters: b.input('parameters', 'f32', ['tokens', sampleParameters.length]),
      controls: b.input('controls', 'i32', ['tokens', sampleControls.length]),
      biasIds: b.input('biasIds', 'i32', ['tokens', 1]),
      biasValues: b.input('biasValues', 'f32', ['tokens', 1]),
      history: b.state('history', 'i32', [1, 32]),
    });
    b.output('to', ids);
    const next = Float32Array.from({ length: vocabulary ** 2 }, (_, i) =>
      i % vocabulary === follower(Math.floor(i / vocabulary)) ? 1 : 0,
    );
    const source = { kind: 'bytes', bytes: new Uint8Array(next.buffer) } as const;
    const shape = [vocabulary, vocabulary];
    const weights = await device.load([{ name: 'next', dtype: 'f32', shape, source }]);
    const executable = await device.compile(b.build(), weights, { dims: { tokens: 1 } });
    expect(executable.runsAhead).toBe(true);
    const history = device.allocate(32 * 4);
    const steps = Array.from({ length: 20 }, () => device.allocate(4));
    const controls = new Int32Array(sampleControls.length);
    const runs = steps.map((to, i) => {
      for (const name of ['position', 'historyLength'] as const)
        controls[sampleControls.indexOf(name)] = i + 1;
      const buffers = {
        from: i === 0 ? Int32Array.of(2) : steps[i - 1]!,
        parameters: new Float32Array(sampleParameters.length),
        controls,
        biasIds: new Int32Array(1),
        biasValues: new Float32Array(1),
        history,
        to,
      };
      return executable.submit({ dims: { tokens: 1 }, buffers });
    });
    await runs.at(-1)!.done;
    let id = 2;
    for (const to of steps) {
      const bytes = await device.read(to, 0, 4);
      expect(new Int32Array(bytes.buffer)[0]).toBe((id = follower(id)));
    }
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

  it('reads an input that another device computed, and writes that device’s memory', async () => {
    const other = await vulkanBackend.open();
    try {
      const { weights, executable } = await compiled();
      const ids = await idsOn(other, [5]);
      const y = device.allocate(4 * columns);
      await executable.submit({ dims: { tokens: 1 }, buffers: { ids, y } }).done;
      expect(await firstOf(y)).toBe(5 * columns);
      const far = other.allocate(4 * columns);
      await executable.submit({ dims: { tokens: 1 }, buffers: { ids, y: far } }).done;
      expect(new Float32Array((await other.read(far, 0, 4)).buffer)[0]).toBe(5 * columns);
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
