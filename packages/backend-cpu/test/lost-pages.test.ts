/** Weights whose file is cut short or written to after it was mapped: the submissions that read it fail, and no other. */
import { mkdtempSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GraphBuilder, type Device, type Graph, type WeightEntry } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cpuBackend, diagnoseAddon } from '../src/index.js';
import { randomSource, randomWeights } from './fixture.js';

const [rows, columns] = [2048, 256];

/** Every way in which a weight is read, with one row of `y` for one of the input. */
const graphs: Readonly<Record<string, Graph>> = {
  table: (() => {
    const builder = new GraphBuilder('table');
    const table = builder.weight('weight', { dtype: 'q8_0', shape: [rows, columns] });
    builder.output('y', builder.embed(builder.input('x', 'i32', ['n']), table));
    return builder.build();
  })(),
  matrix: (() => {
    const builder = new GraphBuilder('matrix');
    const matrix = builder.weight('weight', { dtype: 'q8_0', shape: [rows, columns] });
    builder.output('y', builder.matmul(builder.input('x', 'f32', ['n', columns]), matrix));
    return builder.build();
  })(),
  vector: (() => {
    const builder = new GraphBuilder('vector');
    const vector = builder.weight('weight', { dtype: 'f32', shape: [rows] });
    const x = builder.input('x', 'f32', ['n', rows]);
    builder.output('y', builder.rmsNorm(x, vector, { epsilon: 1e-6 }));
    return builder.build();
  })(),
};

const { loaded } = diagnoseAddon();

describe.skipIf(!loaded)('weights whose file changes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'unicorn-lost-'));
  const devices: Record<string, Device> = {};
  beforeAll(async () => {
    devices['packed'] = await cpuBackend.open('cpu', { threads: 2, weights: 'packed' });
    devices['mapped'] = await cpuBackend.open('cpu', { threads: 2, weights: 'mapped' });
  });
  afterAll(async () => {
    for (const device of Object.values(devices)) await device.close();
    rmSync(folder, { recursive: true });
  });

  /** The one weight of a graph in a file; a table is for its rows to be gathered from there. */
  function inFile(graph: Graph, name: string): { path: string; entries: WeightEntry[] } {
    const path = join(folder, name);
    const entries = randomWeights(graph, randomSource(5)).map((entry): WeightEntry => {
      const { bytes } = entry.source as { bytes: Uint8Array };
      writeFileSync(path, bytes);
      const source = { kind: 'file', path, offset: 0, byteLength: bytes.byteLength } as const;
      return { ...entry, source, ...(name.startsWith('table') ? { residency: 'host' as const } : {}) };
    });
    return { path, entries };
  }

  /** Submits a graph over weights again and again. */
  async function open(device: Device, graph: Graph, entries: readonly WeightEntry[]) {
    const set = await device.load(entries);
    const executable = await device.compile(graph, set, { dims: { n: { max: 2 } } });
    const { x, y } = { ...executable.signature.inputs, ...executable.signature.outputs };
    const count = 2 * ((x!.shape[1] as number | undefined) ?? 1);
    const input =
      x!.dtype === 'i32' ? Int32Array.of(0, rows - 1) : Float32Array.from({ length: count }, (_, i) => i % 7);
    return {
      async run(): Promise<Buffer> {
        const output = device.allocate(2 * 4 * (y!.shape[1] as number));
        await executable.submit({ dims: { n: 2 }, buffers: { x: input, y: output } }).done;
        return Buffer.from(await device.read(output, 0, output.byteLength));
      },
      dispose(): void {
        executable.dispose();
        set.dispose();
      },
    };
  }

  const changes = [
    ['cut short', (path: string) => truncateSync(path, 4096), 'format/truncated'],
    ['emptied', (path: string) => truncateSync(path, 0), 'format/truncated'],
    ['written to', (path: string) => utimesSync(path, 1, 1), 'format/changed'],
  ] as const;

  // A packed matrix is a copy, which no change reaches.
  const cases = Object.keys(graphs).flatMap((name) =>
    ['packed', 'mapped'].flatMap((where) =>
      changes.map(([change, act, code]) => {
        const expected = name === 'matrix' && where === 'packed' ? undefined : code;
        return { name, where, change, act, expected };
      }),
    ),
  );

  it.each(cases)(
    'a $name, $where, in a file that is $change: $expected',
    async ({ name, where, act, expected }) => {
      const device = devices[where]!;
      const graph = graphs[name]!;
      const { path, entries } = inFile(graph, `${name}-changing`);
      const whole = readFileSync(path);
      const changing = await open(device, graph, entries);
      const steady = await open(device, graph, inFile(graph, `${name}-steady`).entries);
      const right = await changing.run();
      expect(await steady.run()).toEqual(right);
      // Submissions are on their way while the file changes.
      const pending = Array.from({ length: 5 }, () => changing.run().catch((error: unknown) => error));
      act(path);
      await Promise.all(pending);
      for (let i = 0; i < 2; i++) {
        if (expected === undefined) expect(await changing.run()).toEqual(right);
        else await expect(changing.run()).rejects.toMatchObject({ code: expected, fields: { file: path } });
        expect(await steady.run()).toEqual(right);
        // The file is whole again, what was mapped is not.
        writeFileSync(path, whole);
      }
      changing.dispose();
      const again = await open(device, graph, entries);
      expect(await again.run()).toEqual(right);
      again.dispose();
      steady.dispose();
    },
  );

  it.each(['packed', 'mapped'])('is refused when it is cut short while it is loaded, %s', async (where) => {
    const path = join(folder, 'loading');
    const [count, byteLength] = [16, rows * 4096 * 4];
    const shape = [rows, 4096];
    const entries = Array.from({ length: count }, (_, i): WeightEntry => {
      const source = { kind: 'file', path, offset: i * byteLength, byteLength } as const;
      return { name: `weight${i}`, dtype: 'f32', shape, source };
    });
    // A load may be over before it is told of; none ends in another way.
    for (let i = 0; i < 3; i++) {
      writeFileSync(path, '');
      truncateSync(path, count * byteLength);
      const load = devices[where]!.load(entries, { onProgress: () => truncateSync(path, 4096) });
      const outcome: unknown = await load.then(
        (set) => set.dispose(),
        (error: unknown) => error,
      );
      if (outcome !== undefined)
        expect(outcome).toMatchObject({ code: 'format/truncated', fields: { file: path } });
    }
  });
});
