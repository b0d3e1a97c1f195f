/** Finding the fastest tiles for a model's products on this machine's GPU: the work of `unicorn bench --tune`. */
import { openModel } from '@unicorn-exec/models';
import { defaultBlockTokens, GraphBuilder, UnicornError } from '@unicorn-exec/tensor';
import {
  knownBackends,
  tunableBackends,
  type BackendName,
  type TuneProgress,
  type TuneReport,
} from '../machine/backends.js';
import { locateModel } from '../model-location.js';
import { abortSignal, callback, checkOptions, number, text, tokenIds, type OptionTable } from '../option.js';

export interface TuneModelOptions {
  /** As in `LoadOptions`. */
  readonly model?: string | undefined;
  /** One of `tunableBackends`, or `auto`: no other backend has tiles to choose from. */
  readonly backend?: BackendName | undefined;
  readonly device?: string | undefined;
  /** After so long no further candidate is tried. Default 60,000. */
  readonly budgetMs?: number | undefined;
  /** Ends the search; what was found until then is kept. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: TuneProgress) => void) | undefined;
  /** Rows of activations to tune for. Default: powers of two up to 512. */
  readonly tokens?: readonly number[] | undefined;
}

const tuneOptionTable: OptionTable<TuneModelOptions> = {
  model: text,
  backend: text,
  device: text,
  budgetMs: number,
  signal: abortSignal,
  onProgress: callback,
  tokens: { ...tokenIds, expected: 'an array of numbers' },
};

/**
 * Tries tiles for the products of a model and keeps the best on disk, for the next time that the device is opened. The
 * weights themselves are not loaded. Nothing else should use the device meanwhile.
 *
 * @throws UnicornError `usage/option`, `unsupported/tuning` for another backend, `usage/model`, `format/*`, `device/unavailable`,
 * `resource/memory`, `usage/file` when the result cannot be written
 */
export async function tuneModel(options: TuneModelOptions = {}): Promise<TuneReport> {
  checkOptions('tuneModel', options, tuneOptionTable);
  const { backend = 'auto', device, budgetMs, signal, onProgress, tokens } = options;
  const tunable = knownBackends.find(
    ({ name, loadTuner }) => loadTuner && (backend === 'auto' || backend === name),
  );
  if (!tunable) {
    throw new UnicornError('unsupported/tuning', `The backend "${backend}" has nothing to tune.`, {
      fields: { backend },
      fix: `Use the backend ${tunableBackends.join(' or ')}.`,
    });
  }
  const model = await openModel(await locateModel(options.model));
  try {
    const builder = new GraphBuilder(model.name);
    const sampled = await model.sampledIds();
    const blockTokens = defaultBlockTokens;
    model.buildStep(builder, {
      kvDType: 'f16',
      blockTokens,
      logits: 'selected',
      ...(sampled ? { sampled } : {}),
    });
    const tune = await tunable.loadTuner!();
    const search = { device, budgetMs, signal, onProgress, tokens };
    return await tune(builder.build(), model.weights(), search);
  } finally {
    await model.close();
  }
}
