/**
 * Nested sizes (MatFormer, arXiv:2310.07707): which slices of one set of weights are used. A size is chosen by the name
 * of a preset, by a fraction, by a list with an entry for each layer, or as an object.
 */
import { dtypeLayout, UnicornError, type DType, type ElasticSize } from '@unicorn-exec/tensor';
import type { DecoderConfig } from './decoder/decoder-config.js';

/** A size with a name, and what it costs. */
export interface NamedSize extends ElasticSize {
  /** A preset's name, or the text that makes the same size again. */
  readonly name: string;
  /** Elements of all weights that it reads; of the tables all rows. */
  readonly parameters: number;
  /** Bytes of weights that one token reads; of the tables one row. */
  readonly bytesPerToken: number;
  /** Those of them that are rows of tables kept out of device memory (per-layer embeddings). */
  readonly hostBytesPerToken: number;
}

/** `'half'`, `0.5`, `'768,768,skip,1536'`, or widths of the kept layers and the layers left out. */
export type ElasticSpec =
  string | number | { readonly feedForward: readonly number[]; readonly skip?: readonly number[] };

/** What sizing needs to know of a model. */
export interface ElasticModel {
  readonly config: DecoderConfig;
  /** The type of each layer's down projection, whose blocks a width must not cut. */
  readonly downDType: (layer: number) => DType;
}

/** The size that leaves nothing out. */
export function fullSize(config: DecoderConfig): ElasticSize {
  return { feedForward: config.layers.map(({ feedForward }) => feedForward), skip: [] };
}

/** The text that {@link parseSize} makes the same size of. */
export function formatSize(config: DecoderConfig, size: ElasticSize): string {
  const widths = [...size.feedForward];
  return config.layers.map((_, layer) => (size.skip.includes(layer) ? 'skip' : widths.shift())).join(',');
}

/**
 * A specification without the names of presets, as a checked size. A fraction is rounded to legal widths, anything else
 * must be legal.
 *
 * @throws UnicornError `usage/elastic` naming the layer and the nearest legal widths
 */
export function parseSize(
  model: ElasticModel,
  spec: ElasticSpec,
  presets: readonly string[] = [],
): ElasticSize {
  if (typeof spec === 'object') return checkSize(model, spec);
  const text = String(spec).trim();
  const number = Number(text);
  if (text !== '' && number > 0 && number <= 1) return fractionSize(model, number);
  const count = model.config.layers.length;
  if (!text.includes(',') && (text === '' || Number.isNaN(number))) {
    fail(`There is no size named "${text.slice(0, 60)}".`, presets);
  }
  if (!text.includes(',') && count > 1)
    fail(`A size of ${text} is neither a fraction up to 1 nor a list.`, presets);
  const entries = text.split(',').map((entry) => entry.trim());
  if (entries.length !== count)
    fail(`The list has ${entries.length} entries; the model has ${count} layers.`, presets);
  const skip: number[] = [];
  const feedForward: number[] = [];
  entries.forEach((entry, layer) => {
    if (entry === 'skip') skip.push(layer);
    else if (/^\d+$/.test(entry)) feedForward.push(Number(entry));
    else fail(`Layer ${layer}: "${entry.slice(0, 30)}" is neither a width nor "skip".`, presets);
  });
  return checkSize(model, { feedForward, skip });
}

function fractionSize({ config, downDType }: ElasticModel, fraction: number): ElasticSize {
  const feedForward = config.layers.map(({ feedForward: full }, layer) => {
    const step = dtypeLayout(downDType(layer)).blockSize;
    return Math.min(full, Math.max(step, Math.round((fraction * full) / step) * step));
  });
  return { feedForward, skip: [] };
}

function checkSize(
  { config, downDType }: ElasticModel,
  spec: { readonly feedForward: readonly number[]; readonly skip?: readonly number[] },
): ElasticSize {
  const skip = [...new Set(spec.skip ?? [])].sort((a, b) => a - b);
  const { layers } = config;
  const unknown = skip.find((layer) => !Number.isInteger(layer) || layer < 0 || layer >= layers.length);
  if (unknown !== undefined)
    fail(`There is no layer ${unknown} to leave out; layers are 0 to ${layers.length - 1}.`);
  const kept = layers.flatMap((layer, index) => (skip.includes(index) ? [] : [{ ...layer, index }]));
  if (kept.length === 0) fail('A size must keep at least one layer.');
  if (spec.feedForward.length !== kept.length) {
    fail(`The size has ${spec.feedForward.length} widths for ${kept.length} kept layers.`);
  }
  kept.forEach(({ index, kvSource, feedForward: full }, order) => {
    if (kvSource !== undefined && skip.includes(kvSource)) {
      fail(`Layer ${kvSource} cannot be left out: layer ${index} reads its keys and values.`);
    }
    checkWidth(index, spec.feedForward[order]!, full, downDType(index));
  });
  return { feedForward: [...spec.feedForward], skip };
}

function checkWidth(layer: number, width: number, full: number, dtype: DType): void {
  const step = dtypeLayout(dtype).blockSize;
  // The full width is always legal: it cuts nothing.
  if (width === full) return;
  if (Number.isInteger(width) && width > 0 && width < full && width % step === 0) return;
  const below = Math.floor(Math.min(Math.max(width || 0, 0), full) / step) * step;
  const legal = [below, Math.min(full, below + step)].filter((near) => near > 0);
  const nearest = [...new Set(legal.length > 0 ? legal : [Math.min(step, full)])];
  const reason = step > 1 ? ` of whole ${dtype} blocks of ${step}` : '';
  throw new UnicornError(
    'usage/elastic',
    `Layer ${layer}: ${width} is not a width${reason} up to ${full}; the nearest legal ${nearest.length > 1 ? 'widths are' : 'width is'} ${nearest.join(' and ')}.`,
    { fields: { layer, width, full, step, nearest }, fix: `Use ${nearest.join(' or ')} for layer ${layer}.` },
  );
}

function fail(sentence: string, presets: readonly string[] = []): never {
  const named = presets.length > 0 ? `one of ${presets.join(', ')}; ` : '';
  throw new UnicornError('usage/elastic', sentence, {
    fields: { presets: [...presets] },
    fix: `Give ${named}a fraction such as 0.5; or one width or "skip" for each layer, separated by commas.`,
  });
}
