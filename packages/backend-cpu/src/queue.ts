/**
 * The queue of one device. The addon does its jobs in the order in which it is given them, without JavaScript in between.
 * Work that must wait in JavaScript first, for another device or for a buffer that is not coherent, holds up everything
 * behind it.
 */
import { guarded, JobTable, type JobOptions } from '@unicorn-exec/native';
import { completionsOf, endOf } from '@unicorn-exec/tensor';
import type { Completion, HostSync, SubmissionTime, SubmitOptions } from '@unicorn-exec/tensor';
import type { DeviceHandle, NativeAddon } from './addon.js';

/** Work for the queue: a submission or a copy. */
export interface Work {
  /**
   * Hands the work to the addon.
   *
   * @param after jobs of this device that must go well
   * @returns the job
   */
  begin(after: readonly number[] | undefined): number;
  /** Memory of JavaScript that the work reads or writes. */
  readonly holds: readonly unknown[];
  /** Synchronizes buffers around the work, where one that it touches is not coherent. */
  readonly sync?: HostSync | undefined;
  /** The same work over copies of what the caller may overwrite before it begins. Absent: nothing is. */
  detached?(): Work;
}

class CpuCompletion implements Completion, JobOptions {
  done!: Promise<void>;
  /** Set once the work is in the addon's queue. */
  job: number | undefined;
  /** Whether `done` is settled by something that comes after the job. */
  isLater = false;
  /** Set once the work has failed. */
  failure: unknown;
  /** What the job reads or writes, until it has ended. */
  holds: readonly unknown[] | undefined;
  /** By the clock of `performance.now()`; both 0 until the work has ended, and when it failed before it began. */
  beginMs = 0;
  endMs = 0;

  constructor(readonly queue: CpuQueue) {}

  ended(failure: unknown, beginMs: number, endMs: number): void {
    this.failure = failure;
    this.holds = undefined;
    if (endMs === 0) return;
    this.beginMs = beginMs + this.queue.clockOffsetMs;
    this.endMs = endMs + this.queue.clockOffsetMs;
  }

  times(): readonly SubmissionTime[] {
    const { queue, beginMs, endMs } = this;
    return endMs === 0 ? [] : [{ device: queue.device, beginMs, endMs }];
  }
}

const none: readonly CpuCompletion[] = [];

/** Keeps a caller that awaits only the last of many from being ended by an unhandled rejection of an earlier one. */
function ignore(): void {}

export class CpuQueue {
  readonly handle: DeviceHandle;
  /** The jobs of the addon, loads of weights too. */
  readonly jobs = new JobTable();
  /** From the addon's clock to that of `performance.now()`, which may begin elsewhere in each thread. */
  readonly clockOffsetMs: number;
  /** Until what waits in JavaScript has begun: the order of submission is kept. */
  #gate: Promise<void> | undefined;
  /** Until the last work with a buffer that is not coherent has ended and the buffer is synchronized. */
  #synced: Promise<void> | undefined;

  /**
   * @param device `info.id`
   * @throws UnicornError `resource/threads`
   */
  constructor(
    addon: NativeAddon,
    readonly device: string,
    threads: number,
    level: string,
  ) {
    this.handle = guarded(() => addon.openDevice(threads, level, this.jobs.listener));
    this.clockOffsetMs = clockOffset(addon);
  }

  /**
   * Runs `work` after everything before it.
   *
   * @throws UnicornError at once what the addon refuses, when the work can begin at once
   */
  enqueue(work: Work, options?: SubmitOptions): Completion {
    const completion = new CpuCompletion(this);
    if (options?.after === undefined && this.#gate === undefined && work.sync === undefined) {
      completion.done = this.#begin(work, none, completion);
      return completion;
    }
    const own: CpuCompletion[] = [];
    const foreign: Completion[] = [];
    for (const earlier of completionsOf(options ?? {})) {
      if (earlier instanceof CpuCompletion && earlier.queue === this) own.push(earlier);
      else foreign.push(earlier);
    }
    const mustWait = this.#gate !== undefined || foreign.length > 0 || work.sync !== undefined;
    completion.done = mustWait
      ? this.#beginLater(work.detached?.() ?? work, own, foreign, completion)
      : this.#begin(work, own, completion);
    return completion;
  }

  /** True when nothing is queued or at work, loads included. */
  get isIdle(): boolean {
    return this.#gate === undefined && this.#synced === undefined && this.jobs.isIdle;
  }

  /** Resolves when everything enqueued so far has ended, well or not. */
  async idle(): Promise<void> {
    while (!this.isIdle) {
      await this.#gate;
      await this.jobs.idle();
      await this.#synced;
    }
  }

  #begin(work: Work, own: readonly CpuCompletion[], completion: CpuCompletion): Promise<void> {
    if (own.length > 0) {
      const failed = own.find(({ failure }) => failure !== undefined);
      if (failed) {
        completion.failure = failed.failure;
        return failing(failed.failure);
      }
    }
    // The addon has forgotten jobs that have ended, and ignores their numbers.
    const after = own.length === 0 ? undefined : own.map(({ job }) => job!);
    const job = guarded(() => work.begin(after));
    completion.job = job;
    completion.holds = work.holds;
    const settled = this.jobs.settled(job, completion);
    settled.catch(ignore);
    // Jobs end in their order, and share the failures of those that they come after.
    if (!own.some(({ isLater }) => isLater)) return settled;
    return settleLater(
      completion,
      settled.then(() => endOf(own)).then(() => {}),
    );
  }

  /** Waits for what was enqueued before and for other devices, then begins. */
  #beginLater(
    work: Work,
    own: readonly CpuCompletion[],
    foreign: readonly Completion[],
    completion: CpuCompletion,
  ): Promise<void> {
    const { sync } = work;
    const before = this.#gate;
    const synced = sync && this.#synced;
    let beginMs = 0;
    const begun = (async (): Promise<{ ended: Promise<void> }> => {
      try {
        await before;
        // What the host has not synchronized yet would be overwritten by the device's older bytes.
        await synced;
        await endOf(foreign);
        beginMs = performance.now();
        if (own.every(({ failure }) => failure === undefined)) sync?.before();
        // The promise is returned in an object, since it would be awaited otherwise.
        return { ended: this.#begin(work, own, completion) };
      } catch (failure) {
        // The failure is known before work that waits for it can begin.
        completion.failure = failure;
        throw failure;
      }
    })();
    const gate = settling(begun);
    this.#gate = gate;
    void gate.then(() => {
      if (this.#gate === gate) this.#gate = undefined;
    });
    if (!sync) {
      return settleLater(
        completion,
        begun.then(({ ended }) => ended),
      );
    }
    const done = settleLater(
      completion,
      begun.then(async ({ ended }) => {
        try {
          await ended;
          sync.after();
        } finally {
          completion.beginMs = beginMs;
          completion.endMs = performance.now();
        }
      }),
    );
    const end = settling(done);
    this.#synced = end;
    void end.then(() => {
      if (this.#synced === end) this.#synced = undefined;
    });
    return done;
  }
}

function failing(failure: unknown): Promise<never> {
  // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what another completion rejected with
  const failed = Promise.reject<never>(failure);
  failed.catch(ignore);
  return failed;
}

/** Settles a completion whose work ends with more than its job. */
function settleLater(completion: CpuCompletion, done: Promise<void>): Promise<void> {
  completion.isLater = true;
  done.catch((failure: unknown) => (completion.failure = failure));
  return done;
}

/** Resolves when the promise has settled, well or not. */
function settling(promise: Promise<unknown>): Promise<void> {
  return promise.then(
    () => {},
    () => {},
  );
}

/** Both clocks count the same seconds, so they are compared once; the closest of several comparisons counts. */
function clockOffset(addon: NativeAddon): number {
  let [shortest, offset] = [Infinity, 0];
  for (let i = 0; i < 5; i++) {
    const before = performance.now();
    const steady = addon.steadyClock();
    const after = performance.now();
    if (after - before >= shortest) continue;
    shortest = after - before;
    offset = (before + after) / 2 - steady;
  }
  return offset;
}
