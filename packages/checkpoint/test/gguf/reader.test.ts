import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  bytesSource,
  type GgufFile,
  MetadataArray,
  openGguf,
  openSafetensors,
  writeGguf,
} from '../../src/index.js';
import { golden, goldenBytes, refusal, sha256, temporaryDirectory } from '../support.js';

interface TinyTensor {
  name: string;
  type: string;
  ggml_dims: number[];
  bytes: number;
  file_offset: number;
  sha256: string;
}

// The two 64-bit extremes lose digits in JSON.parse: quote them first.
const tiny = JSON.parse(
  readFileSync(golden('tiny.gguf.json'), 'utf8').replace(
    /(18446744073709551615|-9223372036854775808)/g,
    '"$1n"',
  ),
) as {
  version: number;
  alignment: number;
  metadata: Record<string, [string, unknown]>;
  tensors: TinyTensor[];
};

async function withTiny(check: (file: GgufFile) => Promise<void> | void): Promise<void> {
  const file = await openGguf(golden('tiny.gguf'));
  try {
    await check(file);
  } finally {
    await file.close();
  }
}

describe('tiny.gguf', () => {
  it('has every metadata value with its type', () =>
    withTiny((file) => {
      expect([...file.metadata.keys()]).toEqual(Object.keys(tiny.metadata));
      for (const [key, [type, value]] of Object.entries(tiny.metadata)) {
        const found = file.metadata.get(key);
        const expected =
          typeof value === 'string' && /^-?\d+n$/.test(value) ? BigInt(value.slice(0, -1)) : value;
        if (type === 'arr') {
          expect(found).toBeInstanceOf(MetadataArray);
          expect((found as MetadataArray).values).toEqual(expected);
          expect((found as MetadataArray).length).toBe((expected as unknown[]).length);
        } else if (type === 'f32') {
          expect(found).toBe(Math.fround(expected as number));
        } else {
          expect(found).toBe(expected);
        }
        expect(file.metadata.type(key)).toBe({ str: 'string', arr: 'array' }[type] ?? type);
      }
    }));

  it('has the version, the alignment and the length of the file', () =>
    withTiny((file) => {
      const { format, version, alignment, byteLength, path } = file;
      expect({ format, version, alignment, byteLength, path }).toEqual({
        format: 'gguf',
        version: tiny.version,
        alignment: tiny.alignment,
        byteLength: statSync(golden('tiny.gguf')).size,
        path: golden('tiny.gguf'),
      });
    }));

  it('lists every tensor with its type, shape, place and bytes', () =>
    withTiny(async (file) => {
      expect(file.tensors).toEqual(
        tiny.tensors.map(({ name, type, ggml_dims, bytes, file_offset }) => ({
          name,
          dtype: type.toLowerCase(),
          fileType: type,
          shape: [...ggml_dims].reverse(),
          path: golden('tiny.gguf'),
          offset: file_offset,
          byteLength: bytes,
        })),
      );
      for (const { name, sha256: digest } of tiny.tensors) {
        expect(sha256(await file.readTensor(name)), name).toBe(digest);
      }
    }));

  it('decodes every tensor', () =>
    withTiny(async (file) => {
      const values = await openSafetensors(golden('tiny.gguf.values.safetensors'));
      expect(values.tensors).toHaveLength(file.tensors.length);
      for (const { name } of file.tensors) {
        expect(await file.decodeTensor(name), name).toEqual(await values.decodeTensor(name));
      }
      await values.close();
    }));

  it('has typed getters that name the file and the key', () =>
    withTiny(async ({ metadata, path }) => {
      expect(metadata.string('general.architecture')).toBe('llama');
      expect(metadata.number('llama.block_count')).toBe(1);
      expect(metadata.boolean('test.true')).toBe(true);
      expect(metadata.strings('tokenizer.ggml.tokens')).toHaveLength(11);
      expect(metadata.numbers('test.list.i32')).toEqual([-1, 0, 1, 2147483647]);
      expect(metadata.booleans('test.list.bool')).toEqual([true, false, true]);
      const { count, bytes } = metadata.packedStrings('tokenizer.ggml.tokens');
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const lengths: number[] = [];
      for (let at = 0; at < bytes.length; at += 8 + lengths.at(-1)!)
        lengths.push(Number(view.getBigUint64(at, true)));
      expect(count).toBe(11);
      expect(lengths).toEqual(
        metadata.strings('tokenizer.ggml.tokens').map((text) => Buffer.byteLength(text)),
      );
      expect(metadata.string('absent', undefined)).toBeUndefined();
      expect(metadata.number('absent', 7)).toBe(7);

      const wrong: [() => unknown, string, string][] = [
        [() => metadata.string('absent'), 'format/metadata-missing', 'absent'],
        [() => metadata.string('llama.block_count', 'x'), 'format/metadata-type', 'llama.block_count'],
        [() => metadata.number('general.architecture'), 'format/metadata-type', 'general.architecture'],
        [() => metadata.number('test.true'), 'format/metadata-type', 'test.true'],
        [() => metadata.number('test.u64'), 'format/number-range', 'test.u64'],
        [() => metadata.boolean('test.u8'), 'format/metadata-type', 'test.u8'],
        [() => metadata.strings('general.architecture'), 'format/metadata-type', 'general.architecture'],
        [() => metadata.strings('test.list.i32'), 'format/metadata-type', 'test.list.i32'],
        [() => metadata.packedStrings('test.list.i32'), 'format/metadata-type', 'test.list.i32'],
        [() => metadata.numbers('tokenizer.ggml.tokens'), 'format/metadata-type', 'tokenizer.ggml.tokens'],
        [() => metadata.booleans('test.list.f32'), 'format/metadata-type', 'test.list.f32'],
      ];
      for (const [run, code, key] of wrong) {
        const error = await refusal(run);
        expect(error.code).toBe(code);
        expect(error.fields).toMatchObject({ file: path, field: key });
        expect(error.message).toContain(path);
        expect(error.message).toContain(key);
      }
    }));

  it('closes twice, and says so when it is read afterwards', async () => {
    const file = await openGguf(golden('tiny.gguf'));
    await file.close();
    await file.close();
    expect((await refusal(() => file.readTensor('test.odd'))).code).toBe('usage/closed');
  });

  it('refuses unknown tensors', () =>
    withTiny(async (file) => {
      expect(file.tensor('nobody')).toBeUndefined();
      expect((await refusal(() => file.readTensor('nobody'))).code).toBe('usage/unknown-tensor');
    }));
});

it('reads from memory too', async () => {
  const file = await openGguf(bytesSource(goldenBytes('tiny.gguf'), 'tiny'));
  expect(file.tensors).toHaveLength(tiny.tensors.length);
  expect(sha256(await file.readTensor('test.q6_k'))).toBe(
    tiny.tensors.find((tensor) => tensor.name === 'test.q6_k')!.sha256,
  );
});

it('notices a file that shrank after it was opened', async () => {
  const whole = bytesSource(goldenBytes('tiny.gguf'), 'tiny');
  let cut = false;
  const file = await openGguf({
    ...whole,
    read: (target, position) =>
      cut && position > 10_000 ? Promise.resolve(0) : whole.read(target, position),
  });
  cut = true;
  expect((await refusal(() => file.readTensor('test.f64'))).code).toBe('format/truncated');
});

it('explains missing files and directories', async () => {
  expect((await refusal(() => openGguf(golden('nothing.gguf')))).code).toBe('usage/file');
  expect((await refusal(() => openGguf(golden('')))).code).toBe('usage/file');
  expect((await refusal(() => openGguf('/dev/null'))).code).toBe('usage/file');
});

it('lists types that it knows only by size, and reads their bytes', async () => {
  const path = join(await temporaryDirectory(), 'x.gguf');
  await writeGguf(path, {
    metadata: [],
    tensors: [{ name: 'binary', dtype: 'i8', shape: [128], data: new Uint8Array(128).fill(3) }],
  });
  const bytes = new Uint8Array(readFileSync(path));
  // The type follows the name, one dimension count and one dimension.
  const type = Buffer.from(bytes.buffer).indexOf('binary') + 6 + 4 + 8;
  new DataView(bytes.buffer).setUint32(type, 41, true);
  const file = await openGguf(bytesSource(bytes, 'x'));
  expect(file.tensors[0]).toMatchObject({ dtype: undefined, fileType: 'Q1_0', shape: [128], byteLength: 18 });
  expect(await file.readTensor('binary')).toEqual(new Uint8Array(18).fill(3));
  expect((await refusal(() => file.decodeTensor('binary'))).code).toBe('unsupported/dtype');
});
