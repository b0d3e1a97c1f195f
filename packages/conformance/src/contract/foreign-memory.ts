/** Memory of other devices that contract cases bind: coherent; not coherent, and watched; of the same backend. */
import {
  isUnicornError,
  referenceBackend,
  resolveBindings,
  touchedBindings,
  type Bindings,
  type ByteRange,
  type Device,
  type DeviceBuffer,
  type Executable,
  type Graph,
  type SyncDirection,
} from '@unicorn-exec/tensor';
import { IncoherentBuffer } from '../incoherent-buffer.js';
import type { ContractContext } from './contract-case.js';

export interface ForeignBuffer {
  /** Whose memory it is, as messages name it. */
  readonly owner: string;
  readonly buffer: DeviceBuffer;
  /** Replaces all bytes, as the owner does. */
  write(bytes: Uint8Array): Promise<void>;
  /** All bytes, as the owner sees them. */
  read(): Promise<Uint8Array>;
  /** Allows a submission what it touches of the buffer. */
  permit(graph: Graph, executable: Executable, bindings: Bindings): void;
  /** What was synchronized that no submission touches, as a sentence; undefined where there is no such thing. */
  excess(): string | undefined;
}

/** Bytes of a cache line, to which ranges may be rounded. What goes beyond was not touched. */
const lineBytes = 64;

function contains(allowed: readonly ByteRange[], { byteOffset, byteLength }: ByteRange): boolean {
  const end = byteOffset + byteLength;
  return allowed.some((range) => {
    const from = Math.floor(range.byteOffset / lineBytes) * lineBytes;
    const to = Math.ceil((range.byteOffset + range.byteLength) / lineBytes) * lineBytes;
    return byteOffset >= from && end <= to;
  });
}

/** Memory of a device that does not exist, which its owner and the host see apart. The host sees junk until it synchronizes. */
class WatchedMemory implements ForeignBuffer {
  readonly owner = 'a device whose memory is not coherent';
  readonly buffer: IncoherentBuffer;
  readonly #allowed: Record<SyncDirection, ByteRange[]> = { toHost: [], toDevice: [] };
  #excess: string | undefined;

  constructor(byteLength: number) {
    this.buffer = new IncoherentBuffer(byteLength, (direction, ranges) => this.#watch(direction, ranges));
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.buffer.owned.set(bytes);
    this.buffer.host.fill(0x55);
  }

  async read(): Promise<Uint8Array> {
    return this.buffer.owned.slice();
  }

  permit(graph: Graph, { signature }: Executable, bindings: Bindings): void {
    for (const { binding, ranges, written } of touchedBindings(
      graph,
      resolveBindings(signature, bindings.dims, bindings),
    )) {
      if (binding.source.kind !== 'buffer' || binding.source.buffer !== this.buffer) continue;
      this.#allowed.toHost.push(...ranges);
      this.#allowed.toDevice.push(...written);
    }
  }

  /** Allows a copy to or from the buffer. */
  permitRange(direction: SyncDirection, range: ByteRange): void {
    this.#allowed[direction].push(range);
  }

  excess(): string | undefined {
    return this.#excess;
  }

  #watch(direction: SyncDirection, ranges: readonly ByteRange[]): void {
    for (const range of ranges) {
      if (contains(this.#allowed[direction], range)) continue;
      const { byteOffset, byteLength } = range;
      this.#excess ??= `${byteLength} bytes from ${byteOffset} on were synchronized ${direction}, which were not touched`;
    }
  }
}

/** A buffer of a device that is open. */
export function ofDevice(owner: string, device: Device, buffer: DeviceBuffer): ForeignBuffer {
  return {
    owner,
    buffer,
    write: (bytes) => device.write(buffer, 0, bytes),
    read: () => device.read(buffer, 0, buffer.byteLength),
    permit: () => {},
    excess: () => undefined,
  };
}

/** Undefined when the device has no memory that the host can address. */
export function hostMemoryOf(device: Device, byteLength: number): DeviceBuffer | undefined {
  try {
    return device.allocate(byteLength, { host: 'required' });
  } catch (error) {
    if (isUnicornError(error) && error.code === 'unsupported/host-memory') return undefined;
    throw error;
  }
}

/** Undefined when the device cannot address that memory. */
export function importOrRefuse(device: Device, memory: Uint8Array | DeviceBuffer): DeviceBuffer | undefined {
  try {
    return device.importBuffer(memory);
  } catch (error) {
    if (isUnicornError(error) && error.code === 'unsupported/import') return undefined;
    throw error;
  }
}

export function watchedMemory(byteLength: number): WatchedMemory {
  return new WatchedMemory(byteLength);
}

export type { WatchedMemory };

/** Calls `use` with a buffer of each kind of other device, one after the other. */
export async function forEachForeign(
  { backend, id }: ContractContext,
  byteLength: number,
  use: (foreign: ForeignBuffer) => Promise<void>,
): Promise<void> {
  const [reference, second] = [await referenceBackend.open(), await backend.open(id)];
  try {
    const sibling = hostMemoryOf(second, byteLength);
    const all = [
      ofDevice('the reference device', reference, reference.allocate(byteLength, { host: 'required' })),
      watchedMemory(byteLength),
      ...(sibling ? [ofDevice('a second device of the backend', second, sibling)] : []),
    ];
    for (const foreign of all) {
      await use(foreign);
      foreign.buffer.dispose();
    }
  } finally {
    await reference.close();
    await second.close();
  }
}
