/** Weights on a device. */
import type { TensorSpec } from '../graph/graph.js';

export interface WeightEntry extends TensorSpec {
  readonly name: string;
  /** Concrete, row-major, slowest axis first. */
  readonly shape: readonly number[];
  readonly source: FileSource | BytesSource;
  /** `host` entries stay in mapped memory and are gathered row by row (per-layer embeddings). Default `device`. */
  readonly residency?: 'device' | 'host';
}

export interface FileSource {
  readonly kind: 'file';
  readonly path: string;
  readonly offset: number;
  readonly byteLength: number;
}

export interface BytesSource {
  readonly kind: 'bytes';
  readonly bytes: Uint8Array;
}

export interface LoadOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly loadedBytes: number; readonly totalBytes: number }) => void;
  /**
   * Folder in which the device may keep the forms that it packs weights into, by the files' hashes and its own layout
   * version, so that the next load finds them. Absent: nothing is kept.
   */
  readonly cacheDirectory?: string;
}

/** Weights on a device, shared by everything compiled on it. */
export interface WeightSet {
  readonly names: readonly string[];
  /** The spec under which `name` was loaded. */
  spec(name: string): TensorSpec | undefined;
  /** Bytes that the set occupies on the device, mapped host entries left out. */
  readonly byteLength: number;
  /** Idempotent. Executables compiled over the set must be disposed of first. */
  dispose(): void;
}
