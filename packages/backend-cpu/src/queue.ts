/**
 * The queue of one device. The addon works on what it was given in that order, without JavaScript in between. What must
 * wait in JavaScript first, for another device or for a buffer that is not coherent, holds up everything behind it.
 */
import { guarded, JobTable } from '@unicorn-exec/native';
import { completionsOf, endOf } from '@unicorn-exec/tensor';
import type { Completion, HostSync, SubmissionTime, SubmitOptions } from '@unicorn-exec/tensor';
import type { DeviceHandle, NativeAddon } from './addon.js';

/** What the queue is given: a submission or a copy. */
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
  /** Around the work, where it touches a buffer that is not coherent. */
  readonly sync?: HostSync | undefined;
  /** The same work over copies of what the caller may overwrite before it begins. Absent: nothing is. */
  detached?(): Work;
}

class CpuCompletion implements Completion {
  done!: Promise<void>;
  /** Set once the work is in the addon's queue. */
  job: number | undefined;
  /** Set once the work has failed. */
  failure: unknown;
  time: SubmissionTime | undefined;

  constructor(readonly queue: CpuQueue) {}

  times(): readonly SubmissionTime[] {
    return this.time ? [this.time] : [];
  }
}

export class CpuQueue {
  readonly handle: DeviceHandle;
  /** The jobs of the addon, loads of weights too. */
  readonly jobs = new JobTable((job) => this.#stamp(job));
  readonly #addon: NativeAddon;
  readonly #device: string;
  /** From the addon's clock to that of `performance.now()`, which may begin elsewhere in each thread. */
  readonly #clockOffsetMs: number;
  readonly #stamps = new Float64Array(2);
  readonly #running = new Map<number, CpuCompletion>();
  /** Until what waits in JavaScript has begun: the order of submission is kept. */
  #gate: Promise<void> | undefined;
  /** Until the last work with a buffer that is not coherent has ended and the buffer is synchronized. */
  #synced: Promise<void> | undefined;

  /**
   * @param device `info.id`
   * @throws UnicornError `resource/threads`
   */
  constructor(addon: NativeAddon, device: string, threads: number, level: string) {
    this.#addon = addon;
    this.#device = device;
    this.handle = guarded(() => addon.openDevice(threads, level, this.jobs.listener));
    this.#clockOffsetMs = clockOffset(addon);
  }

  /**
   * Runs `work` after everything before it.
   *
   * @throws UnicornError at once what the addon refuses, when the work can begin at once
   */
  enqueue(work: Work, options: SubmitOptions = {}): Completion {
    const completion = new CpuCompletion(this);
    const own: CpuCompletion[] = [];
    const foreign: Completion[] = [];
    for (const earlier of completionsOf(options)) {
      if (earlier instanceof CpuCompletion && earlier.queue === this) own.push(earlier);
      else foreign.push(earlier);
    }
    const mustWait = this.#gate !== undefined || foreign.length > 0 || work.sync !== undefined;
    completion.done = mustWait
      ? this.#beginLater(work.detached?.() ?? work, own, foreign, completion)
      : this.#begin(work, own, completion);
    // A caller that awaits only the last of many must not be ended by an unhandled rejection of an earlier one.
    completion.done.catch((failure: unknown) => (completion.failure = failure));
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
    const failed = own.find(({ failure }) => failure !== undefined);
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what another completion rejected with
    if (failed) return Promise.reject(failed.failure);
    // The addon knows nothing more of a job that has ended, and takes no notice of it.
    const after = own.length === 0 ? undefined : own.map(({ job }) => job!);
    const job = guarded(() => work.begin(after));
    completion.job = job;
    // Work with `sync` ends after its job.
    if (!work.sync) this.#running.set(job, completion);
    const settled = this.jobs.settled(job, { holds: work.holds });
    return own.length === 0 ? settled : settled.then(() => endOf(own)).then(() => {});
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
        // In an object, since a promise that is returned would be awaited.
        return { ended: this.#begin(work, own, completion) };
      } catch (failure) {
        // Known before whoever waits for it can begin.
        completion.failure = failure;
        throw failure;
      }
    })();
    const gate = settling(begun);
    this.#gate = gate;
    void gate.then(() => {
      if (this.#gate === gate) this.#gate = undefined;
    });
    if (!sync) return begun.then(({ ended }) => ended);
    const done = begun.then(async ({ ended }) => {
      try {
        await ended;
        sync.after();
      } finally {
        completion.time = { device: this.#device, beginMs, endMs: performance.now() };
      }
    });
    const end = settling(done);
    this.#synced = end;
    void end.then(() => {
      if (this.#synced === end) this.#synced = undefined;
    });
    return done;
  }

  /** Told of the end of each job. */
  #stamp(job: number): void {
    const stamps = this.#stamps;
    this.#addon.jobEnded(this.handle, job, stamps);
    const completion = this.#running.get(job);
    if (!completion) return;
    this.#running.delete(job);
    const [beginMs, endMs] = stamps as unknown as [number, number];
    // Work that failed before it began has no time.
    if (endMs === 0) return;
    completion.time = {
      device: this.#device,
      beginMs: beginMs + this.#clockOffsetMs,
      endMs: endMs + this.#clockOffsetMs,
    };
  }
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
