/** Names of a graph in parts: whatever its maker chose, what crosses and what is bound keep apart. */
import { describe, expect, it } from 'vitest';
import { GraphBuilder, referenceBackend, type ErrorCode } from '@unicorn-exec/tensor';
import { partition, SplitDevice } from '../../src/placement/index.js';

const names = [...Object.getOwnPropertyNames(Object.prototype), 'cut.1', 'cut.2', "cut.1'", 'cut.3'];

describe.each(names)('the name %s', (name) => {
  it.each(['input', 'output', 'state'] as const)('of an %s', async (role) => {
    const builder = new GraphBuilder('g');
    const x = builder.input(role === 'input' ? name : 'x', 'f32', [2]);
    // Another one of ours, so that a name made free is not taken either.
    const other = builder.input("cut.1''", 'f32', [2]);
    const rows = builder.reshape(builder.scale(builder.add(x, other), 2), [1, 2]);
    if (role === 'state') builder.accumulateSquares(builder.state(name, 'f32', [2]), rows);
    builder.output(role === 'output' ? name : 'y', builder.scale(rows, 3));
    const graph = builder.build();
    const places = graph.nodes.map(({ id }) => id % 2);
    const crossing = partition(graph, places).crossings.map((one) => one.name);
    expect(crossing.length).toBeGreaterThan(0);
    expect(crossing).not.toContain(name);
    expect(new Set(crossing).size).toBe(crossing.length);

    const devices = [await referenceBackend.open(), await referenceBackend.open()];
    const device = new SplitDevice({ devices, place: () => places, graphs: [{ graph, phase: 'token' }] });
    const executable = await device.compile(graph, await device.load([]), { dims: {}, precision: 'f32' });
    const state = device.allocate(8, { name: role === 'state' ? name : 'none' });
    const y = device.allocate(8, { name: role === 'output' ? name : 'y' });
    const buffers = Object.fromEntries([
      [role === 'input' ? name : 'x', Float32Array.of(1, 2)],
      ["cut.1''", Float32Array.of(1, 1)],
      [role === 'output' ? name : 'y', y],
      ...(role === 'state' ? [[name, state] as const] : []),
    ]);
    await executable.submit({ dims: {}, buffers }).done;
    expect([...new Float32Array((await device.read(y, 0, 8)).buffer)]).toEqual([12, 18]);
    if (role === 'state')
      expect([...new Float32Array((await device.read(state, 0, 8)).buffer)]).toEqual([16, 36]);
    expect(codeOf(() => executable.submit({ dims: {}, buffers: {} }))).toBe('usage/binding');
    await device.close();
  });
});

it('a heap that several devices are on is listed once', async () => {
  const devices = [await referenceBackend.open(), await referenceBackend.open()];
  const { info } = new SplitDevice({ devices, place: ({ nodes }) => nodes.map(() => 0), graphs: [] });
  expect(info.heaps).toEqual(devices[0]!.info.heaps);
  for (const device of devices) await device.close();
});

it('devices of one id have no successors: a lost one could not be told apart', async () => {
  const devices = [await referenceBackend.open(), await referenceBackend.open()];
  const options = { devices, place: () => [], graphs: [] };
  expect(codeOf(() => new SplitDevice(options))).toBe('accepted');
  expect(codeOf(() => new SplitDevice({ ...options, successor: () => 1 }))).toBe('usage/option');
  for (const device of devices) await device.close();
});

function codeOf(call: () => unknown): ErrorCode | string {
  try {
    call();
    return 'accepted';
  } catch (error) {
    return error instanceof Error && 'code' in error ? (error.code as ErrorCode) : String(error);
  }
}
