/** Device buffers: zeroed pages of the addon, with a `host` where a Uint8Array may be that large, or memory of others. */
import { constants } from 'node:buffer';
import { guarded } from '@unicorn-exec/native';
import { expectBuffer, UnicornError, type DeviceBuffer } from '@unicorn-exec/tensor';
import type { BufferHandle, NativeAddon } from './addon.js';

/** The largest buffer that has a `host`. */
export const mostHostBytes = constants.MAX_LENGTH;

export class CpuBuffer implements DeviceBuffer {
  readonly #addon: NativeAddon;
  readonly #handle: BufferHandle;
  readonly #released: (byteLength: number) => void;
  #memory: Uint8Array | undefined;
  #disposed = false;

  /** @throws UnicornError `resource/memory` when the system does not have that much */
  constructor(
    addon: NativeAddon,
    readonly byteLength: number,
    released: (byteLength: number) => void,
  ) {
    const { handle, memory } = guarded(() => addon.allocate(byteLength, byteLength <= mostHostBytes));
    this.#addon = addon;
    this.#handle = handle;
    this.#released = released;
    this.#memory = memory && new Uint8Array(memory);
  }

  /** Empty after `dispose`; absent when the buffer is larger than an ArrayBuffer may be. */
  get host(): Uint8Array | undefined {
    return this.#memory;
  }

  /** @throws UnicornError `usage/disposed` after `dispose` */
  get handle(): BufferHandle {
    if (this.#disposed) throw disposed();
    return this.#handle;
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

/** A buffer over memory of the host or of another buffer, which is used where it lies. */
export class ImportedBuffer implements DeviceBuffer {
  readonly byteLength: number;
  readonly sync: DeviceBuffer['sync'];
  readonly #source: Uint8Array | DeviceBuffer;
  #disposed = false;

  /** @throws UnicornError `unsupported/import` when the host cannot address the memory, `usage/binding` for what is none */
  constructor(source: Uint8Array | DeviceBuffer) {
    if (!(source instanceof Uint8Array)) expectBuffer(source);
    if (!(source instanceof Uint8Array || source instanceof CpuBuffer || source.host)) {
      throw new UnicornError('unsupported/import', 'The host cannot address the memory of that buffer.', {
        fix: "Allocate it with host: 'required'.",
      });
    }
    this.#source = source;
    this.byteLength = source.byteLength;
    // Buffers of this backend are coherent.
    const isCoherent = source instanceof Uint8Array || source instanceof CpuBuffer || !source.sync;
    this.sync = isCoherent ? undefined : (direction, ranges) => source.sync?.(direction, ranges);
  }

  /** The memory; empty after `dispose`, of this or of what was imported. */
  get host(): Uint8Array | undefined {
    if (this.#disposed) return new Uint8Array(0);
    return this.#source instanceof Uint8Array ? this.#source : this.#source.host;
  }

  /** @throws UnicornError `usage/disposed` after `dispose`, of this or of what was imported */
  get memory(): BufferHandle | Uint8Array {
    if (this.#disposed) throw disposed();
    return this.#source instanceof Uint8Array ? this.#source : memoryOf(this.#source);
  }

  get isDisposed(): boolean {
    return this.#disposed;
  }

  /** Idempotent. The memory stays with its owner. */
  dispose(): void {
    this.#disposed = true;
  }
}

/**
 * A buffer's memory, of whichever device, as the addon takes it.
 *
 * @throws UnicornError `usage/disposed` when it is gone, `usage/binding` when the host cannot address it
 */
export function memoryOf(buffer: DeviceBuffer): BufferHandle | Uint8Array {
  if (buffer instanceof CpuBuffer) return buffer.handle;
  if (buffer instanceof ImportedBuffer) return buffer.memory;
  const { host } = buffer;
  if (!host) {
    throw new UnicornError('usage/binding', 'The host cannot address that buffer.', {
      fix: "Allocate it with host: 'required', or bind it on its own device.",
    });
  }
  if (host.byteLength < buffer.byteLength) throw disposed();
  return host;
}

function disposed(): UnicornError {
  return new UnicornError('usage/disposed', 'The buffer was disposed of.', {
    fix: 'Allocate another one, or dispose of it later.',
  });
}
