/**
 * What a submission does about buffers of other devices that are bound to it. It makes visible to this device what others
 * wrote, and to them what it wrote. Of buffers that this device cannot address it copies the touched ranges into and out of
 * shadows.
 */
import { guarded } from '@unicorn-exec/native';
import type { ByteRange, DeviceBuffer } from '@unicorn-exec/tensor';
import type { NativeAddon } from '../addon.js';
import type { VulkanBuffer } from '../device/buffer.js';
import type { ForeignBuffers, Shadow } from '../device/foreign-buffers.js';
import type { JobQueue } from '../device/queue.js';

export interface ForeignPart {
  readonly buffer: DeviceBuffer;
  /** Ranges of the buffer, ascending and disjoint. */
  readonly ranges: readonly ByteRange[];
  /** Ranges that the submission writes, likewise. */
  readonly written: readonly ByteRange[];
  readonly isRead: boolean;
  /** The shadow that kernels work on, where they cannot address the buffer itself. */
  readonly shadow?: Shadow | undefined;
}

/** Data that the addon copies into a buffer before a submission runs. */
export interface CopiedIn {
  readonly data: Uint8Array;
  readonly target: VulkanBuffer;
  readonly byteOffset: number;
}

export interface ForeignHost {
  readonly addon: NativeAddon;
  readonly handle: Parameters<NativeAddon['read']>[0];
  readonly queue: JobQueue;
  readonly foreign: ForeignBuffers;
}

export class ForeignParts {
  /** Ends what others wait for: set while the submission is in flight. */
  #release: (() => void) | undefined;

  constructor(
    private readonly host: ForeignHost,
    private readonly parts: readonly ForeignPart[],
  ) {}

  /** Resolves when what earlier submissions left in the shadows is back with its owners; undefined when it is now. */
  get ready(): Promise<void> | undefined {
    for (const { buffer, shadow } of this.parts) {
      const pending = shadow?.pending ?? this.host.foreign.pending.get(buffer);
      if (pending) return pending;
    }
    return undefined;
  }

  /** Call when the submission's turn has come. @returns what goes into the shadows */
  before(): CopiedIn[] {
    return this.parts.flatMap(({ buffer, ranges, isRead, shadow }): CopiedIn[] => {
      buffer.sync?.('toHost', ranges);
      if (!shadow || !isRead) return [];
      return ranges.map(({ byteOffset, byteLength }) => {
        this.host.foreign.copiedBytes += byteLength;
        const data = buffer.host!.subarray(byteOffset, byteOffset + byteLength);
        return { data, target: shadow.buffer, byteOffset };
      });
    });
  }

  /** Call when the submission is the device's: later ones that use a shadow wait for it. */
  submitted(): void {
    const written = this.#written.filter(({ buffer, shadow }) => shadow || buffer.sync);
    if (written.length === 0) return;
    const pending = new Promise<void>((resolve) => (this.#release = resolve));
    for (const { buffer, shadow } of written) {
      if (shadow) shadow.pending = pending;
      else this.host.foreign.pending.set(buffer, pending);
    }
  }

  /** Call when it has ended well. Resolves when what it wrote is where it belongs; undefined when it is now. */
  finish(): Promise<void> | undefined {
    const copied = this.#written.flatMap(({ buffer, written, shadow }) =>
      shadow ? written.map((range) => this.#copyOut(buffer, shadow, range)) : [],
    );
    if (copied.length > 0) return Promise.all(copied).then(() => this.#makeVisible());
    this.#makeVisible();
    return undefined;
  }

  /** Call at the very end, well or not. */
  settled(): void {
    for (const { buffer, shadow } of this.#written) {
      if (shadow) shadow.pending = undefined;
      else this.host.foreign.pending.delete(buffer);
    }
    this.#release?.();
  }

  get #written(): readonly ForeignPart[] {
    return this.parts.filter(({ written }) => written.length > 0);
  }

  #copyOut(buffer: DeviceBuffer, shadow: Shadow, { byteOffset, byteLength }: ByteRange): Promise<void> {
    const { addon, handle, queue, foreign } = this.host;
    foreign.copiedBytes += byteLength;
    const into = buffer.host!.subarray(byteOffset, byteOffset + byteLength);
    const job = guarded(() => addon.read(handle, shadow.buffer.handle, byteOffset, into));
    return queue.settled(job, { holds: [into] });
  }

  #makeVisible(): void {
    for (const { buffer, written } of this.#written) buffer.sync?.('toDevice', written);
  }
}
