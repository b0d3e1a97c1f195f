/**
 * A {@link Runtime} that is opened anew when its device was lost and nothing took over, and that goes back to its device
 * once, between two requests, where the CPU did.
 */
import type { Model } from '@unicorn-exec/models';
import { isUnicornError, UnicornError } from '@unicorn-exec/tensor';
import type { DeviceFallback } from './load-options.js';
import { Runtime, type RuntimeOptions } from './runtime.js';

export class LastingRuntime {
  #runtime!: Runtime;
  /** The end of a runtime that is of no use any more; undefined while the last one is. */
  #ending: Promise<void> | undefined;
  #reopening: Promise<Runtime> | undefined;
  #closed = false;
  /** Those between {@link enter} and {@link leave}. */
  #users = 0;
  /**
   * Whether the device that was lost is tried again: once, since one that is lost a second time would cost each request a
   * load of the weights.
   */
  #returns = true;
  /** Called when another device computes than before. */
  onMoved: (() => void) | undefined;

  private constructor(
    private readonly model: Model,
    private readonly options: RuntimeOptions,
  ) {}

  /** @throws UnicornError as {@link Runtime.open} */
  static async open(model: Model, options: RuntimeOptions): Promise<LastingRuntime> {
    const lasting = new LastingRuntime(model, options);
    lasting.#runtime = await lasting.#open(options);
    return lasting;
  }

  /** The one that is open, or that was lost last. */
  get latest(): Runtime {
    return this.#runtime;
  }

  /**
   * One that works as far as is known, not closed before {@link leave}. Where the last one was lost it is opened anew,
   * once for all who ask at the same time.
   *
   * @throws UnicornError `device/lost` when the device was lost again meanwhile, and as {@link Runtime.open}; the next
   * call causes another attempt. `usage/closed`. Nothing is to be left then
   */
  async enter(): Promise<Runtime> {
    if (this.#closed) throw new UnicornError('usage/closed', 'The engine was closed.');
    if (this.#users === 0 && !this.#ending && this.#returns && this.#runtime.hasMoved) {
      this.#returns = false;
      this.#ending = this.#runtime.close().catch(() => {});
    }
    this.#users++;
    if (!this.#ending) return this.#runtime;
    this.#reopening ??= this.#reopen(this.#ending).finally(() => (this.#reopening = undefined));
    try {
      return await this.#reopening;
    } catch (error) {
      this.leave();
      throw error;
    }
  }

  leave(): void {
    this.#users--;
  }

  /** Does something with a runtime that works, and notes when that loses its device. */
  async use<T>(work: (runtime: Runtime) => Promise<T>): Promise<T> {
    const runtime = await this.enter();
    try {
      return await work(runtime);
    } catch (error) {
      this.noteFailure(runtime, error);
      throw error;
    } finally {
      this.leave();
    }
  }

  /** Something failed on a runtime: if its device was lost for good, so is whatever else is under way there. */
  noteFailure(runtime: Runtime, error: unknown): void {
    const isNews = runtime === this.#runtime && this.#ending === undefined;
    if (!isNews || !runtime.isEndedBy(error)) return;
    // What cannot be freed of a lost device is lost as well, and no reason to refuse the next one.
    this.#ending = runtime.close(error as UnicornError).catch(() => {});
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#reopening?.catch(() => {});
    await (this.#ending ?? this.#runtime.close());
  }

  async #reopen(ending: Promise<void>): Promise<Runtime> {
    await ending;
    const { signal: _signal, onProgress: _onProgress, ...options } = this.options;
    const last = this.#runtime;
    // What fits now may be another context than at first, which callers have been told of.
    const again = { ...options, context: last.placement.context.contextLength };
    try {
      this.#runtime = await this.#open(again);
    } catch (error) {
      if (last.hasMoved) {
        this.#runtime = await this.#open(again, last.placement.fallback);
      } else if (isUnicornError(error) && error.code === 'device/lost') {
        throw new UnicornError('device/lost', 'The device was lost again while it was being opened anew.', {
          fields: error.fields,
          fix: 'Try again later, or use another backend; `dmesg` may say why the device stops.',
          cause: error,
        });
      } else {
        throw error;
      }
    }
    this.#ending = undefined;
    if (last.hasMoved !== this.#runtime.hasMoved) this.onMoved?.();
    return this.#runtime;
  }

  #open(options: RuntimeOptions, fallback?: DeviceFallback): Promise<Runtime> {
    return Runtime.open({ model: this.model, options, fallback, onMoved: () => this.onMoved?.() });
  }
}
