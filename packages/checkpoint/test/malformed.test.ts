import { UnicornError } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { openGguf, openSafetensors, openWeights, type Weights } from '../src/index.js';
import { expectFormatError, golden, goldenBytes, goldenJson, refusal, sha256 } from './support.js';

interface LegalTensor {
  name: string;
  type: string;
  /** GGUF: fastest first. */
  ggml_dims?: number[];
  /** safetensors: slowest first. */
  shape?: number[];
  file_offset?: number;
  sha256: string;
}

const expected = goldenJson<{
  reject: Record<string, string>;
  legal: Record<string, string>;
  either: Record<string, string>;
  legal_tensors: Record<string, Record<string, LegalTensor>>;
}>('malformed/expected.json');

function open(name: string): Promise<Weights> {
  const path = golden(`malformed/${name}`);
  return name.endsWith('.gguf') ? openGguf(path) : openSafetensors(path);
}

/** Far above what any of these takes (a few milliseconds), far below a hang. */
const limitMs = 1000;

describe('rejected', () => {
  it.each(Object.entries(expected.reject))('%s: %s', async (name) => {
    const path = golden(`malformed/${name}`);
    const start = performance.now();
    expectFormatError(await refusal(() => open(name)), path);
    expectFormatError(await refusal(() => openWeights(path)), path);
    expect(performance.now() - start).toBeLessThan(limitMs);
  });
});

describe('legal', () => {
  it.each(Object.entries(expected.legal))('%s: %s', async (name) => {
    for (const file of [await open(name), await openWeights(golden(`malformed/${name}`))]) {
      const tensors = Object.values(expected.legal_tensors[name]!);
      expect(file.tensors.map((tensor) => tensor.name).sort()).toEqual(
        tensors.map((tensor) => tensor.name).sort(),
      );
      for (const tensor of tensors) {
        const info = file.tensor(tensor.name)!;
        expect(info.fileType).toBe(tensor.type);
        expect(info.shape).toEqual(tensor.shape ?? [...tensor.ggml_dims!].reverse());
        if (tensor.file_offset !== undefined) expect(info.offset).toBe(tensor.file_offset);
        expect(sha256(await file.readTensor(tensor.name))).toBe(tensor.sha256);
      }
      await file.close();
    }
  });
});

/** Our choice for each of the files that a reader may take or leave. */
const choices: Record<string, 'loads' | `format/${string}`> = {
  'either-big-endian.gguf': 'format/version',
  'either-version-1.gguf': 'format/version',
  'either-nested-2.gguf': 'format/nested-array',
  'either-empty-key.gguf': 'loads',
  'either-name-70.gguf': 'loads',
  'either-zero-dims.gguf': 'loads',
  'either-hole.gguf': 'loads',
  'either-offsets-descending.gguf': 'loads',
  'either-no-architecture.gguf': 'loads',
  'either-string-not-utf8.gguf': 'format/utf8',
  'either-starts-with-space.safetensors': 'loads',
  'either-extra-field.safetensors': 'format/unknown-field',
  'either-empty-name.safetensors': 'loads',
};

describe('legal or not', () => {
  it('is decided for every file', () => {
    expect(Object.keys(choices).sort()).toEqual(Object.keys(expected.either).sort());
  });

  it.each(Object.entries(choices))('%s: %s', async (name, choice) => {
    if (choice !== 'loads') {
      const error = await refusal(() => open(name));
      expect(error.code).toBe(choice);
      expectFormatError(error, golden(`malformed/${name}`));
      return;
    }
    const file = await open(name);
    for (const { name: tensor, byteLength } of file.tensors) {
      expect(await file.readTensor(tensor)).toHaveLength(byteLength);
      await file.decodeTensor(tensor);
    }
    for (const [, entry] of file.metadata.entries()) {
      if (entry.type === 'array') expect(entry.values).toBeDefined();
    }
    await file.close();
  });

  it('finds tensors that lie in the reverse order of their descriptions', async () => {
    const file = await open('either-offsets-descending.gguf');
    const [first, second] = file.tensors;
    expect(first!.offset).toBe(second!.offset + second!.byteLength);
    const bytes = goldenBytes('malformed/either-offsets-descending.gguf');
    expect(await file.readTensor(first!.name)).toEqual(
      bytes.slice(first!.offset, first!.offset + first!.byteLength),
    );
    await file.close();
  });
});

it('is an error that other copies of the package recognize', async () => {
  const error = await refusal(() => open('bad-magic.gguf'));
  expect(error).toBeInstanceOf(UnicornError);
  expect(error.toJSON()).toMatchObject({ code: 'format/magic', fields: { field: 'magic', offset: 0 } });
});
