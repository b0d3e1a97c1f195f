/**
 * The jobs of a device that JavaScript waits for: the other end of `unicorn/job-channel.h`. The addon is given the
 * listener, and makes a promise of each job's number.
 */
import { throwIfCancelled, type LoadOptions, type UnicornError } from '@unicorn-exec/tensor';
import { nativeFailure } from './failure.js';

/**
 * Told of each message of a device: the end of a job (`ended`, with the JSON of its failure unless it went well, and when
 * it was worked on), or before it that a job has loaded so many bytes. Times are milliseconds of the device's own clock;
 * both are 0 for work that failed before it began, and of devices that tell none.
 */
export type JobListener = (
  job: number,
  ended: boolean,
  loadedBytes: number,
  failure?: string,
  beginMs?: number,
  endMs?: number,
) => void;

/** Options of waiting for a job. */
export interface JobOptions {
  /** Told of the bytes that the job has loaded so far. */
  readonly progress?: ((loadedBytes: number) => void) | undefined;
  /** Memory of JavaScript that the job reads or writes: kept from the garbage collector until it has ended. */
  readonly holds?: readonly unknown[] | undefined;
  /** Called once when the job has ended, before its promise settles, with the times of {@link JobListener}. */
  ended?(failure: UnicornError | undefined, beginMs: number, endMs: number): void;
}

/** A job that loads weights. */
export interface LoadJob {
  readonly job: number;
  readonly totalBytes: number;
  abort(): void;
  discard(): void;
}

class PendingJob {
  /** Callbacks of those who wait in `idle`. */
  watchers: (() => void)[] | undefined;

  constructor(
    readonly options: JobOptions,
    readonly resolve: () => void,
    readonly reject: (error: UnicornError) => void,
  ) {}
}

const noOptions: JobOptions = {};

export class JobTable {
  readonly #pending = new Map<number, PendingJob>();

  /** The listener to give to the addon when the device is opened. */
  readonly listener: JobListener = (job, ended, loadedBytes, failure, beginMs = 0, endMs = 0) => {
    const pending = this.#pending.get(job);
    if (!ended) return pending?.options.progress?.(loadedBytes);
    this.#pending.delete(job);
    if (!pending) return;
    const error = failure === undefined ? undefined : nativeFailure(failure);
    pending.options.ended?.(error, beginMs, endMs);
    if (error) pending.reject(error);
    else pending.resolve();
    if (!pending.watchers) return;
    for (const wake of pending.watchers) wake();
  };

  /**
   * Waits for a job. Call it in the same turn in which the job was begun: its end is told in a later one.
   *
   * @returns a promise that resolves when the job has ended
   * @throws UnicornError the job's failure, as a rejection
   */
  settled(job: number, options = noOptions): Promise<void> {
    return new Promise((resolve, reject) => this.#pending.set(job, new PendingJob(options, resolve, reject)));
  }

  /**
   * Waits for a job that loads weights: tells of its progress, and ends it when the signal says so.
   *
   * @param load its number, the bytes that it loads in all, how to end it early, and how to let go of what it has loaded
   * @throws UnicornError as a rejection, what was loaded being let go: the job's failure, `usage/cancelled`
   */
  async loaded(load: LoadJob, { signal, onProgress }: LoadOptions): Promise<void> {
    const { job, totalBytes, abort, discard } = load;
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await this.settled(job, { progress: (loadedBytes) => onProgress?.({ loadedBytes, totalBytes }) });
      // The signal may have come too late for the job to fail.
      throwIfCancelled(signal, 'Loading');
    } catch (error) {
      discard();
      throwIfCancelled(signal, 'Loading');
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    onProgress?.({ loadedBytes: totalBytes, totalBytes });
  }

  /** True when no job is waited for. */
  get isIdle(): boolean {
    return this.#pending.size === 0;
  }

  /** Resolves when every job that is waited for now has ended, well or not. */
  async idle(): Promise<void> {
    await Promise.all(
      [...this.#pending.values()].map(
        (pending) => new Promise<void>((resolve) => (pending.watchers ??= []).push(resolve)),
      ),
    );
  }
}
