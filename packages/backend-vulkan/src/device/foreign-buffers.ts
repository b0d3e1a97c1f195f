/**
 * How this device reaches memory of other devices. Where the driver takes the host's memory, each buffer is imported once.
 * Elsewhere it has a shadow: memory of this device that stands for it, into and out of which the touched ranges are copied.
 */
import type { DeviceBuffer } from '@unicorn-exec/tensor';
import type { DeviceHandle, NativeAddon } from '../addon.js';
import { VulkanBuffer } from './buffer.js';

/** Memory of this device in the place of a buffer that it cannot address. */
export interface Shadow {
  readonly buffer: VulkanBuffer;
  /** Settles when its owner has what submissions wrote to it; undefined when it has. Never rejects. */
  pending: Promise<void> | undefined;
}

interface Known {
  /** Where the buffer lay. */
  readonly memory: Uint8Array;
  readonly imported: VulkanBuffer | undefined;
  shadow?: Shadow;
}

/** Imports and shadows that are kept: more than a model binds. Drivers have limits on imports. */
const keptBuffers = 1024;

export class ForeignBuffers {
  readonly #known = new WeakMap<DeviceBuffer, Known>();
  /** Imports and shadows, the oldest first. */
  readonly #made = new Set<VulkanBuffer>();
  /** Bytes that were copied because they could be reached in no other way. */
  copiedBytes = 0;
  /** Imported memory that is not coherent: when the submission that writes it has given it back. */
  readonly pending = new WeakMap<DeviceBuffer, Promise<void>>();

  /** @param released told of each buffer that is gone */
  constructor(
    private readonly addon: NativeAddon,
    private readonly device: DeviceHandle,
    private readonly released: (buffer: VulkanBuffer) => void,
  ) {}

  /** The buffer by which this device addresses that one; undefined where it cannot. */
  imported(buffer: DeviceBuffer): VulkanBuffer | undefined {
    return this.#find(buffer).imported;
  }

  /** Like {@link imported}, of a buffer that was imported before and has not moved since. */
  known(buffer: DeviceBuffer): VulkanBuffer | undefined {
    const known = this.#known.get(buffer);
    const isThere = known?.imported && !known.imported.isDisposed && isSame(known.memory, buffer.host);
    return isThere ? known.imported : undefined;
  }

  /** A shadow of the whole buffer, though only what is touched is copied. @throws UnicornError `resource/memory` */
  shadow(buffer: DeviceBuffer): Shadow {
    const known = this.#find(buffer);
    if (known.shadow && !known.shadow.buffer.isDisposed) return known.shadow;
    const shadow = this.#keep(
      VulkanBuffer.allocate(this.addon, this.device, buffer.byteLength, 'device', (gone) => this.#drop(gone)),
    );
    return (known.shadow = { buffer: shadow, pending: undefined });
  }

  #find(buffer: DeviceBuffer): Known {
    const old = this.#known.get(buffer);
    if (old && isSame(old.memory, buffer.host) && old.imported?.isDisposed !== true) return old;
    old?.imported?.dispose();
    old?.shadow?.buffer.dispose();
    const memory = buffer.host!;
    const imported = VulkanBuffer.import(this.addon, this.device, buffer, (gone) => this.#drop(gone));
    if (imported) this.#keep(imported);
    const known = { memory, imported };
    this.#known.set(buffer, known);
    return known;
  }

  #keep(buffer: VulkanBuffer): VulkanBuffer {
    this.#made.add(buffer);
    const [oldest] = this.#made;
    if (this.#made.size > keptBuffers) oldest!.dispose();
    return buffer;
  }

  #drop(buffer: VulkanBuffer): void {
    this.#made.delete(buffer);
    this.released(buffer);
  }

  /** Bytes of shadows. */
  get shadowBytes(): number {
    let bytes = 0;
    for (const { host, byteLength } of this.#made) if (!host) bytes += byteLength;
    return bytes;
  }

  clear(): void {
    for (const buffer of [...this.#made]) buffer.dispose();
  }
}

function isSame(memory: Uint8Array, now: Uint8Array | undefined): boolean {
  return (
    now !== undefined &&
    now.byteLength === memory.byteLength &&
    now.byteOffset === memory.byteOffset &&
    now.buffer === memory.buffer
  );
}
