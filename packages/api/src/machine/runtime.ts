/**
 * What computes a model: a device, weights on it and a scheduler. A device may be lost, and all three with it; then the
 * requests in flight fail, and the next one finds all three opened anew. It knows neither text nor requests.
 */
import type { Model } from '@unicorn-exec/models';
import { Scheduler } from '@unicorn-exec/scheduler';
import { isUnicornError, throwIfCancelled, UnicornError, type WeightSet } from '@unicorn-exec/tensor';
import { placeModel, type Placement } from './placement.js';
import type { KvType, LoadOptions, LoadTimes } from './load-options.js';

export interface RuntimeOptions extends LoadOptions {
  readonly kvType: KvType;
  readonly maxSequences: number;
}

export class Runtime {
  private constructor(
    readonly placement: Placement,
    readonly weights: WeightSet,
    readonly scheduler: Scheduler,
    readonly loadTimes: LoadTimes,
  ) {}

  /** @throws UnicornError what `placeModel`, `device.load` and `Scheduler.create` do, and `usage/cancelled` */
  static async open(model: Model, options: RuntimeOptions): Promise<Runtime> {
    const { signal, onProgress, kvType, maxSequences } = options;
    const report = (stage: 'weights' | 'ready', loadedBytes: number, totalBytes: number): void =>
      onProgress?.({ stage, loadedBytes, totalBytes });
    const began = performance.now();
    const placement = await placeModel(model, options);
    const { device, context } = placement;
    const openMs = performance.now() - began;
    const release: (() => void | Promise<void>)[] = [() => device.close()];
    try {
      const weights = await device.load(model.weights(), {
        ...(signal ? { signal } : {}),
        onProgress: ({ loadedBytes, totalBytes }) => report('weights', loadedBytes, totalBytes),
      });
      const weightsMs = performance.now() - began - openMs;
      release.unshift(() => weights.dispose());
      throwIfCancelled(signal, 'Loading');
      const scheduler = await Scheduler.create({
        device,
        weights,
        model,
        contextLength: context.contextLength,
        kvDType: kvType,
        maxSequences,
        precision: options.precision,
        profile: options.profile,
      });
      report('ready', model.weightBytes, model.weightBytes);
      return new Runtime(placement, weights, scheduler, { openMs, weightsMs });
    } catch (error) {
      for (const step of release) await step();
      throw error;
    }
  }

  /** Ends what is in flight, as cancelled or with an error, and frees everything. */
  async close(error?: UnicornError): Promise<void> {
    await this.scheduler.close(error);
    this.weights.dispose();
    await this.placement.device.close();
  }
}

/** A runtime that is opened anew when its device was lost. */
export class LastingRuntime {
  #runtime: Runtime;
  /** The end of a lost runtime; undefined while the device is well. */
  #ending: Promise<void> | undefined;
  #reopening: Promise<Runtime> | undefined;
  #closed = false;

  private constructor(
    private readonly model: Model,
    private readonly options: RuntimeOptions,
    opened: Runtime,
  ) {
    this.#runtime = opened;
  }

  /** @throws UnicornError as {@link Runtime.open} */
  static async open(model: Model, options: RuntimeOptions): Promise<LastingRuntime> {
    return new LastingRuntime(model, options, await Runtime.open(model, options));
  }

  /** The one that is open, or that was lost last. */
  get latest(): Runtime {
    return this.#runtime;
  }

  /**
   * One that works as far as is known: opened anew if the last one was lost, once for all who ask at the same time.
   *
   * @throws UnicornError `device/lost` when the device was lost again meanwhile, and as {@link Runtime.open}; the next
   * call causes another attempt. `usage/closed`
   */
  async working(): Promise<Runtime> {
    if (this.#closed) throw new UnicornError('usage/closed', 'The engine was closed.');
    if (!this.#ending) return this.#runtime;
    this.#reopening ??= this.#reopen(this.#ending).finally(() => (this.#reopening = undefined));
    return this.#reopening;
  }

  /** Does something with a runtime that works, and notes when that loses its device. */
  async use<T>(work: (runtime: Runtime) => Promise<T>): Promise<T> {
    const runtime = await this.working();
    try {
      return await work(runtime);
    } catch (error) {
      this.noteFailure(runtime, error);
      throw error;
    }
  }

  /** Something failed on a runtime: if the device was lost, so is whatever else is under way there. */
  noteFailure(runtime: Runtime, error: unknown): void {
    const isNews = runtime === this.#runtime && this.#ending === undefined;
    if (!isNews || !isUnicornError(error) || error.code !== 'device/lost') return;
    // What cannot be freed of a lost device is lost as well, and no reason to refuse the next one.
    this.#ending = runtime.close(error).catch(() => {});
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#reopening?.catch(() => {});
    await (this.#ending ?? this.#runtime.close());
  }

  async #reopen(ending: Promise<void>): Promise<Runtime> {
    await ending;
    const { signal: _signal, onProgress: _onProgress, ...options } = this.options;
    // What fits now may be another context than at first, which callers have been told of.
    const context = this.#runtime.placement.context.contextLength;
    try {
      this.#runtime = await Runtime.open(this.model, { ...options, context });
    } catch (error) {
      if (!isUnicornError(error) || error.code !== 'device/lost') throw error;
      throw new UnicornError('device/lost', 'The device was lost again while it was being opened anew.', {
        fields: error.fields,
        fix: 'Try again later, or use another backend; `dmesg` may say why the device stops.',
        cause: error,
      });
    }
    this.#ending = undefined;
    return this.#runtime;
  }
}
