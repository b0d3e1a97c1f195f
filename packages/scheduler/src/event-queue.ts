/**
 * One producer, one consumer: events wait for the consumer, or the consumer for events. The producer never waits, so a
 * slow consumer stalls nobody; it bounds the events (a request makes at most one for each position of its context).
 */
export class EventQueue<T> implements AsyncIterableIterator<T> {
  #events: T[] = [];
  #waiting: { resolve: (result: IteratorResult<T>) => void; reject: (error: unknown) => void }[] = [];
  #state: { kind: 'open' } | { kind: 'ended' } | { kind: 'failed'; error: Error } = { kind: 'open' };

  /** @param abandoned called when the consumer leaves before the end */
  constructor(private readonly abandoned: () => void) {}

  push(event: T): void {
    if (this.#state.kind !== 'open') return;
    const consumer = this.#waiting.shift();
    if (consumer) consumer.resolve({ value: event, done: false });
    else this.#events.push(event);
  }

  /** No event follows; those that wait can still be read. */
  end(): void {
    if (this.#state.kind !== 'open') return;
    this.#state = { kind: 'ended' };
    for (const { resolve } of this.#waiting.splice(0)) resolve({ value: undefined, done: true });
  }

  /** The consumer gets the error after the events that wait, once. */
  fail(error: unknown): void {
    if (this.#state.kind !== 'open') return;
    const consumer = this.#waiting.shift();
    this.#state = consumer ? { kind: 'ended' } : { kind: 'failed', error: error as Error };
    consumer?.reject(error);
    for (const { resolve } of this.#waiting.splice(0)) resolve({ value: undefined, done: true });
  }

  next(): Promise<IteratorResult<T>> {
    const event = this.#events.shift();
    if (event !== undefined) return Promise.resolve({ value: event, done: false });
    const state = this.#state;
    if (state.kind === 'open')
      return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#state = { kind: 'ended' };
    if (state.kind === 'failed') return Promise.reject(state.error);
    return Promise.resolve({ value: undefined, done: true });
  }

  return(): Promise<IteratorResult<T>> {
    const open = this.#state.kind === 'open';
    this.#events = [];
    this.end();
    this.#state = { kind: 'ended' };
    if (open) this.abandoned();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
