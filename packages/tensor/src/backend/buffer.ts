/** Memory of devices, and how it is shared between them. */

/** A part of a buffer, in bytes. */
export interface ByteRange {
  readonly byteOffset: number;
  readonly byteLength: number;
}

export interface AllocateOptions {
  /** The name that it will be bound under, where that is known: a device made of several chooses one of them by it. */
  readonly name?: string;
  /**
   * `required`: the buffer has `host`, so that other devices may be handed it. `any` (default): the device chooses what
   * is fastest for itself.
   */
  readonly host?: 'required' | 'any';
}

export interface DeviceBuffer {
  readonly byteLength: number;
  /**
   * The memory itself when the host can address it. A buffer that has it may be bound on every device, in every role.
   * Do not touch a part of it that an unfinished submission works on.
   */
  readonly host?: Uint8Array | undefined;
  /**
   * Present when the device's view of the memory and the host's may differ, as behind a cache that is not coherent. Code that
   * touches `host`, or binds the buffer on a device that is not its own, calls it with the ranges touched and nothing
   * more: `toHost` before reading, so that what the device wrote is there; `toDevice` after writing, before the device
   * uses it. A device does this itself for the foreign buffers that are bound to it.
   */
  readonly sync?: ((direction: SyncDirection, ranges: readonly ByteRange[]) => void) | undefined;
  /**
   * Idempotent. Submissions that have begun keep the memory to their end; one that has yet to begin may fail with
   * `usage/disposed`.
   */
  dispose(): void;
}

export type SyncDirection = 'toHost' | 'toDevice';

/** A part of a buffer from an offset on. As a binding, `byteOffset` is a multiple of the device's `alignmentBytes`. */
export interface BufferView {
  readonly buffer: DeviceBuffer;
  readonly byteOffset: number;
}
