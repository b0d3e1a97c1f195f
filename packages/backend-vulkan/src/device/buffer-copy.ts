/**
 * Transfers of buffers that may be another device's. At least one buffer of a copy is this device's. The other one is
 * imported, and where it cannot be, the copy passes through the host's view of it.
 */
import { guarded } from '@unicorn-exec/native';
import {
  UnicornError,
  type BufferView,
  type ByteRange,
  type DeviceBuffer,
  type SyncDirection,
} from '@unicorn-exec/tensor';
import type { DeviceHandle, NativeAddon } from '../addon.js';
import { VulkanBuffer } from './buffer.js';
import type { ForeignBuffers } from './foreign-buffers.js';
import type { Submission } from './queue.js';

export interface CopyHost {
  readonly addon: NativeAddon;
  readonly handle: DeviceHandle;
  readonly foreign: ForeignBuffers;
}

export class BufferCopy implements Submission {
  readonly #host: CopyHost;
  readonly #from: BufferView;
  readonly #to: BufferView;
  readonly #byteLength: number;

  /** @throws UnicornError `usage/binding` for a buffer of another device that the host cannot address, `usage/disposed` */
  constructor(host: CopyHost, from: BufferView, to: BufferView, byteLength: number) {
    this.#host = host;
    this.#from = from;
    this.#to = to;
    this.#byteLength = byteLength;
    for (const view of [from, to]) this.#expectReachable(view);
  }

  /** Waits until a source that is not coherent has what earlier submissions wrote. */
  ready(): Promise<void> | undefined {
    const source = this.#incoherent(this.#from.buffer);
    return source && this.#host.foreign.pending.get(source);
  }

  detach(): void {
    // Nothing of it is the caller's to change.
  }

  run(): number {
    const { addon, handle } = this.#host;
    const [from, to] = [this.#from, this.#to];
    const range = { byteOffset: from.byteOffset, byteLength: this.#byteLength };
    this.#incoherent(from.buffer)?.sync?.('toHost', [range]);
    const [source, target] = [this.#reach(from.buffer), this.#reach(to.buffer)];
    if (source && target) {
      return guarded(() =>
        addon.copy(handle, source.handle, from.byteOffset, target.handle, to.byteOffset, this.#byteLength),
      );
    }
    if (target) {
      return guarded(() => addon.write(handle, target.handle, to.byteOffset, this.#hostPart(from)));
    }
    return guarded(() => addon.read(handle, source!.handle, from.byteOffset, this.#hostPart(to)));
  }

  ended(): undefined {
    // What goes wrong is the job's failure.
  }

  finish(): undefined {
    const { buffer, byteOffset } = this.#to;
    this.#incoherent(buffer)?.sync?.('toDevice', [{ byteOffset, byteLength: this.#byteLength }]);
  }

  /** The buffer to synchronize: the owner of imported memory that is not coherent, else undefined. */
  #incoherent(buffer: DeviceBuffer): DeviceBuffer | undefined {
    if (this.#isOwn(buffer)) return buffer.owner;
    return buffer.sync && buffer;
  }

  /** The buffer by which this device addresses another; undefined where it cannot. */
  #reach(buffer: DeviceBuffer): VulkanBuffer | undefined {
    return this.#isOwn(buffer) ? buffer : this.#host.foreign.imported(buffer);
  }

  #hostPart({ buffer, byteOffset }: BufferView): Uint8Array {
    return buffer.host!.subarray(byteOffset, byteOffset + this.#byteLength);
  }

  #isOwn(buffer: DeviceBuffer): buffer is VulkanBuffer {
    return buffer instanceof VulkanBuffer && buffer.device === this.#host.handle;
  }

  #expectReachable({ buffer, byteOffset }: BufferView): void {
    if (buffer instanceof VulkanBuffer) buffer.expectAlive();
    if (this.#isOwn(buffer)) return;
    if (!buffer.host) {
      throw new UnicornError('usage/binding', 'The host cannot address the other device’s buffer.', {
        fix: "Allocate it with host: 'required'.",
      });
    }
    if (buffer.host.byteLength < byteOffset + this.#byteLength) {
      throw new UnicornError('usage/disposed', 'The buffer was disposed of.', {
        fix: 'Allocate another one, or dispose of it later.',
      });
    }
  }
}

/** A read or write of an imported buffer whose memory is another device's and not coherent. */
export class SyncedTransfer implements Submission {
  /**
   * @param owner of the memory
   * @param direction `toHost` of a read, `toDevice` of a write
   * @param start begins the transfer; returns the job
   */
  constructor(
    private readonly foreign: ForeignBuffers,
    private readonly owner: DeviceBuffer,
    private readonly direction: SyncDirection,
    private readonly range: ByteRange,
    private readonly start: () => number,
  ) {}

  ready(): Promise<void> | undefined {
    return this.foreign.pending.get(this.owner);
  }

  detach(): void {
    // What is written was copied before.
  }

  run(): number {
    if (this.direction === 'toHost') this.owner.sync?.('toHost', [this.range]);
    return this.start();
  }

  ended(): undefined {
    // What goes wrong is the job's failure.
  }

  finish(): undefined {
    if (this.direction === 'toDevice') this.owner.sync?.('toDevice', [this.range]);
  }
}
