/**
 * What computes a model: a device, weights on it and a scheduler. When the device is lost, requests go on from their tokens
 * on the CPU, where the model fits there and the caller did not forbid it; else they fail. It knows neither text nor
 * requests.
 */
import type { Model } from '@unicorn-exec/models';
import { Scheduler, type LoadedDevice } from '@unicorn-exec/scheduler';
import { isUnicornError, throwIfCancelled, UnicornError, type WeightSet } from '@unicorn-exec/tensor';
import { isHostBackend } from './backends.js';
import { placeModel, placeOnHost, type Placement } from './placement.js';
import type { DeviceFallback, KvType, LoadOptions, LoadTimes } from './load-options.js';

export interface RuntimeOptions extends LoadOptions {
  readonly kvType: KvType;
  readonly maxSequences: number;
}

export interface RuntimeSetup {
  readonly model: Model;
  readonly options: RuntimeOptions;
  /** Called when the CPU has taken over from a device that was lost. */
  readonly onMoved: () => void;
  /** Present: the CPU computes from the beginning, because of what it says. */
  readonly fallback?: DeviceFallback | undefined;
}

/** A device with the weights on it, open. */
interface LoadedModel {
  readonly placement: Placement;
  readonly weights: WeightSet;
  readonly times: LoadTimes;
}

export class Runtime {
  #loaded: LoadedModel;
  #scheduler!: Scheduler;
  /** Whether requests may go on elsewhere when the device is lost. */
  readonly #mayMove: boolean;
  #hasMoved = false;
  /** Nothing took over. */
  #isEnded = false;

  private constructor(
    private readonly setup: RuntimeSetup,
    loaded: LoadedModel,
  ) {
    this.#loaded = loaded;
    const isHost = isHostBackend(loaded.placement.device.info.backend);
    this.#mayMove = setup.options.deviceLoss !== 'fail' && !isHost;
  }

  /** @throws UnicornError what `placeModel`, `device.load` and `Scheduler.create` do, and `usage/cancelled` */
  static async open(setup: RuntimeSetup): Promise<Runtime> {
    const { model, options, fallback } = setup;
    const place = (): Promise<Placement> =>
      fallback ? placeOnHost(model, options, fallback) : placeModel(model, options);
    const runtime = new Runtime(setup, await loadModel(model, place, options));
    const { placement, weights } = runtime.#loaded;
    try {
      throwIfCancelled(options.signal, 'Loading');
      runtime.#scheduler = await Scheduler.create({
        device: placement.device,
        weights,
        model,
        contextLength: placement.context.contextLength,
        kvDType: options.kvType,
        maxSequences: options.maxSequences,
        kvTokens: options.kvTokens,
        maxQueued: options.maxQueued,
        prefillChunk: options.prefillChunk,
        precision: options.precision,
        profile: options.profile,
        ...(runtime.#mayMove ? { onDeviceLost: (lost) => runtime.#moveOn(lost) } : {}),
      });
    } catch (error) {
      await release(runtime.#loaded);
      throw error;
    }
    options.onProgress?.({
      stage: 'ready',
      loadedBytes: model.weightBytes,
      totalBytes: model.weightBytes,
    });
    return runtime;
  }

  get placement(): Placement {
    return this.#loaded.placement;
  }

  get loadTimes(): LoadTimes {
    return this.#loaded.times;
  }

  get scheduler(): Scheduler {
    return this.#scheduler;
  }

  /** Whether the CPU computes in the place of a device that was lost. */
  get hasMoved(): boolean {
    return this.#hasMoved || this.setup.fallback !== undefined;
  }

  /** Whether an error tells that nothing will be computed here any more. */
  isEndedBy(error: unknown): boolean {
    const isLost = isUnicornError(error) && error.code === 'device/lost';
    return isLost && (this.#isEnded || !this.#mayMove);
  }

  /** Ends what is in flight, as cancelled or with an error, and frees everything. */
  async close(error?: UnicornError): Promise<void> {
    await this.#scheduler.close(error);
    await release(this.#loaded);
  }

  /**
   * Frees what is left of the lost device, whose memory may be the CPU's, and loads the weights on the CPU.
   *
   * @throws UnicornError `device/lost`, naming the device, where nothing takes over: the model does not fit, or the CPU
   * itself was lost
   */
  async #moveOn(lost: UnicornError): Promise<LoadedDevice> {
    const { model, options } = this.setup;
    const { device, context } = this.#loaded.placement;
    const fields = { device: device.info.id, ...lost.fields };
    if (this.hasMoved) {
      this.#isEnded = true;
      throw lost;
    }
    // What cannot be freed of a lost device is lost as well, and no reason to refuse the next one.
    await release(this.#loaded).catch(() => {});
    const { signal: _signal, onProgress: _onProgress, ...quiet } = options;
    const fallback: DeviceFallback = {
      from: device.info.backend,
      reason: lost.message,
      ...(lost.fix ? { fix: lost.fix } : {}),
    };
    try {
      const { contextLength } = context;
      const place = (): Promise<Placement> =>
        placeOnHost(model, { ...quiet, context: contextLength }, fallback);
      this.#loaded = await loadModel(model, place, quiet);
    } catch (cause) {
      this.#isEnded = true;
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new UnicornError('device/lost', `${lost.message} No other device takes over: ${reason}`, {
        fields,
        ...(lost.fix ? { fix: lost.fix } : {}),
        cause,
      });
    }
    this.#hasMoved = true;
    this.setup.onMoved();
    const { placement, weights } = this.#loaded;
    return { device: placement.device, weights };
  }
}

/** Opens devices and has them load the weights. @throws UnicornError as both do */
async function loadModel(
  model: Model,
  place: () => Promise<Placement>,
  { signal, onProgress }: LoadOptions,
): Promise<LoadedModel> {
  const began = performance.now();
  const placement = await place();
  const openMs = performance.now() - began;
  try {
    const weights = await placement.device.load(model.weights(), {
      ...(signal ? { signal } : {}),
      onProgress: ({ loadedBytes, totalBytes }) =>
        onProgress?.({ stage: 'weights', loadedBytes, totalBytes }),
    });
    const weightsMs = performance.now() - began - openMs;
    return { placement, weights, times: { openMs, weightsMs } };
  } catch (error) {
    await placement.device.close();
    throw error;
  }
}

/** May be called twice. */
async function release({ placement, weights }: LoadedModel): Promise<void> {
  weights.dispose();
  await placement.device.close();
}
