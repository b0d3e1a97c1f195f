/**
 * Safetensors in shards: `model.safetensors.index.json` maps each tensor's name to the file beside it that holds it.
 */
import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileError, UnicornError, parseJson } from '@unicorn-exec/tensor';
import { formatError, quote } from '../file/format-error.js';
import { INDEX_BYTES_MAX, METADATA_KEYS_MAX, TENSORS_MAX } from '../limit.js';
import { Metadata, type MetadataEntry } from '../metadata.js';
import {
  allocateBytes,
  openFileSource,
  type RandomAccessSource,
  readFully,
} from '../file/random-access-source.js';
import { readSafetensorsHeader, type SafetensorsFile } from './reader.js';
import type { TensorInfo } from '../tensor-info.js';
import { decodeUtf8 } from '../file/utf8.js';
import { WeightsReader } from '../weights.js';

/** The name that transformers gives an index. */
export const SAFETENSORS_INDEX_NAME = 'model.safetensors.index.json';

/**
 * Opens sharded safetensors by their index, or by the directory that holds `model.safetensors.index.json`.
 * The metadata are those of the index (`total_size`, ...). Tensors that a shard holds but the index does not name are
 * left out.
 *
 * @throws UnicornError `format/...` when the index or a shard is malformed, a shard is missing, or lacks a tensor that
 *   the index says it has; `usage/file` when the index cannot be read.
 */
export async function openSafetensorsIndex(directoryOrIndex: string): Promise<SafetensorsFile> {
  const path = await indexPath(directoryOrIndex);
  const index = await readIndex(path);
  const sources = new Map<string, RandomAccessSource>();
  const tensors: TensorInfo[] = [];
  try {
    for (const [shard, names] of index.shards) {
      const source = await openShard(path, shard);
      sources.set(source.path, source);
      const header = await readSafetensorsHeader(source);
      const found = header.tensors.filter((tensor) => names.has(tensor.name));
      if (found.length !== names.size) {
        const present = new Set(found.map((tensor) => tensor.name));
        const lost = [...names].find((name) => !present.has(name))!;
        throw indexError(path, 'shard', `weight_map of ${quote(lost)}`, `${shard} does not hold this tensor`);
      }
      tensors.push(...found);
    }
  } catch (error) {
    await Promise.all([...sources.values()].map((source) => source.close()));
    throw error;
  }
  return new WeightsReader({
    format: 'safetensors',
    path,
    metadata: new Metadata(path, index.metadata),
    tensors,
    sources,
  });
}

async function indexPath(directoryOrIndex: string): Promise<string> {
  try {
    const isDirectory = (await stat(directoryOrIndex)).isDirectory();
    return isDirectory ? join(directoryOrIndex, SAFETENSORS_INDEX_NAME) : directoryOrIndex;
  } catch (error) {
    throw fileError(error, directoryOrIndex, 'read');
  }
}

interface Index {
  readonly metadata: ReadonlyMap<string, MetadataEntry>;
  /** Names by shard, in the order of first mention. */
  readonly shards: ReadonlyMap<string, ReadonlySet<string>>;
}

async function readIndex(path: string): Promise<Index> {
  const root = await readJson(path);
  if (!isObject(root) || !isObject(root.weight_map)) {
    throw indexError(path, 'json', 'weight_map', 'an index is an object with an object "weight_map"');
  }
  const places = Object.entries(root.weight_map);
  if (places.length > TENSORS_MAX) {
    throw indexError(
      path,
      'range',
      'weight_map',
      `it names ${places.length} tensors, over the limit of ${TENSORS_MAX}`,
    );
  }
  const shards = new Map<string, Set<string>>();
  for (const [name, shard] of places) {
    // Only files beside the index: a downloaded index must not reach anywhere else.
    if (typeof shard !== 'string' || !/^[^/\\\0]+$/.test(shard) || shard === '.' || shard === '..') {
      throw indexError(
        path,
        'shard',
        `weight_map of ${quote(name)}`,
        'a shard must be the name of a file beside the index',
      );
    }
    const names = shards.get(shard) ?? new Set();
    shards.set(shard, names.add(name));
  }
  return { metadata: scalarsOf(root.metadata), shards };
}

async function readJson(path: string): Promise<unknown> {
  const source = await openFileSource(path);
  try {
    if (source.byteLength > INDEX_BYTES_MAX) {
      throw indexError(
        path,
        'header-size',
        'file',
        `${source.byteLength} bytes are over the limit of ${INDEX_BYTES_MAX}`,
      );
    }
    const bytes = allocateBytes(source.byteLength, path);
    await readFully(source, bytes, 0, 'index');
    const text = decodeUtf8(bytes, 0, bytes.length);
    if (text === undefined) throw indexError(path, 'utf8', 'file', 'an index is UTF-8 text');
    try {
      return parseJson(text);
    } catch (cause) {
      const position = /position (\d+)/.exec(String(cause))?.[1];
      throw indexError(path, 'json', 'file', 'the index is not JSON', Number(position ?? 0));
    }
  } finally {
    await source.close();
  }
}

async function openShard(indexFile: string, shard: string): Promise<RandomAccessSource> {
  try {
    return await openFileSource(join(dirname(indexFile), shard));
  } catch (error) {
    if (!(error instanceof UnicornError) || error.fields.reason !== 'ENOENT') throw error;
    throw new UnicornError(
      'format/missing-shard',
      `${indexFile}: the shard ${quote(shard)} that it names is not there (weight_map, byte 0).`,
      {
        fields: { file: indexFile, field: 'weight_map', offset: 0, shard },
        fix: `Download ${basename(shard)} into the same directory.`,
        cause: error,
      },
    );
  }
}

/** The plain values of the index's `metadata`; nested ones are left out. */
function scalarsOf(metadata: unknown): ReadonlyMap<string, MetadataEntry> {
  const values = new Map<string, MetadataEntry>();
  if (!isObject(metadata)) return values;
  for (const [key, value] of Object.entries(metadata).slice(0, METADATA_KEYS_MAX)) {
    if (typeof value === 'string') values.set(key, { type: 'string', value });
    else if (typeof value === 'boolean') values.set(key, { type: 'bool', value });
    else if (typeof value === 'number') values.set(key, { type: 'f64', value });
  }
  return values;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function indexError(file: string, noun: string, field: string, sentence: string, offset = 0): UnicornError {
  return formatError(noun, { file, field, offset }, sentence);
}
