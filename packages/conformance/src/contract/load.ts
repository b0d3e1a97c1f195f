/** Weights: from bytes and files, shared, residency, progress, cancellation, bad files. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BytesSource, Device, FileSource, WeightEntry } from '@unicorn-exec/tensor';
import {
  expectError,
  expectNumbers,
  expectThat,
  floatBytes,
  lookup,
  onDevice,
  product,
  readFloats,
  type ContractCase,
} from './contract-case.js';

function entry(name: string, shape: readonly number[], source: BytesSource | FileSource): WeightEntry {
  return { name, dtype: 'f32', shape, source };
}

function bytesEntry(name: string, shape: readonly number[], values: readonly number[]): WeightEntry {
  return entry(name, shape, { kind: 'bytes', bytes: floatBytes(values) });
}

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

/** y = w x for the one row x. */
async function multiply(
  device: Device,
  entries: readonly WeightEntry[],
  x: readonly number[],
): Promise<number[]> {
  const weights = await device.load(entries);
  const rows = entries[0]!.shape[0]!;
  const executable = await device.compile(product(rows, x.length), weights, {
    dims: { tokens: 1 },
    precision: 'f32',
  });
  const y = device.allocate(4 * rows);
  await executable.submit({ dims: { tokens: 1 }, buffers: { x: Float32Array.from(x), y } }).done;
  const result = await readFloats(device, y, rows);
  executable.dispose();
  weights.dispose();
  y.dispose();
  return result;
}

const values = [1, 2, 3, 4, 5, 6];

export const loadCases: readonly ContractCase[] = [
  onDevice('weights come from bytes at any alignment', async (device) => {
    for (const shift of [0, 1, 4, 7]) {
      const store = new Uint8Array(32);
      store.set(floatBytes(values), shift);
      const bytes = store.subarray(shift, shift + 24);
      const result = await multiply(device, [entry('w', [2, 3], { kind: 'bytes', bytes })], [1, 10, 100]);
      expectNumbers(`bytes at ${shift}`, result, [321, 654]);
    }
  }),
  onDevice('weights come from a file at any offset', async (device) => {
    for (const offset of [0, 3, 32, 4096, 5001]) {
      const file = new Uint8Array(offset + 24 + 5);
      file.set(floatBytes(values), offset);
      await withFile(file, async (path) => {
        const source = { kind: 'file', path, offset, byteLength: 24 } as const;
        expectNumbers(
          `offset ${offset}`,
          await multiply(device, [entry('w', [2, 3], source)], [1, 10, 100]),
          [321, 654],
        );
      });
    }
  }),
  onDevice('a table that stays in host memory gives the same rows', async (device) => {
    const file = floatBytes([9, 9, ...values]);
    await withFile(file, async (path) => {
      const source = { kind: 'file', path, offset: 8, byteLength: 24 } as const;
      const weights = await device.load([{ ...entry('table', [3, 2], source), residency: 'host' }]);
      const executable = await device.compile(lookup(3, 2), weights, { dims: { tokens: { max: 4 } } });
      const y = device.allocate(24);
      await executable.submit({ dims: { tokens: 3 }, buffers: { ids: Int32Array.of(2, 0, 2), y } }).done;
      expectNumbers('rows', await readFloats(device, y, 6), [5, 6, 1, 2, 5, 6]);
      executable.dispose();
      weights.dispose();
    });
  }),
  onDevice('a set knows its names and specs', async (device) => {
    const weights = await device.load([bytesEntry('b', [2], [1, 2]), bytesEntry('a', [2, 3], values)]);
    expectThat([...weights.names].sort().join() === 'a,b', `The names are ${weights.names.join()}.`);
    const spec = weights.spec('a');
    expectThat(spec?.dtype === 'f32' && spec.shape.join() === '2,3', `The spec is ${JSON.stringify(spec)}.`);
    expectThat(weights.spec('c') === undefined, 'There is a spec of a weight that was not loaded.');
    expectThat(weights.byteLength >= 0, 'The size is negative.');
    weights.dispose();
    weights.dispose();
  }),
  onDevice('two executables share one set', async (device) => {
    const weights = await device.load([bytesEntry('w', [2, 3], values)]);
    const options = { dims: { tokens: { max: 1 } }, precision: 'f32' } as const;
    const all = await device.compile(product(2, 3), weights, options);
    const last = await device.compile(product(2, 3, 1), weights, options);
    const [y, z] = [device.allocate(8), device.allocate(4)];
    const x = Float32Array.of(1, 10, 100);
    const first = all.submit({ dims: { tokens: 1 }, buffers: { x, y } });
    const second = last.submit({ dims: { tokens: 1 }, buffers: { x, y: z } });
    await Promise.all([first.done, second.done]);
    expectNumbers('whole', await readFloats(device, y, 2), [321, 654]);
    expectNumbers('part', await readFloats(device, z, 1), [654]);
    all.dispose();
    // The set outlives one of them.
    await last.submit({ dims: { tokens: 1 }, buffers: { x: Float32Array.of(1, 0, 0), y: z } }).done;
    expectNumbers('part again', await readFloats(device, z, 1), [4]);
    last.dispose();
    weights.dispose();
  }),
  onDevice('memory of weights returns to its start', async (device) => {
    const start = JSON.stringify(device.memory());
    const weights = await device.load([
      bytesEntry(
        'w',
        [64, 64],
        Array.from({ length: 4096 }, () => 1),
      ),
    ]);
    weights.dispose();
    expectThat(JSON.stringify(device.memory()) === start, 'The weights are still counted after dispose.');
  }),
  onDevice('progress never goes back and ends at the total', async (device) => {
    const seen: { loadedBytes: number; totalBytes: number }[] = [];
    const entries = ['a', 'b', 'c'].map((name) => bytesEntry(name, [2, 3], values));
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
  onDevice('a load that is called off rejects and leaves nothing', async (device) => {
    const start = JSON.stringify(device.memory());
    const entries = ['a', 'b'].map((name) => bytesEntry(name, [2, 3], values));
    await expectError('aborted before', 'usage/cancelled', () =>
      device.load(entries, { signal: AbortSignal.abort() }),
    );
    expectThat(JSON.stringify(device.memory()) === start, 'A cancelled load leaves memory behind.');
  }),
  onDevice('bad entries are refused', async (device) => {
    const start = JSON.stringify(device.memory());
    const good = bytesEntry('a', [2, 3], values);
    await expectError('too few bytes', 'usage/weight', () =>
      device.load([good, bytesEntry('w', [2, 4], values)]),
    );
    await expectError('a name twice', 'usage/weight', () => device.load([good, good]));
    await withFile(new Uint8Array(30), async (path) => {
      const source = (offset: number, byteLength: number) =>
        ({ kind: 'file', path, offset, byteLength }) as const;
      await expectError('a file that ends early', 'format/truncated', () =>
        device.load([good, entry('w', [2, 3], source(8, 24))]),
      );
      await expectError('an offset past the file', 'format/truncated', () =>
        device.load([entry('w', [2, 3], source(4096, 24))]),
      );
      await expectError("a length that is not the shape's", 'usage/weight', () =>
        device.load([entry('w', [2, 3], source(0, 20))]),
      );
      await expectError('a file that is not there', 'usage/file', () =>
        device.load([entry('w', [2, 3], { ...source(0, 24), path: `${path}.absent` })]),
      );
    });
    expectThat(JSON.stringify(device.memory()) === start, 'A failed load leaves memory behind.');
  }),
];
