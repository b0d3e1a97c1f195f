/** Weights that stay in their file against packed ones: the same bits, less memory, the same errors. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GraphBuilder, type Device, type DType, type Graph, type WeightEntry } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cpuBackend } from '../src/index.js';
import { randomSource, randomWeights, runGraph } from './fixture.js';

const packedTypes: readonly DType[] = [
  ...(['q4_0', 'q4_1', 'q5_0', 'q5_1', 'q8_0', 'iq4_nl'] as const),
  ...(['q4_k', 'q5_k', 'q6_k', 'iq4_xs'] as const),
];

const vocabulary = 53; // not a multiple of a group's 16 rows

/** Every way in which a matrix is read: gathered, normed and gated, by a view of rows and of columns, as a tied head. */
function readsEverything(dtype: DType): Graph {
  const hidden = 256;
  const wide = 512;
  const builder = new GraphBuilder('mapped');
  const table = builder.weight('table', { dtype, shape: [vocabulary, hidden] });
  const x = builder.embed(builder.input('ids', 'i32', ['n']), table, { scale: 2 });
  const normed = builder.rmsNorm(x, builder.weight('norm', { dtype: 'f32', shape: [hidden] }), {
    epsilon: 1e-6,
  });
  const gate = builder.matmul(
    normed,
    builder.weight('gate', { dtype, shape: [wide, hidden] }, { rows: 256 }),
  );
  const up = builder.matmul(normed, builder.weight('up', { dtype, shape: [wide, hidden] }, { rows: 256 }));
  const down = builder.weight('down', { dtype, shape: [hidden, wide] }, { columns: 256 });
  const after = builder.add(x, builder.matmul(builder.glu(gate, up, 'silu'), down));
  builder.output(
    'shifted',
    builder.matmul(
      after,
      builder.weight('gate', { dtype, shape: [wide, hidden] }, { rowStart: 3, rows: 37 }),
    ),
  );
  builder.output('logits', builder.matmul(after, table));
  return builder.build();
}

describe('weights in mapped files', () => {
  let folder: string;
  const devices: Record<string, Device> = {};

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'unicorn-cpu-'));
    devices.packed = await cpuBackend.open('cpu', { threads: 1, weights: 'packed' });
    devices.mapped = await cpuBackend.open('cpu', { threads: 1, weights: 'mapped' });
    devices.threads = await cpuBackend.open('cpu', { threads: 3, weights: 'mapped' });
  });
  afterAll(async () => {
    for (const device of Object.values(devices)) await device.close();
    await rm(folder, { recursive: true });
  });

  /** Puts weights into one file, the first at an odd place. */
  async function inFile(name: string, weights: readonly WeightEntry[]): Promise<WeightEntry[]> {
    const path = join(folder, name);
    const parts: Uint8Array[] = [Uint8Array.of(1, 2, 3)];
    let offset = 3;
    const entries = weights.map((entry): WeightEntry => {
      if (entry.source.kind !== 'bytes') return entry;
      const { bytes } = entry.source;
      parts.push(bytes);
      const source = { kind: 'file', path, offset, byteLength: bytes.byteLength } as const;
      offset += bytes.byteLength;
      return { ...entry, source };
    });
    await writeFile(path, Buffer.concat(parts));
    return entries;
  }

  it.each(packedTypes)('give the bits of packed ones: %s', async (dtype) => {
    const graph = readsEverything(dtype);
    const weights = await inFile(dtype, randomWeights(graph, randomSource(3)));
    for (const precision of ['fast', 'f32'] as const) {
      for (const n of [1, 2, 3, 7, 13, 17, 130]) {
        const ids = Int32Array.from({ length: n }, (_, i) => (i * 31) % vocabulary);
        const trial = { graph, weights, dims: { n }, inputs: { ids }, precision };
        const expected = await runGraph(devices.packed!, trial);
        expect(expected.logits!.every((value) => Number.isFinite(value))).toBe(true);
        for (const name of ['mapped', 'threads']) {
          const got = await runGraph(devices[name]!, trial);
          for (const output of ['shifted', 'logits']) {
            expect(Buffer.from(got[output]!.buffer).equals(Buffer.from(expected[output]!.buffer))).toBe(true);
          }
        }
      }
    }
  });

  it('are mapped by default only where packing would take long', async () => {
    const device = await cpuBackend.open('cpu', { threads: 1 });
    const graph = readsEverything('q8_0');
    const given = randomWeights(graph, randomSource(4));
    const small = await device.load(await inFile('small', given));
    const packed = await devices.packed!.load(await inFile('small', given));
    expect(small.byteLength).toBe(packed.byteLength);
    await device.close();
  });

  it('count as memory of the device, and what has no file is packed', async () => {
    const graph = readsEverything('q8_0');
    const given = randomWeights(graph, randomSource(4));
    const bytes = given.reduce(
      (sum, { source }) => sum + (source.kind === 'bytes' ? source.bytes.byteLength : 0),
      0,
    );
    const set = await devices.mapped!.load(await inFile('counted', given));
    expect(set.byteLength).toBe(bytes);
    set.dispose();
    const anonymous = await devices.mapped!.load(given);
    expect(anonymous.byteLength).toBeGreaterThan(bytes);
    anonymous.dispose();
    expect(devices.mapped!.memory().weightBytes).toBe(0);
  });

  it('refuses a placement that there is not', async () => {
    const weights = 'floppy' as 'mapped';
    await expect(cpuBackend.open('cpu', { weights })).rejects.toMatchObject({
      code: 'usage/weight-placement',
    });
  });
});
