/** GGUF version 3, little endian, written front to back and put in place whole. */
import { type DType, dtypeLayout, tensorBytes, UnicornError, writeAtomically } from '@unicorn-exec/tensor';
import { quote } from '../file/format-error.js';
import { GGUF_ARRAY, GGUF_DEFAULT_ALIGNMENT, GGUF_MAGIC, ggufScalarTypes, ggufTypeId } from './type.js';
import {
  GGUF_RANK_MAX,
  METADATA_ARRAY_MAX,
  METADATA_KEYS_MAX,
  NAME_BYTES_MAX,
  TENSORS_MAX,
} from '../limit.js';
import { metadataElementBytes, type MetadataEntry, type MetadataScalarType } from '../metadata.js';
import { type TensorData, writeTensorData } from '../tensor-data.js';
import { encodeUtf8 } from '../file/utf8.js';

export interface GgufTensor {
  readonly name: string;
  readonly dtype: DType;
  /** Row-major, slowest first; one to four dimensions, none of them zero, rows of whole blocks. */
  readonly shape: readonly number[];
  /** Packed as the dtype says, little endian. */
  readonly data: TensorData;
}

export interface GgufContent {
  /** Typed values in file order; `metadata.entries()` of an opened file fits. */
  readonly metadata: Iterable<readonly [key: string, entry: MetadataEntry]>;
  /** In file order. */
  readonly tensors: readonly GgufTensor[];
  /** Alignment of tensor data, a power of two. Default: `general.alignment` of the metadata, else 32. */
  readonly alignment?: number;
}

/**
 * Writes a GGUF file atomically. The header is checked as a whole before the first byte is written.
 *
 * @throws UnicornError `usage/metadata`, `usage/tensor`, `usage/tensor-data` for content that the format
 *   cannot hold, `unsupported/dtype`; `usage/file` and `resource/disk` from the file system.
 */
export async function writeGguf(path: string, content: GgufContent): Promise<void> {
  const metadata = new Map<string, MetadataEntry>();
  for (const [key, entry] of content.metadata) {
    if (metadata.has(key)) throw metadataError(key, 'is given twice');
    metadata.set(key, entry);
  }
  const alignment = chooseAlignment(metadata, content.alignment);
  const header = encodeHeader(metadata, content.tensors, alignment);
  await writeAtomically(path, async (file) => {
    await file.write(header);
    // Also after the last tensor, and before the first: readers take the padded sizes for granted.
    await file.align(alignment);
    for (const { name, dtype, shape, data } of content.tensors) {
      await writeTensorData(file, name, tensorBytes(dtype, shape), data);
      await file.align(alignment);
    }
  });
}

/** Decides the alignment, and writes it into the metadata unless it is the default. */
function chooseAlignment(metadata: Map<string, MetadataEntry>, wanted: number | undefined): number {
  const key = 'general.alignment';
  const entry = metadata.get(key);
  const given = entry !== undefined && entry.type === 'u32' ? Number(entry.value) : undefined;
  const alignment = wanted ?? given ?? GGUF_DEFAULT_ALIGNMENT;
  const isPowerOfTwo = Number.isInteger(Math.log2(alignment)) && alignment >= 1 && alignment <= 2 ** 31;
  if (!isPowerOfTwo || (entry !== undefined && given === undefined)) {
    throw metadataError(key, 'must be a power of two of type u32');
  }
  if (entry !== undefined || alignment !== GGUF_DEFAULT_ALIGNMENT)
    metadata.set(key, { type: 'u32', value: alignment });
  return alignment;
}

function encodeHeader(
  metadata: ReadonlyMap<string, MetadataEntry>,
  tensors: readonly GgufTensor[],
  alignment: number,
): Uint8Array {
  const bytes = new ByteBuilder();
  bytes.number('u32', GGUF_MAGIC);
  bytes.number('u32', 3);
  if (tensors.length > TENSORS_MAX)
    throw tensorError('', `${tensors.length} tensors are over the limit of ${TENSORS_MAX}`);
  if (metadata.size > METADATA_KEYS_MAX) throw metadataError('', `has over ${METADATA_KEYS_MAX} keys`);
  bytes.number('u64', tensors.length);
  bytes.number('u64', metadata.size);
  for (const [key, entry] of metadata) encodeEntry(bytes, key, entry);

  const names = new Set<string>();
  let offset = 0;
  for (const { name, dtype, shape } of tensors) {
    if (names.has(name)) throw tensorError(name, 'is given twice');
    names.add(name);
    const byteLength = checkTensor(name, dtype, shape);
    bytes.string(name, () => tensorError(name, 'has a name that is not well-formed text'));
    bytes.number('u32', shape.length);
    for (const dim of [...shape].reverse()) bytes.number('u64', dim);
    bytes.number('u32', ggufTypeId(dtype)!);
    bytes.number('u64', offset);
    offset = Math.ceil((offset + byteLength) / alignment) * alignment;
  }
  return bytes.finish();
}

/** Bytes of the tensor, once it is certain that the format can hold it. */
function checkTensor(name: string, dtype: DType, shape: readonly number[]): number {
  if (ggufTypeId(dtype) === undefined) {
    throw new UnicornError(
      'unsupported/dtype',
      `Tensor ${quote(name)} is ${dtype}, a type that GGUF does not have.`,
      {
        fields: { tensor: name, dtype },
        fix: 'Decode it to f32, or encode it to a type that GGUF has.',
      },
    );
  }
  if (Buffer.byteLength(name) > NAME_BYTES_MAX) throw tensorError(name, 'has a name that is too long');
  if (shape.length < 1 || shape.length > GGUF_RANK_MAX) {
    throw tensorError(name, `has ${shape.length} dimensions; GGUF holds 1 to ${GGUF_RANK_MAX}`);
  }
  if (!shape.every((dim) => Number.isSafeInteger(dim) && dim > 0)) {
    throw tensorError(name, `has the shape [${shape.join(', ')}]; dimensions are whole and positive`);
  }
  const row = shape[shape.length - 1]!;
  const { blockSize } = dtypeLayout(dtype);
  if (row % blockSize !== 0) {
    throw tensorError(
      name,
      `has rows of ${row} elements, not a multiple of the ${dtype} block of ${blockSize}`,
    );
  }
  return tensorBytes(dtype, shape);
}

function encodeEntry(bytes: ByteBuilder, key: string, entry: MetadataEntry): void {
  if (Buffer.byteLength(key) > NAME_BYTES_MAX) throw metadataError(key, 'has a key that is too long');
  bytes.string(key, () => metadataError(key, 'has a key that is not well-formed text'));
  if (entry.type !== 'array') {
    bytes.number('u32', scalarTypeId(key, entry.type));
    encodeScalar(bytes, key, entry.type, entry.value);
    return;
  }
  const { elementType } = entry;
  const values = entry.values;
  if (values.length > METADATA_ARRAY_MAX) throw metadataError(key, `has over ${METADATA_ARRAY_MAX} elements`);
  bytes.number('u32', GGUF_ARRAY);
  bytes.number('u32', scalarTypeId(key, elementType));
  bytes.number('u64', values.length);
  for (let i = 0; i < values.length; i++) encodeScalar(bytes, key, elementType, values[i]);
}

function scalarTypeId(key: string, type: MetadataScalarType): number {
  const id = ggufScalarTypes.indexOf(type);
  if (id < 0) throw metadataError(key, `has the unknown type ${quote(String(type))}`);
  return id;
}

function encodeScalar(bytes: ByteBuilder, key: string, type: MetadataScalarType, value: unknown): void {
  if (type === 'string') {
    if (typeof value !== 'string') throw metadataError(key, 'must be a string');
    bytes.string(value, () => metadataError(key, 'is not well-formed text'));
  } else if (type === 'bool') {
    if (typeof value !== 'boolean') throw metadataError(key, 'must be a boolean');
    bytes.number('u8', value ? 1 : 0);
  } else if (type === 'f32' || type === 'f64') {
    if (typeof value !== 'number') throw metadataError(key, `must be a number, as ${type}`);
    bytes.number(type, value);
  } else {
    const integer = typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : value;
    const bits = 8 * metadataElementBytes[type];
    const wrapped =
      typeof integer === 'bigint' &&
      (type[0] === 'u' ? BigInt.asUintN(bits, integer) : BigInt.asIntN(bits, integer));
    if (typeof integer !== 'bigint' || wrapped !== integer)
      throw metadataError(key, `must be an integer that fits ${type}`);
    bytes.number(type, integer);
  }
}

function metadataError(key: string, what: string): UnicornError {
  return new UnicornError('usage/metadata', `Metadata ${quote(key)} ${what}.`, { fields: { key } });
}

function tensorError(name: string, what: string): UnicornError {
  return new UnicornError('usage/tensor', `Tensor ${quote(name)} ${what}.`, {
    fields: { tensor: name },
  });
}

/** A growing little-endian buffer. */
class ByteBuilder {
  #bytes = new Uint8Array(1 << 16);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  number(type: Exclude<MetadataScalarType, 'string' | 'bool'>, value: number | bigint): void {
    const at = this.#reserve(metadataElementBytes[type]);
    const view = this.#view;
    switch (type) {
      case 'u8':
        return view.setUint8(at, Number(value));
      case 'i8':
        return view.setInt8(at, Number(value));
      case 'u16':
        return view.setUint16(at, Number(value), true);
      case 'i16':
        return view.setInt16(at, Number(value), true);
      case 'u32':
        return view.setUint32(at, Number(value), true);
      case 'i32':
        return view.setInt32(at, Number(value), true);
      case 'u64':
        return view.setBigUint64(at, BigInt(value), true);
      case 'i64':
        return view.setBigInt64(at, BigInt(value), true);
      case 'f32':
        return view.setFloat32(at, Number(value), true);
      case 'f64':
        return view.setFloat64(at, Number(value), true);
    }
  }

  string(text: string, malformed: () => UnicornError): void {
    const encoded = encodeUtf8(text);
    if (encoded === undefined) throw malformed();
    this.number('u64', encoded.length);
    const at = this.#reserve(encoded.length);
    this.#bytes.set(encoded, at);
  }

  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.length));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }
}
