/**
 * The header of GGUF files of versions 2 and 3, little endian, read by position: metadata and tensor table. It is
 * validated as a whole before anything is returned: every extent lies in the file, no two tensors share a byte, sizes
 * cannot overflow.
 */
import { quote } from '../file/format-error.js';
import {
  GGUF_ARRAY,
  GGUF_DEFAULT_ALIGNMENT,
  GGUF_MAGIC,
  ggufScalarTypes,
  ggufTensorType,
  refusedTensorType,
} from './type.js';
import { type HeaderCursor, parseHeader } from './header-cursor.js';
import {
  GGUF_HEADER_BYTES_MAX,
  GGUF_RANK_MAX,
  METADATA_ARRAY_MAX,
  METADATA_KEYS_MAX,
  NAME_BYTES_MAX,
  TENSORS_MAX,
} from '../limit.js';
import {
  MetadataArray,
  type MetadataEntry,
  metadataElementBytes,
  type MetadataScalarType,
  readNumber,
} from '../metadata.js';
import type { RandomAccessSource } from '../file/random-access-source.js';
import type { TensorInfo } from '../tensor-info.js';

export interface GgufHeader {
  readonly version: 2 | 3;
  readonly alignment: number;
  readonly metadata: ReadonlyMap<string, MetadataEntry | MetadataArray>;
  readonly tensors: readonly TensorInfo[];
}

/**
 * Reads the header of a file; arrays in it stay packed until asked for.
 *
 * @throws UnicornError `format/...` when it is malformed (fields `file`, `field`, `offset`), `usage/file` when it cannot be
 *   read
 */
export function readGgufHeader(source: RandomAccessSource): Promise<GgufHeader> {
  return parseHeader(source, GGUF_HEADER_BYTES_MAX, (cursor) => parseGguf(cursor, source.path));
}

/** A key of length 0 (8 bytes of length), its type, one byte of value. */
const MIN_PAIR_BYTES = 8 + 4 + 1;
/** A name of length 0, no dimensions, type, offset. */
const MIN_TENSOR_BYTES = 8 + 4 + 4 + 8;

function parseGguf(cursor: HeaderCursor, path: string): GgufHeader {
  const version = parseVersion(cursor);
  const tensorCount = cursor.count('tensor count', MIN_TENSOR_BYTES, TENSORS_MAX);
  const keyCount = cursor.count('metadata count', MIN_PAIR_BYTES, METADATA_KEYS_MAX);
  const { entries: metadata, offsets } = parseMetadata(cursor, keyCount);
  const alignment = alignmentOf(metadata, offsets, cursor);
  requireArchitectureText(metadata, offsets, cursor);
  const tensors = parseTensors(cursor, tensorCount, alignment, path);
  return { version, alignment, metadata, tensors };
}

function parseVersion(cursor: HeaderCursor): 2 | 3 {
  if (cursor.u32('magic') !== GGUF_MAGIC) {
    throw cursor.error('magic', 'magic', 'a GGUF file begins with "GGUF", this one does not', 0);
  }
  const version = cursor.u32('version');
  if (version === 2 || version === 3) return version;
  // A small number in the upper bytes is a small number in the other byte order.
  const bigEndian = version !== 0 && (version & 0xffff) === 0;
  throw cursor.error(
    'version',
    'version',
    bigEndian
      ? 'the file is big endian, only little-endian files can be read'
      : `version ${version} is not supported, only 2 and 3 are`,
    4,
    version === 1 || bigEndian ? 'Convert the model again with a current converter.' : undefined,
  );
}

function parseMetadata(cursor: HeaderCursor, count: number) {
  const entries = new Map<string, MetadataEntry | MetadataArray>();
  /** Where each value begins, for errors that are found later. */
  const offsets = new Map<string, number>();
  for (let i = 0; i < count; i++) {
    const start = cursor.position;
    const key = cursor.string(`metadata key ${i}`, NAME_BYTES_MAX);
    if (entries.has(key)) {
      throw cursor.error('duplicate', `metadata key ${i}`, `the key ${quote(key)} appears twice`, start);
    }
    const type = cursor.u32(`type of metadata ${quote(key)}`);
    offsets.set(key, cursor.position);
    entries.set(key, type === GGUF_ARRAY ? parseArray(cursor, key) : parseScalar(cursor, key, type));
  }
  return { entries, offsets };
}

function parseScalar(cursor: HeaderCursor, key: string, typeId: number): MetadataEntry {
  const field = `metadata ${quote(key)}`;
  const type = scalarType(cursor, typeId, `type of ${field}`);
  if (type === 'string') return { type, value: cursor.string(field, GGUF_HEADER_BYTES_MAX) };
  const at = cursor.take(metadataElementBytes[type], field);
  if (type !== 'bool') return { type, value: readNumber(cursor.view(), at, type) };
  const byte = cursor.bytes[at]!;
  if (byte > 1) throw cursor.error('bool', field, `a bool is 0 or 1, not ${byte}`, at);
  return { type, value: byte === 1 };
}

function parseArray(cursor: HeaderCursor, key: string): MetadataArray {
  const field = `metadata ${quote(key)}`;
  const typeId = cursor.u32(`element type of ${field}`);
  if (typeId === GGUF_ARRAY) {
    throw cursor.error(
      'nested-array',
      `element type of ${field}`,
      'arrays of arrays are not supported',
      cursor.position - 4,
    );
  }
  const elementType = scalarType(cursor, typeId, `element type of ${field}`);
  // A string takes at least the 8 bytes of its length.
  const elementBytes = elementType === 'string' ? 8 : metadataElementBytes[elementType];
  const length = cursor.count(`array length of ${field}`, elementBytes, METADATA_ARRAY_MAX);
  const start = cursor.position;
  if (elementType === 'string') cursor.skipStrings(length, field);
  else cursor.take(length * elementBytes, field);
  // A copy: the header's buffer, up to four times as long, need not outlive the header.
  return new MetadataArray(elementType, length, cursor.bytes.slice(start, cursor.position), {
    file: cursor.file,
    field: key,
    offset: start,
  });
}

function scalarType(cursor: HeaderCursor, typeId: number, field: string): MetadataScalarType {
  const type = ggufScalarTypes[typeId];
  if (type === undefined) {
    throw cursor.error('value-type', field, `there is no value type ${typeId}`, cursor.position - 4);
  }
  return type;
}

type Entries = ReadonlyMap<string, MetadataEntry | MetadataArray>;

function alignmentOf(metadata: Entries, offsets: ReadonlyMap<string, number>, cursor: HeaderCursor): number {
  const key = 'general.alignment';
  const entry = metadata.get(key);
  if (entry === undefined) return GGUF_DEFAULT_ALIGNMENT;
  if (entry.type === 'u32') {
    const alignment = Number(entry.value);
    if (alignment !== 0 && (alignment & (alignment - 1)) === 0) return alignment;
  }
  const found = entry.type === 'u32' ? String(entry.value) : `of type ${entry.type}`;
  throw cursor.error(
    'alignment',
    `metadata "${key}"`,
    `the alignment must be a power of two of type u32, it is ${found}`,
    offsets.get(key),
  );
}

function requireArchitectureText(
  metadata: Entries,
  offsets: ReadonlyMap<string, number>,
  cursor: HeaderCursor,
): void {
  const key = 'general.architecture';
  const entry = metadata.get(key);
  if (entry === undefined || entry.type === 'string') return;
  throw cursor.error(
    'metadata-type',
    `metadata "${key}"`,
    `the architecture must be a string, it is of type ${entry.type}`,
    offsets.get(key),
  );
}

function parseTensors(
  cursor: HeaderCursor,
  count: number,
  alignment: number,
  path: string,
): readonly TensorInfo[] {
  const tensors: (TensorInfo & { readonly described: number })[] = [];
  const names = new Set<string>();
  for (let i = 0; i < count; i++) {
    const described = cursor.position;
    const tensor = parseTensor(cursor, i, alignment);
    if (names.has(tensor.name)) {
      throw cursor.error(
        'duplicate',
        `tensor ${i} name`,
        `the tensor ${quote(tensor.name)} appears twice`,
        described,
      );
    }
    names.add(tensor.name);
    tensors.push({ ...tensor, path, described });
  }

  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  const placed = tensors.map((tensor) => ({ ...tensor, offset: dataStart + tensor.offset }));
  for (const { name, offset, byteLength, described } of placed) {
    if (offset + byteLength > cursor.fileBytes) {
      throw cursor.error(
        'truncated',
        `data of tensor ${quote(name)}`,
        `${byteLength} bytes from ${offset} on go beyond the end of the file at ${cursor.fileBytes}`,
        described,
      );
    }
  }
  const inStorageOrder = [...placed].sort((a, b) => a.offset - b.offset);
  inStorageOrder.forEach((tensor, i) => {
    const before = inStorageOrder[i - 1];
    if (before !== undefined && before.offset + before.byteLength > tensor.offset) {
      throw cursor.error(
        'overlap',
        `offset of tensor ${quote(tensor.name)}`,
        `its data at ${tensor.offset} overlaps that of ${quote(before.name)}`,
        tensor.described,
      );
    }
  });
  return placed.map(({ described: _, ...tensor }) => tensor);
}

/** One row of the tensor table; `offset` is still relative to the tensor data. */
function parseTensor(cursor: HeaderCursor, index: number, alignment: number): Omit<TensorInfo, 'path'> {
  const name = cursor.string(`tensor ${index} name`, NAME_BYTES_MAX);
  const field = `tensor ${quote(name)}`;
  const rank = cursor.u32(`dimension count of ${field}`);
  if (rank > GGUF_RANK_MAX) {
    throw cursor.error(
      'dimension',
      `dimension count of ${field}`,
      `${rank} dimensions are more than the ${GGUF_RANK_MAX} of the format`,
      cursor.position - 4,
    );
  }
  const dimsOffset = cursor.position;
  /** Fastest first, as the file has them. */
  const dims: number[] = [];
  let elements = 1;
  for (let i = 0; i < rank; i++) {
    const start = cursor.position;
    const dim = cursor.size(`dimension ${i} of ${field}`);
    if (dim === 0)
      throw cursor.error('dimension', `dimension ${i} of ${field}`, 'a dimension is zero', start);
    elements *= dim;
    if (!Number.isSafeInteger(elements)) {
      throw cursor.error(
        'dimension',
        `dimension ${i} of ${field}`,
        'the dimensions multiply beyond any size',
        start,
      );
    }
    dims.push(dim);
  }

  const typeOffset = cursor.position;
  const typeId = cursor.u32(`type of ${field}`);
  const type = ggufTensorType(typeId);
  if (type === undefined) {
    throw cursor.error(
      'tensor-type',
      `type of ${field}`,
      `tensor type ${typeId} is ${refusedTensorType(typeId)}`,
      typeOffset,
    );
  }
  const row = dims[0] ?? 1;
  if (row % type.blockSize !== 0) {
    throw cursor.error(
      'block-size',
      `dimension 0 of ${field}`,
      `rows of ${row} elements are not a multiple of the ${type.name} block of ${type.blockSize}`,
      dimsOffset,
    );
  }
  const byteLength = (elements / type.blockSize) * type.blockBytes;
  if (!Number.isSafeInteger(byteLength)) {
    throw cursor.error(
      'dimension',
      `dimensions of ${field}`,
      'its size in bytes is beyond any file',
      dimsOffset,
    );
  }

  const offsetAt = cursor.position;
  const offset = cursor.size(`offset of ${field}`);
  if (offset % alignment !== 0) {
    throw cursor.error(
      'alignment',
      `offset of ${field}`,
      `${offset} is not a multiple of the alignment ${alignment}`,
      offsetAt,
    );
  }
  return { name, dtype: type.dtype, fileType: type.name, shape: dims.reverse(), offset, byteLength };
}
