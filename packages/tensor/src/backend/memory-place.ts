/**
 * Where a buffer's bytes lie. Two buffers may be of one memory: both may have imported the same bytes, or parts of one
 * ArrayBuffer that overlap. Whoever orders work by the bytes that it touches compares places, never buffers.
 */
import type { DeviceBuffer } from './buffer.js';

export interface MemoryPlace {
  /** Equal for all that lies in one memory: the ArrayBuffer, or the buffer itself where the host cannot address it. */
  readonly memory: object;
  /** Where the buffer begins in it, in bytes. */
  readonly byteOffset: number;
}

/** The place of a buffer that was not disposed of, or of bytes of the host's. */
export function memoryPlace(of: DeviceBuffer | Uint8Array): MemoryPlace {
  const bytes = of instanceof Uint8Array ? of : of.host;
  // A buffer that was disposed of, or that is empty, shares no byte with any other.
  if (!(bytes instanceof Uint8Array) || bytes.byteLength === 0) return { memory: of, byteOffset: 0 };
  return { memory: bytes.buffer, byteOffset: bytes.byteOffset };
}
