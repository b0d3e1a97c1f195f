/** A read, a write or a copy among the parts of submissions: it keeps its place where it touches the same bytes as they. */
import type { BufferView, Completion, SubmissionTime } from '@unicorn-exec/tensor';
import { AnnouncedWork, type PartOrder, type TouchedRanges } from './part-order.js';

/** What a transfer reads or writes. */
export interface TransferRange extends BufferView {
  readonly byteLength: number;
  readonly isWritten: boolean;
}

class TransferWork extends AnnouncedWork {
  constructor(
    device: number,
    private readonly ranges: readonly TransferRange[],
  ) {
    super(device);
  }

  touched(): readonly TouchedRanges[] {
    return this.ranges.map(({ buffer, byteOffset, byteLength, isWritten }) => {
      const ranges = [{ byteOffset, byteLength }];
      return { buffer, ranges, written: isWritten ? ranges : [] };
    });
  }

  begin(done: Promise<unknown>): void {
    this.handedOver(done);
  }
}

/**
 * Begins a transfer when what it has to wait for has happened; at once where that is nothing.
 *
 * @param device index of the device that makes it
 * @param after what it waits for besides
 * @param start makes it; what it throws at once is thrown here when nothing is waited for
 */
export function orderedTransfer<T>(
  order: PartOrder,
  device: number,
  ranges: readonly TransferRange[],
  after: readonly Promise<unknown>[],
  start: () => Promise<T>,
): Promise<T> {
  const work = new TransferWork(device, ranges);
  order.announce(work);
  const begin = (): Promise<T> => {
    try {
      const done = start();
      work.begin(done);
      return done;
    } catch (error) {
      work.skip();
      throw error;
    }
  };
  if (after.length === 0 && order.waitsFor(work).length === 0) return begin();
  const later = async (): Promise<T> => {
    try {
      await Promise.all(after);
      await Promise.all(order.waitsFor(work));
    } catch (error) {
      work.skip();
      throw error;
    }
    return begin();
  };
  return later();
}

/** A completion whose own is made later. */
export class LateCompletion implements Completion {
  #made: Completion | undefined;
  readonly done: Promise<void>;

  /** @param when told how to submit, and when */
  constructor(when: (submit: (make: () => Completion) => Promise<void>) => Promise<void>) {
    this.done = when((make) => (this.#made = make()).done);
    // A caller that awaits only a later one must not be ended by an unhandled rejection of this one.
    this.done.catch(() => {});
  }

  times(): readonly SubmissionTime[] {
    return this.#made?.times() ?? [];
  }
}
