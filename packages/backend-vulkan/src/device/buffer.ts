/** Device buffers: memory of the addon with an address, seen as a Uint8Array where the host can read it well. */
import { guarded } from '@unicorn-exec/native';
import { UnicornError, type DeviceBuffer } from '@unicorn-exec/tensor';
import type { BufferHandle, DeviceHandle, MemoryKind, NativeAddon } from '../addon.js';

/** Bindings begin at multiples of this: kernels load vectors of 16 bytes. */
export const bindingAlignment = 16;

/** @throws UnicornError `usage/range` when the range lies outside */
export function checkRange(buffer: DeviceBuffer, byteOffset: number, byteLength: number): void {
  const fits = byteOffset >= 0 && byteLength >= 0 && byteOffset + byteLength <= buffer.byteLength;
  if (fits && Number.isInteger(byteOffset) && Number.isInteger(byteLength)) return;
  throw new UnicornError(
    'usage/range',
    `Bytes ${byteOffset} + ${byteLength} lie outside the buffer of ${buffer.byteLength}.`,
    { fields: { byteOffset, byteLength, bufferBytes: buffer.byteLength } },
  );
}

export class VulkanBuffer implements DeviceBuffer {
  readonly #addon: NativeAddon;
  readonly #handle: BufferHandle;
  readonly #released: (buffer: VulkanBuffer) => void;
  #memory: Uint8Array | undefined;
  #disposed = false;
  readonly address: bigint;

  /**
   * @param released told once, when the buffer is disposed of
   * @throws UnicornError `resource/memory` when the device has no such amount
   */
  constructor(
    addon: NativeAddon,
    readonly device: DeviceHandle,
    readonly byteLength: number,
    kind: MemoryKind,
    released: (buffer: VulkanBuffer) => void = () => {},
  ) {
    const { handle, address, memory } = guarded(() => addon.allocate(device, byteLength, kind));
    this.#addon = addon;
    this.#handle = handle;
    this.#released = released;
    this.#memory = memory && new Uint8Array(memory, 0, byteLength);
    this.address = address;
  }

  /** Empty after `dispose`; absent in memory that the host cannot address, or reads slowly. */
  get host(): Uint8Array {
    // The contract knows absence as a missing property, which a getter cannot be: the cast is for readers of `host?`.
    return this.#memory as Uint8Array;
  }

  get isDisposed(): boolean {
    return this.#disposed;
  }

  /** @throws UnicornError `usage/disposed` after `dispose` */
  expectAlive(): void {
    if (this.#disposed) throw new UnicornError('usage/disposed', 'The buffer was disposed of.');
  }

  /** @throws UnicornError `usage/disposed` after `dispose` */
  get handle(): BufferHandle {
    this.expectAlive();
    return this.#handle;
  }

  /** Frees the memory at once, or when the submissions in flight that use it end. `host` becomes empty. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    const memory = this.#memory?.buffer as ArrayBuffer | undefined;
    if (memory) this.#memory = new Uint8Array(0);
    guarded(() => this.#addon.disposeBuffer(this.#handle, memory));
    this.#released(this);
  }
}
