/** Opening weights without knowing what they are: by content for a file, by what lies in it for a directory. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileError, UnicornError } from '@unicorn-exec/tensor';
import { openGguf } from './gguf/reader.js';
import { areParts } from './gguf/split.js';
import { GGUF_MAGIC } from './gguf/type.js';
import { openFileSource, type RandomAccessSource, readFully } from './file/random-access-source.js';
import { openSafetensorsIndex, SAFETENSORS_INDEX_NAME } from './safetensors/shard-index.js';
import { openSafetensors } from './safetensors/reader.js';
import type { Weights } from './weights.js';

/**
 * Opens a GGUF file (or any part of a split one), a safetensors file, an index of safetensors shards, or a directory with
 * one of these. The first bytes of a file decide what it is, not its name.
 *
 * @throws UnicornError `usage/no-weights` for a directory with none (or several GGUF files, where the choice is the
 *   caller's), `format/magic` for a file that is neither; as the specific openers otherwise.
 */
export async function openWeights(path: string): Promise<Weights> {
  if (await isDirectory(path)) return openDirectory(path);
  const source = await openFileSource(path);
  switch (await sniff(source)) {
    case 'gguf':
      return openGguf(source);
    case 'safetensors':
      return openSafetensors(source);
    case 'index':
      await source.close();
      return openSafetensorsIndex(path);
    default:
      await source.close();
      throw new UnicornError(
        'format/magic',
        `${path}: the file is neither GGUF nor safetensors nor an index of shards (magic, byte 0).`,
        {
          fields: { file: path, field: 'magic', offset: 0 },
          fix: 'Give a .gguf or .safetensors file, or a directory that holds one.',
        },
      );
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw fileError(error, path, 'read');
  }
}

async function openDirectory(path: string): Promise<Weights> {
  let names: string[];
  try {
    names = await readdir(path);
  } catch (error) {
    throw fileError(error, path, 'read');
  }
  if (names.includes(SAFETENSORS_INDEX_NAME)) return openSafetensorsIndex(path);
  if (names.includes('model.safetensors')) return openWeights(join(path, 'model.safetensors'));
  const ggufs = names.filter((name) => name.toLowerCase().endsWith('.gguf')).sort();
  const [only] = ggufs;
  if (only !== undefined && (ggufs.length === 1 || areParts(ggufs))) return openWeights(join(path, only));
  throw new UnicornError(
    'usage/no-weights',
    ggufs.length > 1
      ? `${path} holds ${ggufs.length} GGUF files: ${ggufs.slice(0, 5).join(', ')}${ggufs.length > 5 ? ', ...' : ''}.`
      : `${path} holds no weights: no ${SAFETENSORS_INDEX_NAME}, no model.safetensors, no .gguf file.`,
    {
      fields: { file: path, ggufs: ggufs.slice(0, 20) },
      fix: ggufs.length > 1 ? 'Name one of them.' : 'Give the directory that the model was downloaded to.',
    },
  );
}

/** Blanks that may open a JSON text. */
const blanks = [0x20, 0x09, 0x0a, 0x0d];
const brace = 0x7b;

/**
 * GGUF begins with its name. Safetensors begins with a length of 8 bytes, the upper ones zero, which text never has,
 * after which the header's "{" stands. An index begins with "{" itself.
 */
async function sniff(source: RandomAccessSource): Promise<'gguf' | 'safetensors' | 'index' | undefined> {
  const head = new Uint8Array(Math.min(16, source.byteLength));
  await readFully(source, head, 0, 'magic').catch(async (error: unknown) => {
    await source.close();
    throw error;
  });
  if (head.length >= 4 && new DataView(head.buffer).getUint32(0, true) === GGUF_MAGIC) return 'gguf';
  const startsObject = (bytes: Uint8Array) => bytes.find((byte) => !blanks.includes(byte)) === brace;
  if (head.subarray(0, 8).includes(0) && startsObject(head.subarray(8))) return 'safetensors';
  if (startsObject(head)) return 'index';
  return undefined;
}
