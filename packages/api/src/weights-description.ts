/** What a weights file, or a model, holds: the data behind `unicorn show`. Reads headers only. */
import { join } from 'node:path';
import { openWeights, MetadataArray, type Metadata, type Weights } from '@unicorn-exec/checkpoint';
import {
  attentionShape,
  openModel,
  type ChatTemplate,
  type ChatTemplateFacts,
  type Model,
} from '@unicorn-exec/models';
import { isUnicornError, readRegularFile } from '@unicorn-exec/tensor';
import { reservedBytes } from './machine/memory-pool.js';
import { wholeBytes } from './machine/model-bytes.js';
import { locateModel } from './model-location.js';
import { checkArgument, text } from './option.js';

export interface WeightsDescription {
  readonly path: string;
  readonly format: 'gguf' | 'safetensors';
  readonly architecture?: string;
  /** Elements of all tensors. */
  readonly parameters: number;
  /** Bytes of all tensors. */
  readonly bytes: number;
  readonly contextLength?: number;
  /** The types of the tensors, that of most bytes first. */
  readonly quantization: readonly {
    /** As the file spells it: `Q4_0`. */
    readonly type: string;
    readonly tensors: number;
    readonly parameters: number;
    readonly bytes: number;
  }[];
  /** As the file, or the README.md beside it, names it: `apache-2.0`. */
  readonly license?: string;
  /** Where the architecture is known and the file is whole. */
  readonly model?: ModelDescription;
  /** Integers beyond 2^53 are strings of digits. */
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: readonly {
    readonly name: string;
    /** As the file spells it: `Q4_0`, `BF16`. */
    readonly dtype: string;
    /** Row-major, slowest axis first. */
    readonly shape: readonly number[];
    /** From the start of the file that holds it. */
    readonly offset: number;
    readonly bytes: number;
  }[];
  /** MatFormer sizes, the whole model included. */
  readonly elastic?: readonly {
    readonly name: string;
    readonly feedForward: readonly number[];
    readonly skip: readonly number[];
    readonly parameters: number;
    /** Bytes of weights that one token reads. */
    readonly bytesPerToken: number;
    /** Those of them that are rows gathered from tables outside device memory. */
    readonly hostBytesPerToken: number;
  }[];
}

export interface ModelDescription {
  readonly name: string;
  readonly layers: number;
  /** Features of the residual stream. */
  readonly width: number;
  /** Attention heads; of the layers that have other numbers than most, the most frequent ones are told. */
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Layers that see only a window, and the window. */
  readonly sliding?: { readonly layers: number; readonly window: number };
  readonly vocabularySize: number;
  /** What one sequence takes with a KV cache of f16, for the model's own context and for a usual one where that is less. */
  readonly memory: readonly {
    readonly contextLength: number;
    readonly weightBytes: number;
    readonly kvBytes: number;
    /** Intermediate results of the process included, so far as they can be told beforehand. */
    readonly totalBytes: number;
  }[];
  /** Of the chat template; absent where the model comes without one that can be read. */
  readonly template?: { readonly characters: number } & ChatTemplateFacts;
  /** What of the files was not taken at its word. */
  readonly warnings: readonly string[];
}

/**
 * Describes any `.gguf` or `.safetensors` file or model directory, also one of an unknown architecture.
 *
 * @throws UnicornError `usage/option`, `usage/model` when there is nothing of that name, `format/*` for a damaged file
 */
export async function describeWeights(name?: string): Promise<WeightsDescription> {
  checkArgument('describeWeights', 'name', name, text);
  const path = await locateModel(name);
  const weights = await openWeights(path);
  try {
    const model = await openKnown(path);
    try {
      const license = await licenseOf(weights, path);
      return {
        ...describe(weights),
        path,
        ...(license === undefined ? {} : { license }),
        ...(model ? await describeModel(model) : {}),
      };
    } finally {
      await model?.close();
    }
  } finally {
    await weights.close();
  }
}

/** The model, where this release knows the architecture and the file is whole. */
async function openKnown(path: string): Promise<Model | undefined> {
  try {
    return await openModel(path);
  } catch (error) {
    if (isUnicornError(error)) return undefined;
    throw error;
  }
}

async function describeModel(model: Model): Promise<Partial<WeightsDescription>> {
  const elastic = model.sizes.map(
    ({ name, feedForward, skip, parameters, bytesPerToken, hostBytesPerToken }) => ({
      name,
      feedForward,
      skip,
      parameters,
      bytesPerToken,
      hostBytesPerToken,
    }),
  );
  return {
    architecture: model.architecture,
    contextLength: model.contextLength,
    model: await summarize(model),
    // A model of one size has nothing to choose.
    ...(elastic.length > 1 ? { elastic } : {}),
  };
}

async function summarize(model: Model): Promise<ModelDescription> {
  const { config } = model.definition;
  const shapes = config.layers.map((layer) => attentionShape(config, layer));
  const usual = mostFrequent(shapes, ({ heads, kvHeads, headDim }) => `${heads} ${kvHeads} ${headDim}`);
  const windows = shapes.flatMap(({ window }) => (window === undefined ? [] : [window]));
  const { weightBytes, kvBytes } = wholeBytes(
    model,
    { kvType: 'f16', maxSequences: 1 },
    // A device that computes both phases alike, as most do.
    { numerics: { prompt: '', token: '' } },
  );
  const contexts = new Set([Math.min(usualContext, model.contextLength), model.contextLength]);
  const template = await readTemplate(model);
  return {
    name: model.name,
    layers: model.layers,
    width: config.hidden,
    heads: usual.heads,
    kvHeads: usual.kvHeads,
    headDim: usual.headDim,
    ...(windows.length > 0 ? { sliding: { layers: windows.length, window: Math.max(...windows) } } : {}),
    vocabularySize: model.vocabularySize,
    memory: [...contexts].map((contextLength) => {
      const kv = kvBytes(contextLength);
      return { contextLength, weightBytes, kvBytes: kv, totalBytes: weightBytes + kv + reservedBytes };
    }),
    ...(template ? { template: { characters: template.source.length, ...template.facts } } : {}),
    warnings: model.warnings,
  };
}

/** A context that answers most, for models that could have a longer one. */
const usualContext = 8192;

function mostFrequent<T>(items: readonly T[], key: (item: T) => string): T {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1);
  return items.reduce((best, item) => (counts.get(key(item))! > counts.get(key(best))! ? item : best));
}

/** A template that cannot be read is as none: the model has other uses. */
async function readTemplate(model: Model): Promise<ChatTemplate | undefined> {
  try {
    return await model.chatTemplate();
  } catch (error) {
    if (isUnicornError(error)) return undefined;
    throw error;
  }
}

/** Of a model card, at most: the largest published ones have some hundred kilobytes. */
const readmeBytesMax = 4 * 2 ** 20;

/** From the metadata, or the head of the README.md in a model's directory. */
async function licenseOf({ metadata }: Weights, path: string): Promise<string | undefined> {
  const named = metadata.get('general.license');
  if (typeof named === 'string' && named !== '') return named;
  const readme = String(await readRegularFile(join(path, 'README.md'), readmeBytesMax).catch(() => ''));
  const head = /^---\r?\n([\s\S]*?)\r?\n---/.exec(readme)?.[1];
  return /^license:[ \t]*["']?([^"'\r\n]+?)["']?[ \t]*$/m.exec(head ?? '')?.[1];
}

function quantizationOf(tensors: WeightsDescription['tensors']): WeightsDescription['quantization'] {
  const types = new Map<string, { tensors: number; parameters: number; bytes: number }>();
  for (const { dtype, shape, bytes } of tensors) {
    const sum = types.get(dtype) ?? { tensors: 0, parameters: 0, bytes: 0 };
    sum.tensors++;
    sum.parameters += elements(shape);
    sum.bytes += bytes;
    types.set(dtype, sum);
  }
  return [...types].map(([type, sum]) => ({ type, ...sum })).sort((a, b) => b.bytes - a.bytes);
}

const elements = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1);

function describe(weights: Weights): WeightsDescription {
  const tensors = weights.tensors.map(({ name, fileType, shape, offset, byteLength }) => ({
    name,
    dtype: fileType,
    shape,
    offset,
    bytes: byteLength,
  }));
  return {
    path: weights.path,
    format: weights.format,
    ...generalFacts(weights.metadata),
    parameters: tensors.reduce((sum, { shape }) => sum + elements(shape), 0),
    bytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0),
    quantization: quantizationOf(tensors),
    metadata: Object.fromEntries(
      [...weights.metadata.entries()].map(([key, value]) => [key, jsonValue(value)]),
    ),
    tensors,
  };
}

/** What GGUF says in general keys, also for architectures that this release does not know. */
function generalFacts(metadata: Metadata): { architecture?: string; contextLength?: number } {
  const architecture = metadata.get('general.architecture');
  if (typeof architecture !== 'string') return {};
  const contextLength = metadata.get(`${architecture}.context_length`);
  return { architecture, ...(typeof contextLength === 'number' ? { contextLength } : {}) };
}

/** A value alone, without the type that GGUF gives it. */
function jsonValue(value: unknown): unknown {
  if (value instanceof MetadataArray) return value.values.map(jsonValue);
  if (typeof value === 'object' && value !== null && 'type' in value && 'value' in value) {
    return value.type === 'f32' ? shortest(value.value) : jsonValue(value.value);
  }
  if (typeof value === 'bigint') return value.toString();
  // JSON has no words for these.
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return value;
}

/** The fewest digits that are the same float32: 0.7 and not 0.699999988079071. */
function shortest(value: unknown): unknown {
  if (typeof value !== 'number' || !Number.isFinite(value)) return jsonValue(value);
  for (let digits = 6; digits <= 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}
