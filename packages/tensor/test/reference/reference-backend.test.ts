/** What the conformance suite does not ask: turns of the event loop, outputs that are no node's, what profile counts. */
import { describe, expect, it } from 'vitest';
import { GraphBuilder, referenceBackend, type Device, type Graph } from '../../src/index.js';

async function floats(device: Device, buffer: Parameters<Device['read']>[0]): Promise<number[]> {
  return [...new Float32Array((await device.read(buffer, 0, buffer.byteLength)).slice().buffer)];
}

function heavy(): Graph {
  const builder = new GraphBuilder('heavy');
  let x = builder.input('x', 'f32', ['tokens', 256]);
  const weight = builder.weight('w', { dtype: 'f32', shape: [256, 256] });
  for (let i = 0; i < 40; i++) x = builder.matmul(x, weight);
  builder.output('y', x);
  return builder.build();
}

describe('the reference backend', () => {
  it('lets the event loop run between nodes', async () => {
    const device = await referenceBackend.open();
    const weights = await device.load([
      {
        name: 'w',
        dtype: 'f32',
        shape: [256, 256],
        source: { kind: 'bytes', bytes: new Uint8Array(4 * 256 * 256) },
      },
    ]);
    const executable = await device.compile(heavy(), weights, { dims: { tokens: 64 } });
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const buffers = { x: new Float32Array(64 * 256), y: device.allocate(4 * 64 * 256) };
    await executable.submit({ dims: { tokens: 64 }, buffers }).done;
    clearInterval(timer);
    expect(turns).toBeGreaterThan(0);
    await device.close();
  });

  it('gives inputs, constants and weight views as outputs', async () => {
    const builder = new GraphBuilder('passing');
    builder.output('same', builder.input('x', 'f32', ['tokens', 2]));
    builder.output('fixed', builder.constant(Float32Array.of(7, 8)));
    builder.output('part', builder.weight('w', { dtype: 'f32', shape: [2, 3] }, { columnStart: 1 }));
    const device = await referenceBackend.open();
    const bytes = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer);
    const weights = await device.load([
      { name: 'w', dtype: 'f32', shape: [2, 3], source: { kind: 'bytes', bytes } },
    ]);
    const executable = await device.compile(builder.build(), weights, { dims: { tokens: { max: 1 } } });
    const [same, fixed, part] = [device.allocate(8), device.allocate(8), device.allocate(16)];
    const buffers = { x: Float32Array.of(9, 10), same, fixed, part };
    await executable.submit({ dims: { tokens: 1 }, buffers }).done;
    expect(await floats(device, same)).toEqual([9, 10]);
    expect(await floats(device, fixed)).toEqual([7, 8]);
    expect(await floats(device, part)).toEqual([2, 3, 5, 6]);
  });

  it('profiles calls, operations and bytes by op', async () => {
    const builder = new GraphBuilder('profiled');
    const x = builder.input('x', 'f32', ['tokens', 8]);
    builder.output('y', builder.scale(builder.add(x, builder.scale(x, 2)), 3));
    const device = await referenceBackend.open();
    const executable = await device.compile(builder.build(), await device.load([]), {
      dims: { tokens: { max: 4 } },
      profile: true,
    });
    const buffers = { x: new Float32Array(32), y: device.allocate(128) };
    await executable.submit({ dims: { tokens: 3 }, buffers }).done;
    await executable.submit({ dims: { tokens: 4 }, buffers }).done;
    const profile = Object.fromEntries(executable.profile().map((entry) => [entry.step, entry]));
    // Two scales in each of two submissions, over 3 and 4 rows of 8.
    expect(profile.scale).toMatchObject({ calls: 4, flops: 2 * 8 * 7, bytes: 2 * 2 * 32 * 7 });
    expect(profile.add).toMatchObject({ calls: 2, flops: 8 * 7, bytes: 3 * 32 * 7 });
    expect(profile.add!.seconds).toBeGreaterThanOrEqual(0);
  });

  it('refuses what another kind of device made', async () => {
    const device = await referenceBackend.open();
    const alien = { byteLength: 4, dispose: () => {} };
    await expect(device.write(alien, 0, new Uint8Array(4))).rejects.toMatchObject({ code: 'usage/binding' });
    const weights = { names: [], byteLength: 0, spec: () => undefined, dispose: () => {} };
    await expect(device.compile(heavy(), weights, { dims: { tokens: 1 } })).rejects.toMatchObject({
      code: 'usage/weight',
    });
  });

  it('keeps what a caller wrote, whatever it does with its copy', async () => {
    const device = await referenceBackend.open();
    const buffer = device.allocate(2);
    const data = Uint8Array.of(1, 2);
    const written = device.write(buffer, 0, data);
    data.fill(9);
    await written;
    expect([...(await device.read(buffer, 0, 2))]).toEqual([1, 2]);
    buffer.dispose();
    await expect(device.read(buffer, 0, 2)).rejects.toMatchObject({ code: 'usage/disposed' });
  });
});
