/** Device buffers: zeroed pages of the addon seen as a Uint8Array, or memory of the caller's. */
import { UnicornError, type DeviceBuffer } from '@unicorn-exec/tensor';
import { guarded, type BufferHandle, type NativeAddon } from './addon.js';

export class CpuBuffer implements DeviceBuffer {
  readonly #addon: NativeAddon;
  readonly #handle: BufferHandle;
  readonly #released: (byteLength: number) => void;
  #disposed = false;
  host: Uint8Array;

  /** @throws UnicornError `resource/memory` when the system has no such amount */
  constructor(
    addon: NativeAddon,
    readonly byteLength: number,
    released: (byteLength: number) => void,
  ) {
    const { handle, memory } = guarded(() => addon.allocate(byteLength));
    this.#addon = addon;
    this.#handle = handle;
    this.#released = released;
    this.host = new Uint8Array(memory);
  }

  /** @throws UnicornError `device/closed` after `dispose` */
  get handle(): BufferHandle {
    if (this.#disposed) throw new UnicornError('device/closed', 'The buffer was disposed of before.');
    return this.#handle;
  }

  /** Frees the pages at once, or when the submissions in flight that use them end. `host` becomes empty. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    const memory = this.host.buffer as ArrayBuffer;
    this.host = new Uint8Array(0);
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
