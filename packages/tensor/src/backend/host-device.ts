/**
 * What devices in plain JavaScript share: buffers in host memory, weights read into host memory, refusal after close.
 * It is not a base for native devices, which map and pack weights themselves.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { UnicornError } from '../error.js';
import { tensorBytes } from '../dtype.js';
import { formatSpec } from '../graph/text.js';
import { HostTensor } from '../host-tensor.js';
import type { TensorSpec } from '../graph/graph.js';
import type { DeviceBuffer, LoadOptions, WeightEntry, WeightSet } from './backend.js';

export class HostBuffer implements DeviceBuffer {
  host: Uint8Array;

  constructor(
    readonly byteLength: number,
    private readonly released: (byteLength: number) => void,
  ) {
    try {
      this.host = new Uint8Array(byteLength);
    } catch (cause) {
      throw new UnicornError('resource/memory', `${byteLength} bytes of memory could not be had.`, {
        fields: { byteLength },
        fix: 'Ask for a smaller context.',
        cause,
      });
    }
  }

  #disposed = false;

  /**
   * The bytes of a range.
   *
   * @throws UnicornError `usage/range` when it lies outside, `usage/disposed` after `dispose`
   */
  range(byteOffset: number, byteLength: number): Uint8Array {
    if (this.#disposed) throw new UnicornError('usage/disposed', 'The buffer was disposed of.');
    // Negated, so that NaN is refused too.
    if (!(byteOffset >= 0 && byteLength >= 0 && byteOffset + byteLength <= this.byteLength)) {
      throw new UnicornError(
        'usage/range',
        `${byteLength} bytes at offset ${byteOffset} lie outside a buffer of ${this.byteLength}.`,
        { fields: { byteOffset, byteLength, bufferBytes: this.byteLength } },
      );
    }
    return this.host.subarray(byteOffset, byteOffset + byteLength);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.host = new Uint8Array(0);
    this.released(this.byteLength);
  }
}

export class HostWeightSet implements WeightSet {
  constructor(
    private readonly tensors: ReadonlyMap<string, HostTensor>,
    readonly byteLength: number,
    private readonly released: () => void,
  ) {}

  #disposed = false;

  get names(): readonly string[] {
    return [...this.tensors.keys()];
  }

  spec(name: string): TensorSpec | undefined {
    const tensor = this.tensors.get(name);
    return tensor && { dtype: tensor.dtype, shape: tensor.shape };
  }

  /** @throws UnicornError `usage/disposed` after `dispose`. */
  tensor(name: string): HostTensor {
    const tensor = this.tensors.get(name);
    if (this.#disposed || !tensor)
      throw new UnicornError('usage/disposed', `The weight "${name}" is no longer there.`);
    return tensor;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.released();
  }
}

/** @throws UnicornError `usage/file` when it cannot be opened. */
async function openWeights(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (cause) {
    throw new UnicornError('usage/file', `${path} cannot be opened: ${(cause as Error).message}.`, {
      fields: { file: path },
      fix: 'Check the path and its permissions.',
      cause,
    });
  }
}

/** The bytes of one entry. @throws UnicornError `format/truncated` when the file ends before them. */
async function readEntry(entry: WeightEntry): Promise<Uint8Array> {
  const { source } = entry;
  const expected = tensorBytes(entry.dtype, entry.shape);
  const given = source.kind === 'file' ? source.byteLength : source.bytes.byteLength;
  if (given !== expected) {
    throw new UnicornError(
      'usage/weight',
      `"${entry.name}" (${formatSpec(entry)}) has ${given} bytes instead of ${expected}.`,
      {
        fields: { name: entry.name, given, expected },
      },
    );
  }
  // Elements are viewed in place, which needs their own alignment.
  if (source.kind === 'bytes') return source.bytes.byteOffset % 8 === 0 ? source.bytes : source.bytes.slice();
  const file = await openWeights(source.path);
  try {
    const bytes = new Uint8Array(source.byteLength);
    let done = 0;
    while (done < bytes.byteLength) {
      const { bytesRead } = await file.read(bytes, done, bytes.byteLength - done, source.offset + done);
      if (bytesRead === 0) {
        throw new UnicornError('format/truncated', `${source.path} ends inside the tensor "${entry.name}".`, {
          fields: { file: source.path, field: entry.name, offset: source.offset + done },
          fix: 'Download the file again.',
        });
      }
      done += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

/**
 * Reads all entries into host memory, one after the other.
 *
 * @throws UnicornError `usage/weight` for a name given twice or a size that is not its shape's, `usage/file`,
 * `format/truncated`, and `usage/cancelled` when the signal aborts
 */
export async function loadHostWeights(
  entries: readonly WeightEntry[],
  options: LoadOptions,
  released: (byteLength: number) => void,
): Promise<HostWeightSet> {
  const tensors = new Map<string, HostTensor>();
  const totalBytes = entries.reduce((sum, entry) => sum + tensorBytes(entry.dtype, entry.shape), 0);
  let loadedBytes = 0;
  for (const entry of entries) {
    if (options.signal?.aborted) {
      throw new UnicornError('usage/cancelled', 'Loading was cancelled.', { cause: options.signal.reason });
    }
    if (tensors.has(entry.name)) {
      throw new UnicornError('usage/weight', `The weight "${entry.name}" is given twice.`, {
        fields: { name: entry.name },
      });
    }
    const bytes = await readEntry(entry);
    tensors.set(entry.name, new HostTensor(entry.dtype, entry.shape, bytes));
    loadedBytes += bytes.byteLength;
    options.onProgress?.({ loadedBytes, totalBytes });
  }
  return new HostWeightSet(tensors, totalBytes, () => released(totalBytes));
}
