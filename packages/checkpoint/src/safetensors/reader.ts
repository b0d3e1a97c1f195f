/**
 * One safetensors file, read by position. The rules are those of the format's reference implementation: tensors cover
 * the data exactly, without holes, overlaps or a remainder. Files in shards are opened by `shard-index.ts`.
 */
import { formatError, quote } from '../file/format-error.js';
import { JsonCursor } from './json-cursor.js';
import {
  METADATA_KEYS_MAX,
  SAFETENSORS_HEADER_BYTES_MAX,
  SAFETENSORS_RANK_MAX,
  TENSORS_MAX,
} from '../limit.js';
import { Metadata, type MetadataEntry } from '../metadata.js';
import {
  allocateBytes,
  openFileSource,
  type RandomAccessSource,
  readFully,
} from '../file/random-access-source.js';
import { safetensorsType } from './type.js';
import type { TensorInfo } from '../tensor-info.js';
import { type Weights, WeightsReader } from '../weights.js';

/** An opened safetensors file; its metadata values are all strings. */
export interface SafetensorsFile extends Weights {
  readonly format: 'safetensors';
}

/** The header's length. */
const PREFIX_BYTES = 8;

/**
 * Opens a safetensors file by path, or over a source (which the file then owns and closes, also when opening fails).
 * Reads the header only.
 *
 * @throws UnicornError `format/...` when the file is malformed (fields `file`, `field`, `offset`), `usage/file`
 *   when it cannot be read.
 */
export async function openSafetensors(from: string | RandomAccessSource): Promise<SafetensorsFile> {
  const source = typeof from === 'string' ? await openFileSource(from) : from;
  try {
    const { metadata, tensors } = await readSafetensorsHeader(source);
    return new WeightsReader({
      format: 'safetensors',
      path: source.name,
      metadata: new Metadata(source.name, metadata),
      tensors,
      sources: new Map([[source.path, source]]),
    });
  } catch (error) {
    await source.close();
    throw error;
  }
}

export interface SafetensorsHeader {
  readonly metadata: ReadonlyMap<string, MetadataEntry>;
  /** In storage order. */
  readonly tensors: readonly TensorInfo[];
}

export async function readSafetensorsHeader(source: RandomAccessSource): Promise<SafetensorsHeader> {
  const place = { file: source.name, field: 'header length', offset: 0 };
  if (source.byteLength < PREFIX_BYTES) {
    throw formatError(
      'truncated',
      place,
      `the file has ${source.byteLength} bytes, less than the length field`,
    );
  }
  const prefix = new Uint8Array(PREFIX_BYTES);
  await readFully(source, prefix, 0, place.field);
  const headerBytes = new DataView(prefix.buffer).getBigUint64(0, true);
  if (headerBytes > SAFETENSORS_HEADER_BYTES_MAX) {
    throw formatError(
      'header-size',
      place,
      `a header of ${headerBytes} bytes is over the format's limit of ${SAFETENSORS_HEADER_BYTES_MAX}`,
    );
  }
  if (Number(headerBytes) > source.byteLength - PREFIX_BYTES) {
    throw formatError(
      'truncated',
      place,
      `a header of ${headerBytes} bytes goes beyond the end of the file at ${source.byteLength}`,
    );
  }
  const header = allocateBytes(Number(headerBytes), 'the header');
  await readFully(source, header, PREFIX_BYTES, 'header');
  return parseSafetensors(new JsonCursor(source.name, header, PREFIX_BYTES), source);
}

/** One entry of the header; `begin` and `end` count from the start of the data. */
interface Entry {
  readonly name: string;
  readonly type: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
  /** Where the header describes it, for errors. */
  readonly described: number;
}

function parseSafetensors(json: JsonCursor, source: RandomAccessSource): SafetensorsHeader {
  let metadata: ReadonlyMap<string, MetadataEntry> | undefined;
  const entries: Entry[] = [];
  const names = new Set<string>();
  json.object('header', (name, offset) => {
    if (names.has(name)) {
      throw json.error('duplicate', `tensor ${quote(name)}`, `the name ${quote(name)} appears twice`, offset);
    }
    names.add(name);
    if (name === '__metadata__') {
      metadata = parseStrings(json);
      return;
    }
    if (entries.length === TENSORS_MAX) {
      throw json.error('range', 'header', `the file has more than ${TENSORS_MAX} tensors`, offset);
    }
    entries.push(parseEntry(json, name, offset));
  });
  json.end();
  const dataStart = PREFIX_BYTES + json.bytes.length;
  requireCover(json, entries, source.byteLength - dataStart);
  return {
    metadata: metadata ?? new Map(),
    tensors: entries.map(({ name, type, shape, begin, end }) => ({
      name,
      dtype: safetensorsType(type)!.dtype,
      fileType: type,
      shape,
      path: source.path,
      offset: dataStart + begin,
      byteLength: end - begin,
    })),
  };
}

function parseStrings(json: JsonCursor): ReadonlyMap<string, MetadataEntry> {
  const values = new Map<string, MetadataEntry>();
  json.object('__metadata__', (key, offset) => {
    const field = `metadata ${quote(key)}`;
    if (values.has(key)) throw json.error('duplicate', field, 'the key appears twice', offset);
    if (values.size === METADATA_KEYS_MAX) {
      throw json.error('range', '__metadata__', `there are more than ${METADATA_KEYS_MAX} keys`, offset);
    }
    values.set(key, { type: 'string', value: json.string(field) });
  });
  return values;
}

function parseEntry(json: JsonCursor, name: string, described: number): Entry {
  const tensor = `tensor ${quote(name)}`;
  let type: string | undefined;
  let shape: number[] | undefined;
  let range: number[] | undefined;
  json.object(tensor, (key, offset) => {
    const field = `${key} of ${tensor}`;
    const once = (previous: unknown) => {
      if (previous !== undefined) throw json.error('duplicate', field, 'the field appears twice', offset);
    };
    switch (key) {
      case 'dtype':
        once(type);
        type = parseType(json, field);
        return;
      case 'shape':
        once(shape);
        shape = parseSizes(json, field, SAFETENSORS_RANK_MAX);
        return;
      case 'data_offsets':
        once(range);
        range = parseSizes(json, field, 2);
        return;
      default:
        // An unknown field may change what the bytes mean, so ignoring it could give a wrong answer.
        throw json.error('unknown-field', tensor, `the field ${quote(key)} is not known`, offset);
    }
  });
  const missing = type === undefined ? 'dtype' : shape === undefined ? 'shape' : 'data_offsets';
  if (type === undefined || shape === undefined || range === undefined) {
    throw json.error('missing', tensor, `it has no ${missing}`, described);
  }
  const [begin, end] = range;
  if (begin === undefined || end === undefined || end < begin) {
    throw json.error(
      'offset',
      `data_offsets of ${tensor}`,
      'they must be [begin, end] with begin <= end',
      described,
    );
  }
  const elements = product(json, shape, `shape of ${tensor}`, described);
  const bits = elements * safetensorsType(type)!.bits;
  if (bits !== 8 * (end - begin)) {
    throw json.error(
      'size',
      tensor,
      `${type} [${shape.join(', ')}] takes ${bits / 8} bytes, its range holds ${end - begin}`,
      described,
    );
  }
  return { name, type, shape, begin, end, described };
}

function parseType(json: JsonCursor, field: string): string {
  const { offset } = json;
  const type = json.string(field);
  if (safetensorsType(type) === undefined) {
    throw json.error('tensor-type', field, `the type ${quote(type)} is not known`, offset);
  }
  return type;
}

function parseSizes(json: JsonCursor, field: string, max: number): number[] {
  const sizes: number[] = [];
  json.array(field, (index) => {
    if (index === max) throw json.error('dimension', field, `there are more than ${max} numbers`);
    sizes.push(json.size(field));
  });
  return sizes;
}

/** Elements of a shape. Times 64 bits it must still be exact, hence the bound. */
function product(json: JsonCursor, shape: readonly number[], field: string, offset: number): number {
  let elements = 1;
  for (const dim of shape) {
    elements *= dim;
    if (elements > Number.MAX_SAFE_INTEGER / 64) {
      throw json.error('dimension', field, 'the dimensions multiply beyond any size', offset);
    }
  }
  return elements;
}

/** Sorts by position; then each tensor must begin where the one before ends, and the last end with the file. */
function requireCover(json: JsonCursor, entries: Entry[], dataBytes: number): void {
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end, described } of entries) {
    const field = `data_offsets of tensor ${quote(name)}`;
    if (begin !== covered) {
      const what =
        begin < covered ? 'it shares bytes with another tensor' : 'the bytes before it belong to no tensor';
      throw json.error(
        begin < covered ? 'overlap' : 'hole',
        field,
        `${what} (data byte ${begin})`,
        described,
      );
    }
    if (end > dataBytes) {
      throw json.error(
        'truncated',
        field,
        `it ends at data byte ${end}, the file at ${dataBytes}`,
        described,
      );
    }
    covered = end;
  }
  if (covered !== dataBytes) {
    throw json.error(
      'trailing-bytes',
      'data',
      `${dataBytes - covered} bytes after the last tensor belong to none`,
      json.base + json.bytes.length + covered,
    );
  }
}
