/**
 * Memory that its owner and the host see differently, as behind a cache that is not coherent: two arrays, and a `sync` that
 * copies between them. Code that forgets to synchronize reads what was there before.
 */
import type { ByteRange, DeviceBuffer, SyncDirection } from '@unicorn-exec/tensor';

export class IncoherentBuffer implements DeviceBuffer {
  /** The bytes that the owner works on. Empty after `dispose`. */
  owned: Uint8Array;
  /** The bytes that all others work on. Empty after `dispose`. */
  host: Uint8Array;
  #disposed = false;

  /**
   * Zero-filled.
   *
   * @param watch called with each synchronization before it is done; what it throws, `sync` throws
   * @param released called once, when the buffer is disposed of
   */
  constructor(
    readonly byteLength: number,
    private readonly watch: (direction: SyncDirection, ranges: readonly ByteRange[]) => void = () => {},
    private readonly released: () => void = () => {},
  ) {
    this.owned = new Uint8Array(byteLength);
    this.host = new Uint8Array(byteLength);
  }

  sync(direction: SyncDirection, ranges: readonly ByteRange[]): void {
    this.watch(direction, ranges);
    const [from, to] = direction === 'toHost' ? [this.owned, this.host] : [this.host, this.owned];
    for (const { byteOffset, byteLength } of ranges) {
      to.set(from.subarray(byteOffset, byteOffset + byteLength), byteOffset);
    }
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.owned = this.host = new Uint8Array(0);
    this.released();
  }
}
