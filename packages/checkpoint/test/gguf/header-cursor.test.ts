import { join } from 'node:path';
import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { bytesSource, openGguf, type RandomAccessSource, writeGguf } from '../../src/index.js';
import { GGUF_HEADER_BYTES_MAX } from '../../src/limit.js';
import { expectFormatError, refusal, temporaryDirectory } from '../support.js';

const vocabulary = 262_144;
const tokens = Array.from({ length: vocabulary }, (_, i) => `token number ${i} é`);

/** A header with a large vocabulary, and its only tensor: a row of 2^30 f32 that is not stored anywhere. */
async function largeHeader(): Promise<Uint8Array> {
  const path = join(await temporaryDirectory(), 'large.gguf');
  await writeGguf(path, {
    metadata: [
      ['general.architecture', { type: 'string', value: 'test' }],
      ['tokens', { type: 'array', elementType: 'string', values: tokens }],
      ['scores', { type: 'array', elementType: 'f32', values: new Float32Array(vocabulary).fill(-1.5) }],
      ['last', { type: 'u32', value: 7 }],
    ],
    tensors: [{ name: 'weight', dtype: 'f32', shape: [1], data: new Uint8Array(4) }],
  });
  const bytes = new Uint8Array(await readFile(path));
  const name = Buffer.from(bytes.buffer).lastIndexOf('weight');
  new DataView(bytes.buffer).setBigUint64(name + 6 + 4, 2n ** 30n, true);
  return bytes;
}

it('opens 4 GB with a large vocabulary by reading little more than the header', async () => {
  const bytes = await largeHeader();
  let asked = 0;
  const source: RandomAccessSource = {
    ...bytesSource(bytes, 'large'),
    byteLength: bytes.length + 4 * 2 ** 30,
    read(target, position) {
      asked += target.byteLength;
      target.fill(0);
      target.set(bytes.subarray(position, position + target.byteLength));
      return Promise.resolve(target.byteLength);
    },
  };
  const start = performance.now();
  const file = await openGguf(source);
  const openMs = performance.now() - start;
  expect(file.tensors[0]).toMatchObject({ name: 'weight', shape: [2 ** 30], byteLength: 2 ** 32 });
  expect(asked).toBeLessThanOrEqual(4 * bytes.length);
  // Some 20 ms on a small machine: a bound against decoding the arrays or reading the tensor, not a measurement.
  expect(openMs).toBeLessThan(1000);
  expect(file.metadata.number('last')).toBe(7);
  expect(file.metadata.strings('tokens')).toEqual(tokens);
  expect(file.metadata.numbers('scores').every((score) => score === -1.5)).toBe(true);
});

it('refuses a header that goes on beyond its limit, before reading that much', async () => {
  const bytes = await largeHeader();
  // The first string now claims more than the limit, and the file is long enough for it.
  const first = Buffer.from(bytes.buffer).indexOf('token number 0');
  new DataView(bytes.buffer).setBigUint64(first - 8, BigInt(GGUF_HEADER_BYTES_MAX) + 1n, true);
  let asked = 0;
  const error = await refusal(() =>
    openGguf({
      ...bytesSource(bytes, 'hostile'),
      byteLength: 2 ** 40,
      read(target) {
        asked += target.byteLength;
        target.set(bytes.subarray(0, target.byteLength));
        return Promise.resolve(target.byteLength);
      },
    }),
  );
  expectFormatError(error, 'hostile');
  expect(error.code).toBe('format/header-size');
  expect(asked).toBeLessThan(2 ** 20);
});
