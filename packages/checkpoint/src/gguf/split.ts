/**
 * GGUF files that were split into parts, as llama.cpp's `gguf-split` does it: each part is a GGUF file with some of the
 * tensors, says in `split.no` and `split.count` which of how many it is, and is named `NAME-00001-of-00003.gguf`. The
 * first one has the metadata of the whole.
 */
import { basename, dirname, join } from 'node:path';
import { UnicornError } from '@unicorn-exec/tensor';
import { formatError, quote } from '../file/format-error.js';
import { openFileSource, type RandomAccessSource } from '../file/random-access-source.js';
import { SPLIT_PARTS_MAX } from '../limit.js';
import { readGgufHeader, type GgufHeader } from './header.js';

export interface GgufPart {
  readonly source: RandomAccessSource;
  readonly header: GgufHeader;
}

/** Which part of how many a file is; `index` counts from 0. */
export interface Split {
  readonly index: number;
  readonly count: number;
}

const partName = /^(.*)-(\d{5})-of-(\d{5})(\.gguf)$/i;

/**
 * @returns undefined for a whole file
 * @throws UnicornError `format/split` for numbers that no part can have
 */
export function splitOf({ metadata }: GgufHeader, file: string): Split | undefined {
  const number = (field: string): number => {
    const entry = metadata.get(field);
    const value = entry && 'value' in entry ? Number(entry.value) : 0;
    if (Number.isInteger(value) && value >= 0 && value <= SPLIT_PARTS_MAX) return value;
    const found = `${field} is ${String(value)}, and must be 0 to ${SPLIT_PARTS_MAX}`;
    throw formatError('split', { file, field, offset: 0 }, found);
  };
  const count = number('split.count');
  if (count <= 1) return undefined;
  const index = number('split.no');
  if (index < count) return { index, count };
  throw formatError(
    'split',
    { file, field: 'split.no', offset: 0 },
    `part ${index} (counted from 0) of ${count} cannot be`,
  );
}

/**
 * All parts in their order, beside the one that is open already.
 *
 * @param opened takes each source that is opened, for the caller to close when this throws
 */
export async function openOtherParts(
  known: GgufPart,
  split: Split,
  opened: RandomAccessSource[],
): Promise<GgufPart[]> {
  const parts: GgufPart[] = [];
  for (let index = 0; index < split.count; index++) {
    if (index === split.index) parts.push(known);
    else parts.push(await openPart(known.source, { index, count: split.count }, opened));
  }
  checkTensors(parts);
  return parts;
}

async function openPart(
  known: RandomAccessSource,
  split: Split,
  opened: RandomAccessSource[],
): Promise<GgufPart> {
  const path = pathOfPart(known.path, split);
  const source = await openFileSource(path).catch((error: unknown) => {
    if (!(error instanceof UnicornError) || error.fields.reason !== 'ENOENT') throw error;
    throw new UnicornError(
      'format/missing-shard',
      `${known.name} is one of ${split.count} parts, and part ${split.index + 1} is not there: ${path}.`,
      {
        fields: { file: known.name, field: 'split.count', offset: 0, shard: basename(path) },
        fix: `Download ${basename(path)} into the same directory.`,
        cause: error,
      },
    );
  });
  opened.push(source);
  const header = await readGgufHeader(source);
  const own = splitOf(header, source.name);
  if (own?.index === split.index && own.count === split.count) return { source, header };
  const found = own ? `part ${own.index + 1} of ${own.count}` : 'a whole file';
  throw formatError(
    'split',
    { file: source.name, field: 'split.no', offset: 0 },
    `it should be part ${split.index + 1} of ${split.count}, and is ${found}`,
  );
}

/** @throws UnicornError `unsupported/split-gguf` when the name does not have the form that parts have */
function pathOfPart(path: string, { index, count }: Split): string {
  const [, name, , total, extension] = partName.exec(basename(path)) ?? [];
  if (name !== undefined && Number(total) === count) {
    const padded = (number: number): string => String(number).padStart(5, '0');
    return join(dirname(path), `${name}-${padded(index + 1)}-of-${padded(count)}${extension}`);
  }
  throw new UnicornError(
    'unsupported/split-gguf',
    `${path} is one of ${count} parts of a split GGUF, and its name does not tell those of the others.`,
    {
      fields: { file: path, field: 'split.count' },
      fix: `Name the parts NAME-00001-of-${String(count).padStart(5, '0')}.gguf and so on, in one directory, or merge them: llama-gguf-split --merge FIRST-PART MERGED.gguf`,
    },
  );
}

/** @throws UnicornError `format/duplicate`, `format/split` when the parts do not add up to a whole */
function checkTensors(parts: readonly GgufPart[]): void {
  const owners = new Map<string, string>();
  for (const { source, header } of parts) {
    for (const { name } of header.tensors) {
      const other = owners.get(name);
      if (other !== undefined) {
        throw formatError(
          'duplicate',
          { file: source.name, field: `tensor ${quote(name)}`, offset: 0 },
          `the tensor is in ${basename(other)} too`,
        );
      }
      owners.set(name, source.name);
    }
  }
  const [first] = parts;
  const entry = first!.header.metadata.get('split.tensors.count');
  const expected = entry && 'value' in entry ? Number(entry.value) : owners.size;
  if (expected === owners.size) return;
  throw formatError(
    'split',
    { file: first!.source.name, field: 'split.tensors.count', offset: 0 },
    `the parts should have ${expected} tensors together, and have ${owners.size}`,
  );
}

/** Whether these names, sorted, are all the parts of one file. */
export function areParts(names: readonly string[]): boolean {
  return names.every((name, index) => {
    const [, prefix, number, total] = partName.exec(name) ?? [];
    const [, firstPrefix] = partName.exec(names[0]!) ?? [];
    return (
      prefix !== undefined &&
      prefix === firstPrefix &&
      Number(number) === index + 1 &&
      Number(total) === names.length
    );
  });
}
