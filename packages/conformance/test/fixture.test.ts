/** The int8 fixture is as awkward as it says. That it follows the contract is shown by the suite itself. */
import { GraphBuilder, referenceBackend, type Graph } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { createInt8Backend, productOps, type Int8Submission } from '../src/fixture/index.js';

function product(rows: number, columns: number): Graph {
  const builder = new GraphBuilder('product');
  const x = builder.input('x', 'f32', ['tokens', columns]);
  builder.output('y', builder.matmul(x, builder.weight('w', { dtype: 'f32', shape: [rows, columns] })));
  return builder.build();
}

async function compileProduct(backend: ReturnType<typeof createInt8Backend>, values = [1, 2, 3, 4, 5, 6]) {
  const device = await backend.open();
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  const weights = await device.load([
    { name: 'w', dtype: 'f32', shape: [2, 3], source: { kind: 'bytes', bytes } },
  ]);
  const executable = await device.compile(product(2, 3), weights, { dims: { tokens: { max: 300 } } });
  return { device, executable };
}

const one = { tokens: 1 };

describe('the int8 device', () => {
  it('computes with int8 rows and weights', async () => {
    const { device, executable } = await compileProduct(createInt8Backend());
    const y = device.allocate(8);
    // Largest magnitudes of 127 make both scales one.
    await executable.submit({ dims: one, buffers: { x: Float32Array.of(127, 0.4, 1.6), y } }).done;
    const [first] = new Float32Array((await device.read(y, 0, 8)).buffer);
    // Weights become 42, 85, 127 in steps of 3 / 127.
    expect(first).toBeCloseTo((127 * 42 + 2 * 127) * (3 / 127), 3);
  });

  it('has artefacts for buckets of rows', async () => {
    const seen: Int8Submission[] = [];
    const backend = createInt8Backend({
      buckets: [4, 16],
      onSubmit: (submission) => void seen.push(submission),
    });
    const { device, executable } = await compileProduct(backend);
    const y = device.allocate(8 * 40);
    for (const tokens of [1, 16, 17, 40]) {
      await executable.submit({ dims: { tokens }, buffers: { x: new Float32Array(3 * tokens), y } }).done;
    }
    expect(seen.map(({ rows, paddedRows }) => [rows, paddedRows])).toEqual([
      [1, 4],
      [16, 16],
      [17, 20],
      [40, 48],
    ]);
    expect(executable.describe()).toContain('artefacts for 4, 16 rows');
  });

  it('sees its memory apart from the host', async () => {
    const { device, executable } = await compileProduct(createInt8Backend());
    expect(device.allocate(8).host).toBeUndefined();
    const y = device.allocate(8, { host: 'required' });
    await executable.submit({ dims: one, buffers: { x: Float32Array.of(1, 1, 1), y } }).done;
    const host = new Float32Array(y.host!.buffer);
    expect([...host]).toEqual([0, 0]);
    y.sync!('toHost', [{ byteOffset: 4, byteLength: 4 }]);
    expect(host[0]).toBe(0);
    expect(host[1]).toBeCloseTo(15, 1);
  });

  it('copies what lies in memory of other devices, and counts it', async () => {
    const { device, executable } = await compileProduct(createInt8Backend());
    const other = await referenceBackend.open();
    const [x, y] = [other.allocate(24), other.allocate(16)];
    await other.write(x, 12, new Uint8Array(Float32Array.of(1, 1, 1).buffer));
    const buffers = { x: { buffer: x, byteOffset: 12 }, y: { buffer: y, byteOffset: 8 } };
    await executable.submit({ dims: one, buffers }).done;
    expect(new Float32Array(y.host!.buffer)[2]).toBeCloseTo(6, 1);
    expect(device.memory().copiedBytes).toBe(12 + 8);
    expect(() => device.importBuffer(x)).toThrow(expect.objectContaining({ code: 'unsupported/import' }));
  });

  it('takes as long as asked for, one submission after the other', async () => {
    const { device, executable } = await compileProduct(
      createInt8Backend({ latencyMs: ({ paddedRows }) => paddedRows, commandsInFlight: 1 }),
    );
    const y = device.allocate(8);
    const begin = performance.now();
    const completions = Array.from({ length: 5 }, () =>
      executable.submit({ dims: one, buffers: { x: new Float32Array(3), y } }),
    );
    await Promise.all(completions.map(({ done }) => done));
    expect(performance.now() - begin).toBeGreaterThanOrEqual(40);
    const times = completions.flatMap((completion) => completion.times());
    expect(times.map(({ device: id }) => id)).toEqual(Array.from({ length: 5 }, () => 'int8'));
    times.forEach(({ beginMs, endMs }, i) => {
      expect(endMs - beginMs).toBeGreaterThanOrEqual(8);
      if (i > 0) expect(beginMs).toBeGreaterThanOrEqual(times[i - 1]!.endMs);
    });
  });

  it('is lost with everything in flight, and opens again', async () => {
    const backend = createInt8Backend({ latencyMs: 1000 });
    const { device, executable } = await compileProduct(backend);
    const y = device.allocate(8);
    const bindings = { dims: one, buffers: { x: new Float32Array(3), y } };
    const pending = Array.from({ length: 4 }, () => executable.submit(bindings));
    await new Promise((resolve) => setTimeout(resolve, 5));
    backend.lose();
    const lost = { code: 'device/lost', fields: { device: 'int8' } };
    for (const { done } of [...pending, executable.submit(bindings)]) {
      await expect(done).rejects.toMatchObject(lost);
    }
    await expect(device.load([])).rejects.toMatchObject(lost);
    await device.close();
    await (await backend.open()).close();
    backend.lose({ forGood: true });
    expect((await backend.probe())[0]).toMatchObject({ usable: false });
    await expect(backend.open()).rejects.toMatchObject({ code: 'device/unavailable' });
  });

  it('has the ops that it is given, as its description says', async () => {
    const backend = createInt8Backend({ ops: productOps });
    const planner = backend.planner(JSON.parse(JSON.stringify(backend.info)));
    const graph = product(2, 3);
    expect(planner.supports(graph.nodes[0]!, graph, { precision: 'fast' })).toEqual({ ok: true });
    expect(planner.supports(graph.nodes[0]!, graph, { precision: 'f32' }).ok).toBe(false);
    const builder = new GraphBuilder('sum');
    const x = builder.input('x', 'f32', [3]);
    builder.output('y', builder.add(x, x));
    const sum = builder.build();
    expect(planner.supports(sum.nodes[0]!, sum, { precision: 'fast' })).toMatchObject({ ok: false });
  });

  it('closes after what it refused', async () => {
    const device = await createInt8Backend().open();
    const [from, to] = [device.allocate(4), device.allocate(4)].map((buffer) => ({ buffer, byteOffset: 0 }));
    expect(() => device.copy(from!, to!, 4, { after: 5 as never })).toThrow(
      expect.objectContaining({ code: 'usage/option' }),
    );
    await device.close();
  });

  it('refuses weights and buffers beyond its heap', async () => {
    const device = await createInt8Backend({ heapBytes: 100 }).open();
    const entry = { name: 'w', dtype: 'f32', shape: [4, 4] } as const;
    const weights = await device.load([{ ...entry, source: { kind: 'bytes', bytes: new Uint8Array(64) } }]);
    expect(() => device.allocate(37)).toThrow(expect.objectContaining({ code: 'resource/memory' }));
    weights.dispose();
    expect(device.allocate(37).byteLength).toBe(37);
  });
});
