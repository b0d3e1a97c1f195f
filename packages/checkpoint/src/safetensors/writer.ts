/** One safetensors file, written front to back and put in place whole. */
import { type DType, dtypeLayout, tensorBytes, UnicornError, writeAtomically } from '@unicorn-exec/tensor';
import { quote } from '../file/format-error.js';
import { SAFETENSORS_HEADER_BYTES_MAX, SAFETENSORS_RANK_MAX, TENSORS_MAX } from '../limit.js';
import { safetensorsTypeName } from './type.js';
import { type TensorData, writeTensorData } from '../tensor-data.js';
import { encodeUtf8 } from '../file/utf8.js';

export interface SafetensorsTensor {
  readonly name: string;
  /** A scalar dtype: the format has no block formats. */
  readonly dtype: DType;
  /** Row-major, slowest first; `[]` is a scalar, and dimensions may be zero. */
  readonly shape: readonly number[];
  /** Little endian. */
  readonly data: TensorData;
}

/** Blanks pad the header to this, so that the data begins at a multiple of the widest element. */
const HEADER_ALIGNMENT = 8;

/**
 * Writes a safetensors file atomically. Tensors are stored with wide elements first and otherwise in the given order,
 * so that each is aligned to its elements; data functions are called in that order.
 *
 * @throws UnicornError `usage/tensor`, `usage/tensor-data` for content that the format cannot hold,
 *   `unsupported/dtype`; `usage/file` and `resource/disk` from the file system.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly SafetensorsTensor[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const stored = [...tensors].sort(
    (a, b) => dtypeLayout(b.dtype).blockBytes - dtypeLayout(a.dtype).blockBytes,
  );
  const header = encodeHeader(stored, metadata);
  await writeAtomically(path, async (file) => {
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
    await file.write(length);
    await file.write(header);
    for (const { name, dtype, shape, data } of stored) {
      await writeTensorData(file, name, tensorBytes(dtype, shape), data);
    }
  });
}

function encodeHeader(
  tensors: readonly SafetensorsTensor[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  if (tensors.length > TENSORS_MAX)
    throw tensorError('', `${tensors.length} tensors are over the limit of ${TENSORS_MAX}`);
  const names = new Set(['__metadata__']);
  const members: string[] = [];
  const pairs = Object.entries(metadata);
  for (const [key, value] of pairs) {
    if (typeof value !== 'string') {
      throw new UnicornError('usage/metadata', `Metadata ${quote(key)} must be a string.`, {
        fields: { key },
        fix: 'Write its value as text, for example by JSON.stringify.',
      });
    }
  }
  if (pairs.length > 0) members.push(`"__metadata__":${JSON.stringify(metadata)}`);
  let begin = 0;
  for (const { name, dtype, shape } of tensors) {
    const type = safetensorsTypeName(dtype);
    if (type === undefined) {
      throw new UnicornError(
        'unsupported/dtype',
        `Tensor ${quote(name)} is ${dtype}, a type that safetensors does not have.`,
        { fields: { tensor: name, dtype }, fix: 'Decode it to f32, or write GGUF.' },
      );
    }
    if (names.has(name))
      throw tensorError(name, name === '__metadata__' ? 'has a reserved name' : 'is given twice');
    names.add(name);
    if (shape.length > SAFETENSORS_RANK_MAX || !shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) {
      throw tensorError(name, `has the shape [${shape.join(', ')}]; dimensions are whole and not negative`);
    }
    const end = begin + tensorBytes(dtype, shape);
    members.push(
      `${JSON.stringify(name)}:${JSON.stringify({ dtype: type, shape, data_offsets: [begin, end] })}`,
    );
    begin = end;
  }
  // JSON.stringify writes half a surrogate pair as an escape, which readers refuse: check the names, not the text.
  for (const text of [...names, ...pairs.flat()]) {
    if (encodeUtf8(text) === undefined)
      throw tensorError(text, 'has a name or metadata that is not well-formed text');
  }
  const text = Buffer.from(`{${members.join(',')}}`);
  const padded = Buffer.alloc(Math.ceil(text.length / HEADER_ALIGNMENT) * HEADER_ALIGNMENT, ' ');
  padded.set(text);
  if (padded.length > SAFETENSORS_HEADER_BYTES_MAX) {
    throw tensorError('', `make a header of ${padded.length} bytes, over the format's limit`);
  }
  return padded;
}

function tensorError(name: string, what: string): UnicornError {
  return new UnicornError('usage/tensor', `Tensor ${quote(name)} ${what}.`, {
    fields: { tensor: name },
  });
}
