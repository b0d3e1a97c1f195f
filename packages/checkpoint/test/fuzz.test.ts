/**
 * Mutated files: whatever the damage, a reader either loads or throws a `format` error, soon, and without asking for
 * more memory than the file can justify. `FUZZ_RUNS=100000` runs longer.
 */
import { isUnicornError } from '@unicorn-exec/tensor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bytesSource,
  openGguf,
  openSafetensors,
  type RandomAccessSource,
  type Weights,
} from '../src/index.js';
import { goldenBytes } from './support.js';

const runs = Number(process.env.FUZZ_RUNS ?? 1500);

/**
 * What opening a file of n bytes and then reading every tensor may ask its source for: n for the header (these are
 * shorter than a first read), n for the tensors, which share no bytes, and the length field of safetensors.
 */
const askedMax = (fileBytes: number) => 2 * fileBytes + 8;

/**
 * Growth of heap and buffers over one reading, garbage included. 17 KB of file make at most 21 times as much f32
 * (iq1_s), and some kilobytes of objects; 16 MiB leave room for the compiler, and none for a hostile count.
 */
const memoryGrowthMax = 16 * 2 ** 20;

/** Each takes well under a millisecond; a loop over a hostile count would not end. */
const limitMs = 2000;

type Mutation = (bytes: Uint8Array) => Uint8Array;

/** Positions: everywhere, but the header more often. */
const position = fc.oneof(fc.nat(2000), fc.nat(20_000));

const interesting = fc.oneof(
  fc.constantFrom(
    0n,
    1n,
    2n ** 31n,
    2n ** 32n - 1n,
    2n ** 32n,
    2n ** 53n,
    2n ** 61n,
    2n ** 62n,
    2n ** 63n,
    2n ** 64n - 32n,
    2n ** 64n - 1n,
  ),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.bigInt({ min: 0n, max: 100_000n }),
);

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ at: position, bit: fc.nat(7) }).map(({ at, bit }): Mutation => (bytes) => {
    const copy = bytes.slice();
    if (copy.length > 0) copy[at % copy.length]! ^= 1 << bit;
    return copy;
  }),
  fc.record({ at: position, byte: fc.nat(255) }).map(({ at, byte }): Mutation => (bytes) => {
    const copy = bytes.slice();
    if (copy.length > 0) copy[at % copy.length] = byte;
    return copy;
  }),
  position.map(
    (at): Mutation =>
      (bytes) =>
        bytes.slice(0, at % (bytes.length + 1)),
  ),
  fc.record({ at: position, value: interesting }).map(({ at, value }): Mutation => (bytes) => {
    const copy = bytes.slice();
    if (copy.length >= 8) new DataView(copy.buffer).setBigUint64(at % (copy.length - 7), value, true);
    return copy;
  }),
  fc.record({ at: position, value: fc.nat(0xffff_ffff) }).map(({ at, value }): Mutation => (bytes) => {
    const copy = bytes.slice();
    if (copy.length >= 4) new DataView(copy.buffer).setUint32(at % (copy.length - 3), value, true);
    return copy;
  }),
  // A splice: some bytes of the file inserted elsewhere, which may double a key or a tensor.
  fc
    .record({ from: position, length: fc.nat(300), to: position })
    .map(({ from, length, to }): Mutation => (bytes) => {
      const start = from % (bytes.length + 1);
      const at = to % (bytes.length + 1);
      return concat(bytes.subarray(0, at), bytes.subarray(start, start + length), bytes.subarray(at));
    }),
  fc.record({ at: position, length: fc.nat(300) }).map(({ at, length }): Mutation => (bytes) => {
    const start = at % (bytes.length + 1);
    return concat(bytes.subarray(0, start), bytes.subarray(start + length));
  }),
  fc
    .record({ at: position, text: fc.string({ unit: 'binary', maxLength: 20 }) })
    .map(({ at, text }): Mutation => (bytes) => {
      const start = at % (bytes.length + 1);
      return concat(bytes.subarray(0, start), Buffer.from(text), bytes.subarray(start));
    }),
);

function concat(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Opens, and uses everything that there is. */
async function readAll(
  bytes: Uint8Array,
  open: (source: RandomAccessSource) => Promise<Weights>,
): Promise<'loaded' | 'refused'> {
  const source = bytesSource(bytes, 'mutant');
  let asked = 0;
  const counting: RandomAccessSource = {
    ...source,
    read(target, at) {
      asked += target.byteLength;
      return source.read(target, at);
    },
  };
  let result: 'loaded' | 'refused' = 'loaded';
  const before = memory();
  const start = performance.now();
  try {
    const weights = await open(counting);
    for (const [, entry] of weights.metadata.entries())
      refusable(() => (entry.type === 'array' ? entry.values : 0));
    for (const { name, byteLength } of weights.tensors) {
      expect(await weights.readTensor(name)).toHaveLength(byteLength);
    }
    expect(asked).toBeLessThanOrEqual(askedMax(bytes.length));
    for (const { name, dtype } of weights.tensors) {
      if (dtype !== undefined) await weights.decodeTensor(name);
    }
    await weights.close();
  } catch (error) {
    requireFormat(error);
    result = 'refused';
  }
  expect(performance.now() - start).toBeLessThan(limitMs);
  expect(memory() - before).toBeLessThan(memoryGrowthMax);
  return result;
}

function memory(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Array elements are validated when they are asked for. */
function refusable(decode: () => unknown): void {
  try {
    decode();
  } catch (error) {
    requireFormat(error);
  }
}

function requireFormat(error: unknown): void {
  if (!isUnicornError(error) || error.family !== 'format') throw error;
  expect(error.fields).toMatchObject({
    file: 'mutant',
    field: expect.any(String),
    offset: expect.any(Number),
  });
}

describe.each([
  ['tiny.gguf', openGguf],
  ['malformed/legal-empty-array.gguf', openGguf],
  ['tiny.safetensors', openSafetensors],
  ['malformed/legal-escaped-name.safetensors', openSafetensors],
])('%s', (name, open) => {
  const original = goldenBytes(name);

  it('mutated: loads or is refused', async () => {
    const results = { loaded: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), async (mutations) => {
        const bytes = mutations.reduce((current, mutate) => mutate(current), original);
        results[await readAll(bytes, open)]++;
      }),
      { numRuns: runs },
    );
    // The mutations are neither all harmless nor all fatal.
    expect(results.refused).toBeGreaterThan(runs / 20);
    expect(results.loaded).toBeGreaterThan(0);
  });

  it('cut anywhere: loads only when nothing is missing', async () => {
    expect(await readAll(original, open)).toBe('loaded');
    for (let length = 0; length < original.length; length += length < 3000 ? 1 : 97) {
      expect(await readAll(original.slice(0, length), open), `${length} bytes`).toBe('refused');
    }
  });
});
