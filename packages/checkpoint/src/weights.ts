/** Opened weights: one interface to a GGUF file, a safetensors file and a set of shards. */
import { decodeRow, UnicornError } from '@unicorn-exec/tensor';
import { quote } from './file/format-error.js';
import type { Metadata } from './metadata.js';
import { allocateBytes, type RandomAccessSource, readFully } from './file/random-access-source.js';
import type { TensorInfo } from './tensor-info.js';

/** Weights on disk. They keep their files open until {@link close}, and read only what is asked for. */
export interface Weights {
  readonly format: 'gguf' | 'safetensors';
  /** What was opened, as the caller named it: a file, or the index of shards. */
  readonly path: string;
  readonly metadata: Metadata;
  /** In storage order (GGUF: in the order of the header); shards one after the other. */
  readonly tensors: readonly TensorInfo[];
  /** Undefined when there is no such tensor. */
  tensor(name: string): TensorInfo | undefined;
  /**
   * The tensor's bytes as they lie in the file, in a buffer of their own.
   *
   * @throws UnicornError `usage/unknown-tensor`, `usage/closed`, `resource/memory`, `format/truncated` or `format/changed` when the file was cut short
   * or written to since it was opened
   */
  readTensor(name: string): Promise<Uint8Array>;
  /**
   * The tensor as f32, row-major.
   *
   * @throws UnicornError as {@link readTensor}; `unsupported/dtype` for a type without f32 meaning here.
   */
  decodeTensor(name: string): Promise<Float32Array>;
  /** Idempotent. */
  close(): Promise<void>;
}

export interface OpenedWeights<Format extends Weights['format']> {
  readonly format: Format;
  readonly path: string;
  readonly metadata: Metadata;
  readonly tensors: readonly TensorInfo[];
  /** Every file, keyed by the `path` that its tensors carry. */
  readonly sources: ReadonlyMap<string, RandomAccessSource>;
}

/** {@link Weights} over opened sources, which it then owns. */
export class WeightsReader<Format extends Weights['format']> implements Weights {
  readonly format: Format;
  readonly path: string;
  readonly metadata: Metadata;
  readonly tensors: readonly TensorInfo[];
  readonly #byName: ReadonlyMap<string, TensorInfo>;
  readonly #sources: ReadonlyMap<string, RandomAccessSource>;

  constructor({ format, path, metadata, tensors, sources }: OpenedWeights<Format>) {
    this.format = format;
    this.path = path;
    this.metadata = metadata;
    this.tensors = tensors;
    this.#byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    this.#sources = sources;
  }

  tensor(name: string): TensorInfo | undefined {
    return this.#byName.get(name);
  }

  async readTensor(name: string): Promise<Uint8Array> {
    const { path, offset, byteLength } = this.#known(name);
    const bytes = allocateBytes(byteLength, `tensor ${quote(name)}`);
    await readFully(this.#sources.get(path)!, bytes, offset, `data of tensor ${quote(name)}`);
    return bytes;
  }

  async decodeTensor(name: string): Promise<Float32Array> {
    const { dtype, fileType, shape } = this.#known(name);
    if (dtype === undefined) {
      throw new UnicornError(
        'unsupported/dtype',
        `${this.path}: tensor ${quote(name)} is ${fileType}, which cannot be decoded.`,
        {
          fields: { file: this.path, tensor: name, fileType },
          fix: 'Convert the file to a type that can be decoded, such as BF16 or Q8_0.',
        },
      );
    }
    const count = shape.reduce((product, dim) => product * dim, 1);
    const bytes = await this.readTensor(name);
    const out = new Float32Array(allocateBytes(4 * count, `tensor ${quote(name)} as f32`).buffer);
    decodeRow(dtype, bytes, 0, count, out);
    return out;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#sources.values()].map((source) => source.close()));
  }

  #known(name: string): TensorInfo {
    const tensor = this.#byName.get(name);
    if (tensor !== undefined) return tensor;
    throw new UnicornError('usage/unknown-tensor', `${this.path} has no tensor ${quote(name)}.`, {
      fields: { file: this.path, tensor: name },
      fix: 'Use a name of `tensors`.',
    });
  }
}
