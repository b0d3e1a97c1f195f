/** Device buffers: memory of the addon with an address, seen as a Uint8Array where the host can read it well. */
import { guarded } from '@unicorn-exec/native';
import { UnicornError, type ByteRange, type DeviceBuffer, type SyncDirection } from '@unicorn-exec/tensor';
import type { BufferHandle, DeviceHandle, MemoryKind, NativeAddon } from '../addon.js';

/** Bindings begin at multiples of this: kernels load vectors of 16 bytes. */
export const bindingAlignment = 16;

/** What the addon gives of a buffer. */
interface Native {
  readonly handle: BufferHandle;
  readonly address: bigint;
  readonly memory?: ArrayBuffer | undefined;
}

type Sync = (direction: SyncDirection, ranges: readonly ByteRange[]) => void;

export class VulkanBuffer implements DeviceBuffer {
  readonly #addon: NativeAddon;
  readonly #handle: BufferHandle;
  readonly #released: (buffer: VulkanBuffer) => void;
  /** Memory of the addon's, which ends with the buffer. */
  readonly #owned: ArrayBuffer | undefined;
  #host: Uint8Array | undefined;
  #disposed = false;
  readonly address: bigint;
  readonly sync: Sync | undefined;
  /**
   * The buffer that this one is an import of, where its memory is not coherent: this device synchronizes it around all that
   * it does with the memory. Undefined for the device's own memory, and for memory that is coherent.
   */
  readonly owner: DeviceBuffer | undefined;

  private constructor(
    addon: NativeAddon,
    readonly device: DeviceHandle,
    readonly byteLength: number,
    native: Native,
    host: Uint8Array | undefined,
    sync: ((buffer: VulkanBuffer) => Sync) | undefined,
    owner: DeviceBuffer | undefined,
    released: (buffer: VulkanBuffer) => void,
  ) {
    this.#addon = addon;
    this.#handle = native.handle;
    this.#owned = native.memory;
    this.#host = host;
    this.#released = released;
    this.address = native.address;
    this.sync = sync?.(this);
    this.owner = owner;
  }

  /**
   * Zero-filled memory of the device's.
   *
   * @param released told once, when the buffer is disposed of
   * @throws UnicornError `resource/memory` when the device has no such amount
   */
  static allocate(
    addon: NativeAddon,
    device: DeviceHandle,
    byteLength: number,
    kind: MemoryKind,
    released: (buffer: VulkanBuffer) => void = () => {},
  ): VulkanBuffer {
    const native = guarded(() => addon.allocate(device, byteLength, kind));
    const { memory, coherent } = native;
    const host = memory && new Uint8Array(memory, 0, byteLength);
    const sync = (buffer: VulkanBuffer): Sync => {
      return (direction, ranges) => buffer.#sync(direction, ranges);
    };
    const own = host && !coherent ? sync : undefined;
    return new VulkanBuffer(addon, device, byteLength, native, host, own, undefined, released);
  }

  /**
   * A buffer over memory of another owner, used where it lies.
   *
   * @param memory the host's, or a buffer with `host`
   * @returns the buffer; undefined where the device cannot address that memory
   */
  static import(
    addon: NativeAddon,
    device: DeviceHandle,
    memory: Uint8Array | DeviceBuffer,
    released: (buffer: VulkanBuffer) => void = () => {},
  ): VulkanBuffer | undefined {
    const host = memory instanceof Uint8Array ? memory : memory.host;
    const native = host && guarded(() => addon.importMemory(device, host));
    if (!native) return undefined;
    const owner = memory instanceof Uint8Array || !memory.sync ? undefined : memory;
    const sync = owner && ((): Sync => (direction, ranges) => owner.sync?.(direction, ranges));
    return new VulkanBuffer(addon, device, host.byteLength, native, host, sync, owner, released);
  }

  /** Empty after `dispose`; undefined in memory that the host cannot address, or reads slowly. */
  get host(): Uint8Array | undefined {
    return this.#host;
  }

  #sync(direction: SyncDirection, ranges: readonly ByteRange[]): void {
    const numbers = Float64Array.from(
      ranges.flatMap(({ byteOffset, byteLength }) => [byteOffset, byteLength]),
    );
    guarded(() => this.#addon.syncBuffer(this.device, this.handle, direction === 'toHost', numbers));
  }

  /** The memory that it lies in, by identity: buffers over the same memory of the host may overlap. */
  get origin(): { readonly memory: unknown; readonly byteOffset: number } {
    const host = this.#host;
    return host && host.byteLength > 0
      ? { memory: host.buffer, byteOffset: host.byteOffset }
      : { memory: this, byteOffset: 0 };
  }

  get isDisposed(): boolean {
    return this.#disposed;
  }

  /** @throws UnicornError `usage/disposed` after `dispose` */
  expectAlive(): void {
    if (!this.#disposed) return;
    throw new UnicornError('usage/disposed', 'The buffer was disposed of.', {
      fix: 'Allocate another one, or dispose of it later.',
    });
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
    if (this.#host) this.#host = new Uint8Array(0);
    guarded(() => this.#addon.disposeBuffer(this.#handle, this.#owned));
    this.#released(this);
  }
}
