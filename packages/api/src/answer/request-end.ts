/** What ends a request before its answer does: its caller's signal, its deadline, or its reader, who leaves. */

/** The first of them holds. */
export type EarlyEnd = 'cancelled' | 'deadline' | 'left';

/** The longest that a timer of Node can wait, 25 days; a later deadline is looked at again then. */
const longestTimerMs = 2 ** 31 - 1;

export class RequestEnd {
  readonly #controller = new AbortController();
  readonly #ended: Promise<undefined>;
  #settle!: (nothing: undefined) => void;
  #reason: EarlyEnd | undefined;
  #timer: NodeJS.Timeout | undefined;
  #unwatch: (() => void) | undefined;
  /** Called once, when there is a reason. */
  onEnd: ((reason: EarlyEnd) => void) | undefined;

  constructor() {
    this.#ended = new Promise((resolve) => (this.#settle = resolve));
  }

  get reason(): EarlyEnd | undefined {
    return this.#reason;
  }

  /** Aborted when the scheduler is to compute no more. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Watches until {@link dispose}. A deadline in milliseconds counts from this call. */
  watch({
    signal,
    deadline,
  }: {
    signal?: AbortSignal | undefined;
    deadline?: number | Date | undefined;
  }): void {
    const cancel = (): void => this.end('cancelled');
    if (signal?.aborted) return cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    this.#unwatch = () => signal?.removeEventListener('abort', cancel);
    if (deadline === undefined) return;
    const leftMs = typeof deadline === 'number' ? deadline : deadline.getTime() - Date.now();
    this.#wait(performance.now() + leftMs);
  }

  end(reason: EarlyEnd): void {
    if (this.#reason) return;
    this.#reason = reason;
    this.#settle(undefined);
    this.#controller.abort();
    this.onEnd?.(reason);
  }

  /** The answer is complete although the model would go on. */
  stop(): void {
    this.#controller.abort();
  }

  /** What `work` gives, or undefined as soon as the request has ended. */
  before<T>(work: Promise<T>): Promise<T | undefined> {
    return Promise.race([this.#ended, work]);
  }

  /** Lets go of the signal and the timer. */
  dispose(): void {
    this.#unwatch?.();
    clearTimeout(this.#timer);
  }

  #wait(deadlineMs: number): void {
    const leftMs = deadlineMs - performance.now();
    if (leftMs <= 0) return this.end('deadline');
    this.#timer = setTimeout(() => this.#wait(deadlineMs), Math.min(Math.ceil(leftMs), longestTimerMs));
  }
}
