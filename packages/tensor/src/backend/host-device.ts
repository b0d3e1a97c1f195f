/**
 * What devices in plain JavaScript share: buffers and weights in host memory, and refusal after `close`.
 * It is not a base for native devices, which map and pack weights themselves.
 */
import { throwIfCancelled } from '../cancellation.js';
import { UnicornError } from '../error.js';
import { readFileRange } from '../file/file-range.js';
import { tensorBytes } from '../dtype.js';
import { formatSpec } from '../graph/text.js';
import { HostTensor } from '../host-tensor.js';
import type { TensorSpec } from '../graph/graph.js';
import { expectWeightEntries } from './bindings.js';
import type { BufferView, DeviceBuffer } from './buffer.js';
import { expectBuffer, expectByteLength, expectBytes, expectRange } from './expect-arguments.js';
import { memoryPlace } from './memory-place.js';
import type { LoadOptions, WeightEntry, WeightSet } from './weights.js';

/** Elements of f32 and i32 are viewed in place, which needs their own alignment. */
const elementBytes = 4;

export class HostBuffer implements DeviceBuffer {
  host: Uint8Array;
  #disposed = false;

  private constructor(
    host: Uint8Array,
    private readonly released: () => void,
    /** `sync` of the buffer that this one was imported from. */
    readonly sync: DeviceBuffer['sync'] | undefined,
  ) {
    this.host = host;
    this.byteLength = host.byteLength;
  }

  readonly byteLength: number;

  /**
   * Zero-filled memory of its own.
   *
   * @param released called once, when the buffer is disposed of
   * @throws UnicornError `resource/memory` when there is not that much, `usage/buffer-size` for an impossible number
   */
  static allocate(byteLength: number, released: () => void): HostBuffer {
    expectByteLength(byteLength);
    try {
      return new HostBuffer(new Uint8Array(byteLength), released, undefined);
    } catch (cause) {
      throw new UnicornError('resource/memory', `${byteLength} bytes of memory could not be had.`, {
        fields: { byteLength },
        fix: 'Ask for a smaller context.',
        cause,
      });
    }
  }

  /**
   * A buffer over memory of another owner.
   *
   * @throws UnicornError `unsupported/import` when the host cannot address it, or when it does not begin at a multiple of
   * 4 bytes, as elements do; `usage/binding` for what is neither bytes nor a buffer
   */
  static over(memory: Uint8Array | DeviceBuffer): HostBuffer {
    const isBytes = memory instanceof Uint8Array;
    if (!isBytes) expectBuffer(memory);
    const { host, sync } = isBytes ? { host: memory, sync: undefined } : memory;
    if (host && host.byteOffset % elementBytes !== 0) {
      throw new UnicornError('unsupported/import', 'The memory does not begin at a multiple of 4 bytes.', {
        fields: { byteOffset: host.byteOffset },
        fix: 'Copy it into memory that does.',
      });
    }
    if (host)
      return new HostBuffer(
        host,
        () => {},
        sync && ((direction, ranges) => sync.call(memory, direction, ranges)),
      );
    throw new UnicornError('unsupported/import', 'The host cannot address the memory of that buffer.', {
      fix: "Allocate it with host: 'required'.",
    });
  }

  /**
   * The bytes of a range.
   *
   * @throws UnicornError `usage/range` when it lies outside, `usage/disposed` after `dispose`
   */
  range(byteOffset: number, byteLength: number): Uint8Array {
    if (this.#disposed) throw disposedBuffer();
    return hostRange(this, byteOffset, byteLength);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.host = new Uint8Array(0);
    this.released();
  }
}

/**
 * A range of a buffer that the host can address, whichever device it belongs to.
 *
 * @throws UnicornError `usage/range` when it lies outside, `usage/binding` when the host cannot address the buffer,
 * `usage/disposed` when it was disposed of
 */
export function hostRange(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Uint8Array {
  expectRange(buffer, byteOffset, byteLength);
  const { host } = buffer;
  if (!(host instanceof Uint8Array)) {
    throw new UnicornError('usage/binding', 'The host cannot address that buffer.', {
      fix: "Allocate it with host: 'required', or bind it on its own device.",
    });
  }
  if (host.byteLength < byteOffset + byteLength) throw disposedBuffer();
  return host.subarray(byteOffset, byteOffset + byteLength);
}

function disposedBuffer(): UnicornError {
  return new UnicornError('usage/disposed', 'The buffer was disposed of.', {
    fix: 'Allocate another one, or dispose of it later.',
  });
}

/**
 * A copy of the bytes that a caller writes, since it may change them as soon as the call has returned. `slice` would not
 * do: that of a Node.js Buffer shares the memory.
 *
 * @throws UnicornError `usage/option` when they are not a Uint8Array, whose elements would be converted
 */
export function copiedBytes(data: Uint8Array): Uint8Array {
  expectBytes(data);
  return new Uint8Array(data);
}

/**
 * Copies between two buffers that the host can address, synchronizing what is not coherent.
 *
 * @throws UnicornError as {@link checkHostCopy}
 */
export function copyOnHost(from: BufferView, to: BufferView, byteLength: number): void {
  const { source, target } = checkHostCopy(from, to, byteLength);
  from.buffer.sync?.('toHost', [{ byteOffset: from.byteOffset, byteLength }]);
  target.set(source);
  to.buffer.sync?.('toDevice', [{ byteOffset: to.byteOffset, byteLength }]);
}

/**
 * The two ranges of a copy.
 *
 * @throws UnicornError `usage/range` outside a buffer or for ranges that overlap, `usage/binding` for a
 * buffer that the host cannot address, `usage/disposed`
 */
export function checkHostCopy(
  from: BufferView,
  to: BufferView,
  byteLength: number,
): { readonly source: Uint8Array; readonly target: Uint8Array } {
  expectApart(from, to, byteLength);
  return {
    source: hostRange(from.buffer, from.byteOffset, byteLength),
    target: hostRange(to.buffer, to.byteOffset, byteLength),
  };
}

/**
 * @throws UnicornError `usage/range` when the two ranges have bytes in common, also as parts of two buffers of one memory;
 * `usage/binding` for what is not a view of a buffer
 */
export function expectApart(from: BufferView, to: BufferView, byteLength: number): void {
  for (const view of [from, to]) expectBuffer((view as BufferView | null)?.buffer as DeviceBuffer);
  const [source, target] = [memoryPlace(from.buffer), memoryPlace(to.buffer)];
  if (source.memory !== target.memory) return;
  const numbers = [from.byteOffset, to.byteOffset, byteLength];
  // A value that is not a whole number lies outside of every buffer: `hostRange` refuses it.
  if (!numbers.every(Number.isSafeInteger)) return;
  const distance = source.byteOffset + from.byteOffset - (target.byteOffset + to.byteOffset);
  if (Math.abs(distance) >= byteLength) return;
  throw new UnicornError('usage/range', 'The two ranges of a copy overlap.', {
    fields: { from: from.byteOffset, to: to.byteOffset, byteLength },
    fix: 'Copy by way of another buffer.',
  });
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
      throw new UnicornError('usage/disposed', `The weight "${name}" was disposed of.`, {
        fix: 'Load the weights again, or dispose of them after the executables that read them.',
      });
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
        fix: 'Give the bytes that its dtype and shape take.',
      },
    );
  }
  // Elements are viewed in place, which needs their own alignment.
  if (source.kind === 'bytes') return source.bytes.byteOffset % 8 === 0 ? source.bytes : source.bytes.slice();
  const bytes = new Uint8Array(source.byteLength);
  await readFileRange(source.path, bytes, source.offset, entry.name);
  return bytes;
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
  expectWeightEntries(entries);
  const tensors = new Map<string, HostTensor>();
  const totalBytes = entries.reduce((sum, entry) => sum + tensorBytes(entry.dtype, entry.shape), 0);
  let loadedBytes = 0;
  for (const entry of entries) {
    throwIfCancelled(options.signal, 'Loading');
    if (tensors.has(entry.name)) {
      throw new UnicornError('usage/weight', `The weight "${entry.name}" is given twice.`, {
        fields: { name: entry.name },
        fix: 'Give each name once.',
      });
    }
    const bytes = await readEntry(entry);
    tensors.set(entry.name, new HostTensor(entry.dtype, entry.shape, bytes));
    loadedBytes += bytes.byteLength;
    options.onProgress?.({ loadedBytes, totalBytes });
  }
  return new HostWeightSet(tensors, totalBytes, () => released(totalBytes));
}
