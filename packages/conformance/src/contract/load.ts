/** Cases about loading weights: from bytes and files, sharing, residency, progress, cancellation, bad files. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BytesSource,
  type Device,
  type DType,
  type FileSource,
  type WeightEntry,
  type WeightSet,
} from '@unicorn-exec/tensor';
import {
  compileProgram,
  expectError,
  expectNumbers,
  expectThat,
  onDevice,
  readFloats,
  rowByteLength,
  rowOf,
  type ContractCase,
} from './contract-case.js';
import {
  contractPrecision,
  lookup,
  product,
  twoProducts,
  weightRows,
  width,
  type Program,
} from './program.js';

/** The same weight from elsewhere. */
function from(entry: WeightEntry, source: BytesSource | FileSource): WeightEntry {
  return { ...entry, source };
}

/** Rows of the weight `name`: 1, 2, 3 and 4, 5, 6. */
function sixes(name: string, dtype: DType): ReturnType<typeof weightRows> {
  return weightRows(name, dtype, [
    [1, 2, 3],
    [4, 5, 6],
  ]);
}

/** The weight `b`: the largest column of {@link hundreds} alone, by 7 and 8. */
function sevens(dtype: DType): WeightEntry {
  return weightRows('b', dtype, [
    [0, 0, 7],
    [0, 0, 8],
  ]);
}

/** The input of which {@link sixes} makes 321 and 654. */
const hundreds = rowOf(1, 10, 100);

async function withFile(bytes: Uint8Array, use: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'unicorn-conformance-'));
  try {
    const path = join(folder, 'weights.bin');
    await writeFile(path, bytes);
    await use(path);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** y = w x for the one row of {@link hundreds}. */
async function multiply(
  device: Device,
  { graph }: Program,
  entries: readonly WeightEntry[],
): Promise<number[]> {
  const { executable, dispose } = await compileProgram(device, { name: 'product', graph, weights: entries });
  const y = device.allocate(8);
  await executable.submit({ dims: { tokens: 1 }, buffers: { x: hundreds, y } }).done;
  const result = await readFloats(device, y, 2);
  dispose();
  y.dispose();
  return result;
}

const pair = product(2);

export const loadCases: readonly ContractCase[] = [
  onDevice('weights come from bytes at any alignment', { pair }, async (device, programs) => {
    const weight = sixes('w', programs.pair.dtype);
    const { byteLength } = weight.source.bytes;
    for (const shift of [0, 1, 4, 7]) {
      const store = new Uint8Array(byteLength + 8);
      store.set(weight.source.bytes, shift);
      const bytes = store.subarray(shift, shift + byteLength);
      const result = await multiply(device, programs.pair, [from(weight, { kind: 'bytes', bytes })]);
      expectNumbers(`bytes at ${shift}`, result, [321, 654]);
    }
  }),
  onDevice('weights come from a file at any offset', { pair }, async (device, programs) => {
    const weight = sixes('w', programs.pair.dtype);
    const { bytes } = weight.source;
    const { byteLength } = bytes;
    for (const offset of [0, 3, 32, 4096, 5001]) {
      const file = new Uint8Array(offset + byteLength + 5);
      file.set(bytes, offset);
      await withFile(file, async (path) => {
        const source = { kind: 'file', path, offset, byteLength } as const;
        const result = await multiply(device, programs.pair, [from(weight, source)]);
        expectNumbers(`offset ${offset}`, result, [321, 654]);
      });
    }
  }),
  onDevice('a table that stays in host memory gives the same rows', { lookup }, async (device, programs) => {
    const { dtype, graph } = programs.lookup;
    const table = weightRows('table', dtype, [
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    const file = new Uint8Array([...new Uint8Array(8), ...table.source.bytes]);
    await withFile(file, async (path) => {
      const source = { kind: 'file', path, offset: 8, byteLength: table.source.bytes.byteLength } as const;
      const weights = [{ ...from(table, source), residency: 'host' as const }];
      const { executable, dispose } = await compileProgram(device, { name: 'lookup', graph, weights });
      const y = device.allocate(3 * rowByteLength);
      await executable.submit({ dims: { tokens: 3 }, buffers: { ids: Int32Array.of(2, 0, 2), y } }).done;
      const rows = [rowOf(5, 6), rowOf(1, 2), rowOf(5, 6)].flatMap((row) => [...row]);
      expectNumbers('rows', await readFloats(device, y, 3 * width), rows);
      dispose();
    });
  }),
  onDevice('a set knows its names and specs', { pair }, async (device, programs) => {
    const { dtype } = programs.pair;
    const weights = await device.load([sixes('b', dtype), weightRows('a', dtype, [[1], [2], [3]])]);
    expectThat([...weights.names].sort().join() === 'a,b', `The names are ${weights.names.join()}.`);
    const spec = weights.spec('a');
    expectThat(
      spec?.dtype === dtype && spec.shape.join() === `3,${width}`,
      `The spec is ${JSON.stringify(spec)}.`,
    );
    expectThat(weights.spec('c') === undefined, 'There is a spec of a weight that was not loaded.');
    expectThat(weights.byteLength >= 0, 'The size is negative.');
    weights.dispose();
    weights.dispose();
  }),
  onDevice('two executables share one set', { pair, last: product(2, 1) }, async (device, programs) => {
    const weights = await device.load([sixes('w', programs.pair.dtype)]);
    const options = { dims: { tokens: { max: 1 } }, precision: contractPrecision(device.info) } as const;
    const all = await device.compile(programs.pair.graph, weights, options);
    const last = await device.compile(programs.last.graph, weights, options);
    const [y, z] = [device.allocate(8), device.allocate(4)];
    const first = all.submit({ dims: { tokens: 1 }, buffers: { x: hundreds, y } });
    const second = last.submit({ dims: { tokens: 1 }, buffers: { x: hundreds, y: z } });
    await Promise.all([first.done, second.done]);
    expectNumbers('whole', await readFloats(device, y, 2), [321, 654]);
    expectNumbers('part', await readFloats(device, z, 1), [654]);
    all.dispose();
    // The set outlives one of them.
    await last.submit({ dims: { tokens: 1 }, buffers: { x: rowOf(1), y: z } }).done;
    expectNumbers('part again', await readFloats(device, z, 1), [4]);
    last.dispose();
    weights.dispose();
  }),
  onDevice('an executable reads several sets', { twoProducts, pair }, async (device, programs) => {
    const { dtype, graph } = programs.twoProducts;
    const model = await device.load([sixes('a', dtype), sixes('w', dtype)]);
    const later = await device.load([sevens(dtype)]);
    const options = { dims: { tokens: { max: 1 } }, precision: contractPrecision(device.info) } as const;
    const both = await device.compile(graph, [model, later], options);
    const one = await device.compile(programs.pair.graph, [model], options);
    const [ya, yb] = [device.allocate(8), device.allocate(8)];
    await both.submit({ dims: { tokens: 1 }, buffers: { x: hundreds, ya, yb } }).done;
    expectNumbers('of the first set', await readFloats(device, ya, 2), [321, 654]);
    expectNumbers('of the second set', await readFloats(device, yb, 2), [700, 800]);
    both.dispose();
    later.dispose();
    // The other set is there after one is gone.
    await one.submit({ dims: { tokens: 1 }, buffers: { x: hundreds, y: ya } }).done;
    expectNumbers('without the second set', await readFloats(device, ya, 2), [321, 654]);
    const twice = await device.load([sixes('a', dtype), sevens(dtype)]);
    await expectError('a name that two sets hold', 'usage/weight', () =>
      device.compile(graph, [model, twice], options),
    );
    await expectError('a weight that no set holds', 'usage/weight', () =>
      device.compile(graph, [model], options),
    );
    one.dispose();
    twice.dispose();
    model.dispose();
  }),
  onDevice('weights that the device did not load are refused', { pair }, async (device, programs) => {
    const { dtype, shape } = sixes('w', programs.pair.dtype);
    const strange: WeightSet = {
      names: ['w'],
      spec: () => ({ dtype, shape }),
      byteLength: 0,
      dispose: () => {},
    };
    const options = { dims: { tokens: 1 }, precision: contractPrecision(device.info) } as const;
    for (const weights of [strange, [strange]]) {
      await expectError('a set from elsewhere', 'usage/weight', () =>
        device.compile(programs.pair.graph, weights, options),
      );
    }
  }),
  onDevice('memory of weights returns to its start', { pair }, async (device, programs) => {
    const start = JSON.stringify(device.memory());
    const rows = Array.from({ length: 64 }, () => Array.from({ length: width }, () => 1));
    const weights = await device.load([weightRows('w', programs.pair.dtype, rows)]);
    weights.dispose();
    expectThat(JSON.stringify(device.memory()) === start, 'The weights are still counted after dispose.');
  }),
  onDevice('progress never goes back and ends at the total', { pair }, async (device, programs) => {
    const seen: { loadedBytes: number; totalBytes: number }[] = [];
    const entries = ['a', 'b', 'c'].map((name) => sixes(name, programs.pair.dtype));
    const weights = await device.load(entries, { onProgress: (progress) => seen.push({ ...progress }) });
    expectThat(seen.length > 0, 'There was no progress.');
    seen.forEach(({ loadedBytes, totalBytes }, i) => {
      expectThat(totalBytes === seen[0]!.totalBytes, 'The total changes.');
      expectThat(loadedBytes >= (seen[i - 1]?.loadedBytes ?? 0), 'Progress goes back.');
      expectThat(loadedBytes <= totalBytes, 'More was loaded than there is.');
    });
    expectThat(seen.at(-1)!.loadedBytes === seen[0]!.totalBytes, 'Progress ends before the total.');
    weights.dispose();
  }),
  onDevice('a load that is called off rejects and leaves nothing', { pair }, async (device, programs) => {
    const start = JSON.stringify(device.memory());
    const entries = ['a', 'b'].map((name) => sixes(name, programs.pair.dtype));
    await expectError('aborted before', 'usage/cancelled', () =>
      device.load(entries, { signal: AbortSignal.abort() }),
    );
    expectThat(JSON.stringify(device.memory()) === start, 'A cancelled load leaves memory behind.');
  }),
  onDevice('bad entries are refused', { pair }, async (device, programs) => {
    const start = JSON.stringify(device.memory());
    const good = sixes('a', programs.pair.dtype);
    const other = sixes('w', programs.pair.dtype);
    const { byteLength } = good.source.bytes;
    await expectError('too few bytes', 'usage/weight', () =>
      device.load([good, { ...other, shape: [3, width] }]),
    );
    await expectError('a name twice', 'usage/weight', () => device.load([good, good]));
    await withFile(new Uint8Array(byteLength + 6), async (path) => {
      const source = (offset: number, length = byteLength) =>
        ({ kind: 'file', path, offset, byteLength: length }) as const;
      await expectError('a file that ends early', 'format/truncated', () =>
        device.load([good, from(other, source(8))]),
      );
      await expectError('an offset past the file', 'format/truncated', () =>
        device.load([from(other, source(4096))]),
      );
      await expectError("a length that is not the shape's", 'usage/weight', () =>
        device.load([from(other, source(0, byteLength - 4))]),
      );
      await expectError('a file that is not there', 'usage/file', () =>
        device.load([from(other, { ...source(0), path: `${path}.absent` })]),
      );
    });
    expectThat(JSON.stringify(device.memory()) === start, 'A failed load leaves memory behind.');
  }),
];
