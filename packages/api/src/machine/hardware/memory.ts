/** Memory of the machine, where the system tells: in a container without `/proc` Node reports 0 bytes, which is not true. */
import { freemem, totalmem } from 'node:os';

export interface MemoryBytes {
  /** Undefined where the system does not say. */
  readonly totalBytes?: number;
  /** What this process may still take, limits of its control group included. Undefined where the system does not say. */
  readonly availableBytes?: number;
}

/** What the system may be asked, so that tests answer for it. */
export interface MemorySource {
  available(): number | undefined;
  free(): number;
  total(): number;
}

const thisMachine: MemorySource = {
  available: () => process.availableMemory?.(),
  free: freemem,
  total: totalmem,
};

export function readMemory(source: MemorySource = thisMachine): MemoryBytes {
  const totalBytes = known(source.total());
  // `free` asks the kernel itself, and so answers without /proc; it leaves out what the file cache would give back.
  const availableBytes = known(source.available()) ?? known(source.free());
  return {
    ...(totalBytes === undefined ? {} : { totalBytes }),
    ...(availableBytes === undefined ? {} : { availableBytes }),
  };
}

/**
 * Bytes to plan with: those available or, where the system does not say, half of all memory. Infinity where it says nothing
 * at all: then only the memory itself can refuse.
 */
export function plannableBytes({ totalBytes, availableBytes }: MemoryBytes = readMemory()): number {
  return availableBytes ?? (totalBytes === undefined ? Number.POSITIVE_INFINITY : totalBytes / 2);
}

const known = (bytes: number | undefined): number | undefined =>
  bytes !== undefined && Number.isFinite(bytes) && bytes > 0 ? bytes : undefined;
