/**
 * The order of work on several devices. Each device keeps the order of what it is given; what is given to different ones
 * is in no order, so work that touches the same bytes as earlier, unfinished work elsewhere waits for that, and for nothing
 * else. Work that only one device will ever see is never delayed here.
 */
import {
  memoryPlace,
  rangesOverlap,
  type ByteRange,
  type DeviceBuffer,
  type MemoryPlace,
} from '@unicorn-exec/tensor';

/** The parts of a buffer that work reads and writes, relative to the buffer's beginning. */
export interface TouchedRanges {
  readonly buffer: DeviceBuffer;
  /** All of them, ascending and disjoint. */
  readonly ranges: readonly ByteRange[];
  /** Those that are written, likewise. */
  readonly written: readonly ByteRange[];
}

/** Work that is on its way to a device or on it. */
export interface OrderedWork {
  /** Index of the device. */
  readonly device: number;
  /** What it touches; asked for only when work on another device is on its way too. */
  touched(): readonly TouchedRanges[];
  /** True once the device has it. */
  isHanded: boolean;
  /** Resolves when the device has it, or will never have it. */
  readonly handed: Promise<void>;
  /** Resolves when it has ended, well or not. */
  readonly ended: Promise<void>;
}

/** Work whose beginning and end its maker tells. */
export abstract class AnnouncedWork implements OrderedWork {
  isHanded = false;
  readonly handed: Promise<void>;
  readonly ended: Promise<void>;
  #resolveHanded!: () => void;
  #resolveEnded!: () => void;

  constructor(readonly device: number) {
    this.handed = new Promise((resolve) => (this.#resolveHanded = resolve));
    this.ended = new Promise((resolve) => (this.#resolveEnded = resolve));
  }

  abstract touched(): readonly TouchedRanges[];

  /** The device has it, and has done it when `done` settles. */
  protected handedOver(done: Promise<unknown>): void {
    this.isHanded = true;
    this.#resolveHanded();
    done.then(this.#resolveEnded, this.#resolveEnded);
  }

  /** It will never run. Does nothing when it was handed over. */
  skip(): void {
    if (this.isHanded) return;
    this.handedOver(Promise.resolve());
  }
}

export class PartOrder {
  /** What has not ended, in the order in which it was announced. */
  readonly #active = new Set<OrderedWork>();

  /** Of each buffer that was seen, since one that is disposed of no longer tells it. */
  readonly #memory = new WeakMap<DeviceBuffer, MemoryPlace>();

  /**
   * Notes where a buffer lies, before it is used.
   *
   * @param memory what it was imported from, where it was. Default: the buffer
   */
  note(buffer: DeviceBuffer, memory: DeviceBuffer | Uint8Array = buffer): void {
    const known = memory instanceof Uint8Array ? undefined : this.#memory.get(memory);
    this.#memory.set(buffer, known ?? memoryPlace(memory));
  }

  /** Announces work; what is announced later comes after it where the two touch the same bytes. */
  announce(work: OrderedWork): void {
    this.#active.add(work);
    void work.ended.then(() => this.#active.delete(work));
  }

  /** What must have happened before `work`, which may have been announced, is handed to its device. */
  waitsFor(work: Pick<OrderedWork, 'device' | 'touched'>): Promise<void>[] {
    const waits: Promise<void>[] = [];
    let touched: readonly TouchedRanges[] | undefined;
    for (const earlier of this.#active) {
      if (earlier === work) break;
      const isSame = earlier.device === work.device;
      if (isSame && earlier.isHanded) continue;
      touched ??= work.touched();
      if (this.#conflict(touched, earlier.touched())) waits.push(isSame ? earlier.handed : earlier.ended);
    }
    return waits;
  }

  /** Resolves when everything announced so far has ended, well or not. */
  async idle(): Promise<void> {
    await Promise.all([...this.#active].map(({ ended }) => ended));
  }

  /** True when the two touch a byte in common that one of them writes. */
  #conflict(a: readonly TouchedRanges[], b: readonly TouchedRanges[]): boolean {
    return a.some((one) =>
      b.some((other) => {
        const [left, right] = [this.#placeOf(one.buffer), this.#placeOf(other.buffer)];
        if (left.memory !== right.memory) return false;
        const distance = right.byteOffset - left.byteOffset;
        const [ranges, written] = [moved(other.ranges, distance), moved(other.written, distance)];
        return rangesOverlap(one.written, ranges) || rangesOverlap(one.ranges, written);
      }),
    );
  }

  #placeOf(buffer: DeviceBuffer): MemoryPlace {
    const known = this.#memory.get(buffer);
    if (known) return known;
    this.note(buffer);
    return memoryPlace(buffer);
  }
}

function moved(ranges: readonly ByteRange[], distance: number): readonly ByteRange[] {
  if (distance === 0) return ranges;
  return ranges.map(({ byteOffset, byteLength }) => ({ byteOffset: byteOffset + distance, byteLength }));
}
