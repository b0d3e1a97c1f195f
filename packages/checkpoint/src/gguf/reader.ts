/** Opening GGUF files, whole or split into parts. Writing is `writer.ts`. */
import { openFileSource, type RandomAccessSource } from '../file/random-access-source.js';
import { Metadata } from '../metadata.js';
import { type Weights, WeightsReader } from '../weights.js';
import { readGgufHeader, type GgufHeader } from './header.js';
import { openOtherParts, splitOf, type GgufPart } from './split.js';

/** An opened GGUF file. */
export interface GgufFile extends Weights {
  readonly format: 'gguf';
  /** Version of the format; that of the first part, where there are several. */
  readonly version: 2 | 3;
  /** Tensor data starts at multiples of this many bytes. */
  readonly alignment: number;
  /** Size of the whole file, or of all parts together. */
  readonly byteLength: number;
}

class GgufReader extends WeightsReader<'gguf'> implements GgufFile {
  readonly version: 2 | 3;
  readonly alignment: number;
  readonly byteLength: number;

  constructor(name: string, parts: readonly GgufPart[], { version, alignment, metadata }: GgufHeader) {
    super({
      format: 'gguf',
      path: name,
      metadata: new Metadata(name, metadata),
      tensors: parts.flatMap(({ header }) => header.tensors),
      sources: new Map(parts.map(({ source }) => [source.path, source])),
    });
    this.version = version;
    this.alignment = alignment;
    this.byteLength = parts.reduce((sum, { source }) => sum + source.byteLength, 0);
  }
}

/**
 * Opens a GGUF file by path, or over a source (which the file then owns and closes, also when opening fails).
 * Reads the header only: metadata and tensor table; arrays in it stay packed until asked for. Of a split file any part may
 * be named; the others are found beside it, and the metadata are those of the first.
 *
 * @throws UnicornError `format/...` when the file is malformed (fields `file`, `field`, `offset`), or a part is missing
 *   or does not belong to the others; `usage/file` when it cannot be read; `unsupported/split-gguf` for a part whose
 *   name does not tell those of the others
 */
export async function openGguf(from: string | RandomAccessSource): Promise<GgufFile> {
  const source = typeof from === 'string' ? await openFileSource(from) : from;
  const opened = [source];
  try {
    const header = await readGgufHeader(source);
    const split = splitOf(header, source.name);
    const parts = split ? await openOtherParts({ source, header }, split, opened) : [{ source, header }];
    return new GgufReader(source.name, parts, parts[0]!.header);
  } catch (error) {
    await Promise.all(opened.map((one) => one.close()));
    throw error;
  }
}
