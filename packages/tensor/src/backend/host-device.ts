/**
 * What devices in plain JavaScript share: buffers in host memory, weights read into host memory, refusal after close.
 * It is not a base for native devices, which map and pack weights themselves.
 */
import { open } from 'node:fs/promises';
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

  dispose(): void {
    if (this.host.byteLength === 0 && this.byteLength > 0) return;
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

  /** @throws UnicornError `device/closed` after `dispose`. */
  tensor(name: string): HostTensor {
    const tensor = this.tensors.get(name);
    if (this.#disposed || !tensor)
      throw new UnicornError('device/closed', `The weight "${name}" is no longer there.`);
    return tensor;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.released();
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
  if (source.kind === 'bytes') return source.bytes;
  const file = await open(source.path, 'r');
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

/** Reads all entries into host memory, one after the other. */
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
    const bytes = await readEntry(entry);
    tensors.set(entry.name, new HostTensor(entry.dtype, entry.shape, bytes));
    loadedBytes += bytes.byteLength;
    options.onProgress?.({ loadedBytes, totalBytes });
  }
  return new HostWeightSet(tensors, totalBytes, () => released(totalBytes));
}
