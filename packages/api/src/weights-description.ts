/** What a weights file, or a model, holds: the data behind `unicorn show`. Reads headers only. */
import { openWeights, MetadataArray, type Metadata, type Weights } from '@unicorn-exec/checkpoint';
import { openModel, type Model } from '@unicorn-exec/models';
import { isUnicornError } from '@unicorn-exec/tensor';
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
      return { ...describe(weights), path, ...(model ? describeModel(model) : {}) };
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

function describeModel(model: Model): Partial<WeightsDescription> {
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
    // A model of one size has nothing to choose.
    ...(elastic.length > 1 ? { elastic } : {}),
  };
}

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
    parameters: tensors.reduce((sum, { shape }) => sum + shape.reduce((product, dim) => product * dim, 1), 0),
    bytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0),
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

function jsonValue(value: unknown): unknown {
  if (value instanceof MetadataArray) return value.values.map(jsonValue);
  if (typeof value === 'bigint') return value.toString();
  // JSON has no words for these.
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return value;
}
