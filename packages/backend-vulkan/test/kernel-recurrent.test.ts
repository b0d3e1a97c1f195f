/** Recurrent ops: the bits of a sequence are the same in one step, cut into several, and in company; and they are right. */
import { GraphBuilder, referenceBackend, type Device, type Graph } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { vulkanBackend } from '../src/index.js';
import { driver } from './lavapipe.js';
import { normals } from './random.js';

const [heads, keyHeads, valueDim, channels, width, slotCount] = [4, 2, 37, 61, 4, 5];

/** Both ops over one set of sequences. */
function recurrent(keyDim: number): Graph {
  const b = new GraphBuilder('recurrent');
  const gates = (name: string) => b.input(name, 'f32', ['tokens', heads]);
  const keys = (name: string) => b.input(name, 'f32', ['tokens', keyHeads, keyDim]);
  const sequences = {
    starts: b.input('starts', 'i32', ['sequences']),
    slots: b.input('slots', 'i32', ['sequences', 2]),
  };
  const delta = b.gatedDelta({
    state: b.state('delta', 'f32', [slotCount, heads, keyDim, valueDim]),
    query: keys('query'),
    key: keys('key'),
    value: b.input('value', 'f32', ['tokens', heads, valueDim]),
    decay: gates('decay'),
    beta: gates('beta'),
    ...sequences,
  });
  const conv = b.causalConv({
    state: b.state('conv', 'f32', [slotCount, width - 1, channels]),
    x: b.input('x', 'f32', ['tokens', channels]),
    weight: b.input('weight', 'f32', [channels, width]),
    ...sequences,
  });
  b.output('read', delta.y);
  b.output('mixed', conv.y);
  return b.build();
}

/** Rows [begin, end) of one of several texts, and the slots that the step reads and writes of it. */
interface Part {
  readonly text: number;
  readonly begin: number;
  readonly end: number;
  readonly slots: readonly [number, number];
}

describe.skipIf(!driver.present)(`recurrent kernels (${driver.need})`, () => {
  let [device, oracle]: Device[] = [];
  beforeAll(async () => {
    device = await vulkanBackend.open();
    oracle = await referenceBackend.open();
  });
  afterAll(async () => {
    await device!.close();
    await oracle!.close();
  });

  // Workgroups of 32, 8 and 1 columns.
  it.each([96, 300, 2051])('have the same bits however rows are cut, with keys of %i', async (keyDim) => {
    const graph = recurrent(keyDim);
    const scale = 1 / Math.sqrt(keyDim);
    const widths: Record<string, { columns: number; of: (value: number) => number }> = {
      query: { columns: keyHeads * keyDim, of: (value) => scale * value },
      key: { columns: keyHeads * keyDim, of: (value) => scale * value },
      value: { columns: heads * valueDim, of: (value) => value },
      decay: { columns: heads, of: (value) => -Math.abs(value) },
      beta: { columns: heads, of: (value) => Math.min(1, Math.abs(value)) },
      x: { columns: channels, of: (value) => value },
    };
    const rowsOf = (name: string, text: number, row: number): Float32Array => {
      const { columns, of } = widths[name]!;
      return normals(columns, 1000 * text + 10 * row + name.length).map(of);
    };
    const weight = normals(channels * width, 7);

    /** Runs the steps, and gives the rows of text 1 in order, of both results. */
    const run = async (on: Device, steps: readonly (readonly Part[])[]): Promise<number[][]> => {
      const executable = await on.compile(graph, await on.load([]), {
        dims: { tokens: { max: 16 }, sequences: { max: 4 } },
        precision: 'f32',
      });
      const delta = on.allocate(4 * slotCount * heads * keyDim * valueDim);
      const conv = on.allocate(4 * slotCount * (width - 1) * channels);
      const results: number[][] = [];
      for (const parts of steps) {
        const rows = parts.flatMap(({ text, begin, end }) =>
          Array.from({ length: end - begin }, (_, i) => ({ text, row: begin + i })),
        );
        const starts = parts.map((_, i) =>
          parts.slice(0, i).reduce((sum, { begin, end }) => sum + end - begin, 0),
        );
        const inputs = Object.fromEntries(
          Object.keys(widths).map((name) => [
            name,
            Float32Array.from(rows.flatMap(({ text, row }) => [...rowsOf(name, text, row)])),
          ]),
        );
        const read = on.allocate(4 * rows.length * heads * valueDim);
        const mixed = on.allocate(4 * rows.length * channels);
        const given = {
          starts: Int32Array.from(starts),
          slots: Int32Array.from(parts.flatMap(({ slots }) => slots)),
        };
        await executable.submit({
          dims: { tokens: rows.length, sequences: parts.length },
          buffers: { ...inputs, ...given, weight, delta, conv, read, mixed },
        }).done;
        for (const [buffer, columns] of [
          [read, heads * valueDim],
          [mixed, channels],
        ] as const) {
          const bytes = await on.read(buffer, 0, buffer.byteLength);
          const floats = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
          rows.forEach(({ text }, i) => {
            if (text === 1) results.push([...floats.subarray(i * columns, (i + 1) * columns)]);
          });
          buffer.dispose();
        }
      }
      for (const one of [executable, delta, conv]) one.dispose();
      return results;
    };

    const part = (text: number, begin: number, end: number, slots: readonly [number, number]): Part => {
      return { text, begin, end, slots };
    };
    const whole = await run(device!, [[part(1, 0, 9, [0, 1])]]);
    // Two rows, one, then six in the middle of others; a snapshot is read twice.
    const cut = await run(device!, [
      [part(1, 0, 2, [0, 1])],
      [part(2, 0, 3, [0, 2]), part(1, 2, 3, [1, 3])],
      [part(2, 3, 4, [2, 2]), part(1, 3, 9, [3, 4]), part(3, 0, 5, [0, 0])],
    ]);
    const byRow = (results: number[][], cuts: readonly number[]): number[][] => {
      const both: number[][] = [];
      let at = 0;
      for (const rows of cuts) {
        for (let i = 0; i < rows; i++) both.push([...results[at + i]!, ...results[at + rows + i]!]);
        at += 2 * rows;
      }
      return both;
    };
    expect(byRow(cut, [2, 1, 6])).toEqual(byRow(whole, [9]));
    const right = await run(oracle!, [[part(1, 0, 9, [0, 1])]]);
    const worst = Math.max(...whole.flatMap((row, i) => row.map((y, j) => Math.abs(y - right[i]![j]!))));
    expect(worst).toBeLessThan(1e-5);
  });
});
