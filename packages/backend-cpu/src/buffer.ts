/** Device buffers: zeroed pages of the addon, seen as a Uint8Array where one may be so large, or memory of the caller's. */
import { constants } from 'node:buffer';
import { guarded } from '@unicorn-exec/native';
import { UnicornError, type DeviceBuffer } from '@unicorn-exec/tensor';
import type { BufferHandle, NativeAddon } from './addon.js';

/** @throws UnicornError `usage/range` when the range lies outside */
function checkRange(buffer: DeviceBuffer, byteOffset: number, byteLength: number): void {
  if (byteOffset >= 0 && byteLength >= 0 && byteOffset + byteLength <= buffer.byteLength) return;
  throw new UnicornError(
    'usage/range',
    `Bytes ${byteOffset} + ${byteLength} lie outside the buffer of ${buffer.byteLength}.`,
    { fields: { byteOffset, byteLength, bufferBytes: buffer.byteLength } },
  );
}

export class CpuBuffer implements DeviceBuffer {
  readonly #addon: NativeAddon;
  readonly #handle: BufferHandle;
  readonly #released: (byteLength: number) => void;
  #memory: Uint8Array | undefined;
  #disposed = false;

  /** @throws UnicornError `resource/memory` when the system has no such amount */
  constructor(
    addon: NativeAddon,
    readonly byteLength: number,
    released: (byteLength: number) => void,
  ) {
    const { handle, memory } = guarded(() => addon.allocate(byteLength, byteLength <= constants.MAX_LENGTH));
    this.#addon = addon;
    this.#handle = handle;
    this.#released = released;
    this.#memory = memory && new Uint8Array(memory);
  }

  /** Empty after `dispose`; absent when the buffer is larger than an ArrayBuffer may be. */
  get host(): Uint8Array {
    // The contract knows absence as a missing property, which a getter cannot be: the cast is for readers of `host?`.
    return this.#memory as Uint8Array;
  }

  /** @throws UnicornError `usage/disposed` after `dispose` */
  get handle(): BufferHandle {
    if (this.#disposed) throw new UnicornError('usage/disposed', 'The buffer was disposed of.');
    return this.#handle;
  }

  write(byteOffset: number, data: Uint8Array): void {
    checkRange(this, byteOffset, data.byteLength);
    guarded(() => this.#addon.copyBuffer(this.handle, byteOffset, data, true));
  }

  read(byteOffset: number, byteLength: number): Uint8Array {
    checkRange(this, byteOffset, byteLength);
    const out = new Uint8Array(byteLength);
    guarded(() => this.#addon.copyBuffer(this.handle, byteOffset, out, false));
    return out;
  }

  /** Frees the pages at once, or when the submissions in flight that use them end. `host` becomes empty. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    const memory = this.#memory?.buffer as ArrayBuffer | undefined;
    this.#memory = new Uint8Array(0);
    guarded(() => this.#addon.disposeBuffer(this.#handle, memory));
    this.#released(this.byteLength);
  }
}

/** Memory of the caller's, used where it lies. */
export class ImportedBuffer implements DeviceBuffer {
  readonly byteLength: number;

  constructor(readonly host: Uint8Array) {
    this.byteLength = host.byteLength;
  }

  /** The memory is the caller's: nothing to free. */
  dispose(): void {}
}

/** @throws UnicornError `usage/range`, or `usage/disposed` when the buffer is gone or the host cannot address it */
export function readBuffer(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Uint8Array {
  if (buffer instanceof CpuBuffer) return buffer.read(byteOffset, byteLength);
  checkRange(buffer, byteOffset, byteLength);
  return hostOf(buffer).slice(byteOffset, byteOffset + byteLength);
}

/** @throws UnicornError as {@link readBuffer} */
export function writeBuffer(buffer: DeviceBuffer, byteOffset: number, data: Uint8Array): void {
  if (buffer instanceof CpuBuffer) return buffer.write(byteOffset, data);
  checkRange(buffer, byteOffset, data.byteLength);
  hostOf(buffer).set(data, byteOffset);
}

function hostOf(buffer: DeviceBuffer): Uint8Array {
  const { host } = buffer;
  if (host && (host.byteLength > 0 || buffer.byteLength === 0)) return host;
  throw new UnicornError('usage/disposed', 'The buffer was disposed of, or the host cannot address it.');
}
