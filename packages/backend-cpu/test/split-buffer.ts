/** A buffer of a device whose view of the memory and the host's differ until they are synchronized. */
import type { ByteRange, DeviceBuffer, SyncDirection } from '@unicorn-exec/tensor';

export class SplitBuffer implements DeviceBuffer {
  readonly byteLength: number;
  readonly host: Uint8Array;
  /** What the other device sees. */
  readonly far: Uint8Array;
  /** `toHost 0+16`, one for each range of each call. */
  readonly calls: string[] = [];

  constructor(byteLength: number) {
    this.byteLength = byteLength;
    this.host = new Uint8Array(byteLength);
    this.far = new Uint8Array(byteLength);
  }

  sync(direction: SyncDirection, ranges: readonly ByteRange[]): void {
    const [from, to] = direction === 'toHost' ? [this.far, this.host] : [this.host, this.far];
    for (const { byteOffset, byteLength } of ranges) {
      this.calls.push(`${direction} ${byteOffset}+${byteLength}`);
      to.set(from.subarray(byteOffset, byteOffset + byteLength), byteOffset);
    }
  }

  /** What the other device wrote and reads, as f32. */
  get farFloats(): Float32Array {
    return new Float32Array(this.far.buffer);
  }

  dispose(): void {}
}
