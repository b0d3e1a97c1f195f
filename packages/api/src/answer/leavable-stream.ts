/**
 * An async iterator that its reader can leave at any time. An async generator alone is not one: its `return()` waits for a
 * `next()` that is under way, and so would a leaver for a token that a long prompt stands before.
 */

/** What `for await` reads, and what a caller can end by hand. */
export interface LeavableStream<T> extends AsyncIterableIterator<T> {
  /** The first call begins; calls may overlap. After the end, and after `return` or `throw`, there is nothing more. */
  next(): Promise<IteratorResult<T, undefined>>;
  /** Leaves: a `next()` that is under way comes to nothing, unless the end had come before. Nothing was begun, or all has ended when it settles. */
  return(): Promise<IteratorResult<T, undefined>>;
  /** Leaves, and rejects with the error. */
  throw(error?: unknown): Promise<IteratorResult<T, undefined>>;
  [Symbol.asyncIterator](): this;
  /** As `return`: for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Yields, and returns the last value (undefined: there is none), so that its `finally` has run before that is read. */
export type StreamBody<T> = AsyncGenerator<T, T | undefined, undefined>;

export interface StreamSetup<T> {
  readonly body: StreamBody<T>;
  /** Called once, when the reader leaves a stream that was begun. The body must not yield again after it. */
  readonly leave: () => void;
  /** Called with what the body yielded and nobody read. */
  readonly unread?: (value: T) => void;
}

const nothing = { done: true, value: undefined } as const;

export class BodyStream<T> implements LeavableStream<T> {
  #begun = false;
  #left = false;
  /** Calls of `next` under way. */
  #pending = 0;
  /** The body is to end, read or not. */
  #isEnding = false;
  /** What the body came to while nobody read. */
  #ahead: Promise<IteratorResult<T, T | undefined>> | undefined;

  constructor(private readonly setup: StreamSetup<T>) {}

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#left) return Promise.resolve(nothing);
    this.#begun = true;
    const pulled = this.#ahead ?? this.setup.body.next();
    this.#ahead = undefined;
    return this.#hand(pulled);
  }

  /** Brings the body to its end although nobody reads: it must not yield any more. */
  runOut(): void {
    this.#isEnding = true;
    if (!this.#begun || this.#left || this.#ahead || this.#pending > 0) return;
    this.#ahead = this.setup.body.next();
    // Whoever reads it learns of a failure.
    this.#ahead.catch(() => {});
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    if (!this.#begun || this.#left) {
      this.#left = true;
      return nothing;
    }
    this.#left = true;
    this.setup.leave();
    // Stands behind whatever is under way, all of which ends at once. A failure is of no interest to who has left.
    await this.setup.body.next().catch(() => {});
    return nothing;
  }

  async throw(error?: unknown): Promise<IteratorResult<T, undefined>> {
    await this.return();
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async #hand(pulled: Promise<IteratorResult<T, T | undefined>>): Promise<IteratorResult<T, undefined>> {
    this.#pending++;
    try {
      const { done, value } = await pulled;
      // An end that came before its reader left has been told of as such, so the reader gets it.
      if (!this.#left || done) return value === undefined ? nothing : { done: false, value };
      this.setup.unread?.(value);
      return nothing;
    } catch (error) {
      if (this.#left) return nothing;
      throw error;
    } finally {
      this.#pending--;
      if (this.#isEnding) this.runOut();
    }
  }
}
