/**
 * What a case is: a small graph with its data. A case makes its problem on demand, so that listing the suite costs
 * nothing; the same case serves as a test, as a benchmark and as a member of the batch-invariance check.
 */
import {
  dtypeLayout,
  GraphBuilder,
  HostTensor,
  resolveShape,
  type Dim,
  type DimValues,
  type DType,
  type ErrorCode,
  type Graph,
  type Value,
  type WeightEntry,
  type WeightView,
} from '@unicorn-exec/tensor';
import { Random } from './random.js';
import type { Noise } from './tolerance.js';
import { randomWeight } from './weight.js';

/** One submission with everything it needs. */
export interface Problem {
  readonly graph: Graph;
  readonly dims: DimValues;
  readonly weights: readonly WeightEntry[];
  /** Inputs, and states as they are before. */
  readonly tensors: Readonly<Record<string, HostTensor>>;
}

export interface Case {
  /** Begins with the op: `matmul q4_0 7x64 by 13`. Unique; the key of `unsupported` and `expectedFailures`. */
  readonly name: string;
  /** The op under test, or `chain`. */
  readonly op: string;
  /** What is promised beyond values within the bound: where NaN goes, what must not matter. */
  readonly promise?: string;
  /** True when the promise is about NaN or infinities: then it holds only where no element shares a scale with another. */
  readonly nonFinite?: boolean;
  /**
   * Rows of the default problem, where each row of the outputs depends on the same row of the inputs alone. Such a case
   * is also run in other batches, and its rows must not change.
   */
  readonly rows?: number;
  /** Limits the mean squared error, over the mean square, of each f32 output; absent: it is not judged. */
  readonly noise?: Noise;
  /** The completion must reject with this code, and the device must go on working. */
  readonly rejects?: ErrorCode;
  /**
   * @param rows which rows the batch holds, by content: the same id is the same content in any batch. Cases without
   * `rows` ignore it.
   */
  make(rows: readonly number[]): Problem;
}

/** The problem of a case with its default rows. */
export function defaultProblem(test: Case): Problem {
  return test.make(Array.from({ length: test.rows ?? 0 }, (_, row) => row));
}

/** Draws one element. `column` counts within the row, or within whatever follows the dim `tokens`. */
export type Fill = (random: Random, column: number) => number;

export const normal = (random: Random): number => random.normal();

/**
 * Standard normal, but for one element in 61 that is thirty times as large, as activations of trained models are: an int8
 * block with an outlier loses its small elements, which a bound must allow and a normal input never shows.
 */
export const spiky: Fill = (random) => random.normal() * (random.integer(61) === 0 ? 30 : 1);

/**
 * Standard normal, but for a few columns that are fifty times as large in every row, as the residual streams of trained
 * models have them (Dettmers et al. 2022, arXiv:2208.07339). A scale for a whole row is then theirs, and the others keep
 * a bit or two, which an honest bound must allow. They are so few that most blocks of 32 have none: a device that declares
 * blocks and scales whole rows is caught.
 */
export const outlierColumns: Fill = (random, column) => random.normal() * (column % 509 === 7 ? 50 : 1);

/** Numbers of every magnitude whose square does not overflow in f32. */
export const wide: Fill = (random) => random.normal() * 2 ** (random.integer(40) - 20);

export function below(count: number): Fill {
  return (random) => random.integer(count);
}

/** The symbolic dim whose rows are independent of each other. */
export const rowDim = 'tokens';

function randomEntry(name: string, dtype: DType, shape: readonly number[]): WeightEntry {
  const columns = shape.at(-1)!;
  const rows = shape.slice(0, -1).reduce((product, dim) => product * dim, 1);
  return { name, dtype, shape, source: { kind: 'bytes', bytes: randomWeight(dtype, rows, columns, name) } };
}

/** A graph builder that also draws the data of what it declares. */
export class Sketch {
  readonly builder: GraphBuilder;
  readonly #weights = new Map<string, { readonly dtype: DType; readonly shape: readonly number[] }>();
  readonly #tensors: Record<string, HostTensor> = {};
  readonly #dims: Record<string, number>;

  /** @param rows content ids of the rows along the dim `tokens` */
  constructor(
    private readonly name: string,
    private readonly rows: readonly number[] = [],
    dims: Record<string, number> = {},
  ) {
    this.builder = new GraphBuilder(name);
    this.#dims = { [rowDim]: rows.length, ...dims };
  }

  /** An f32 input. A row along `tokens` is drawn from its own stream. */
  input(name: string, shape: readonly Dim[], fill: Fill = normal): Value {
    const value = this.builder.input(name, 'f32', shape);
    const tensor = this.#zeros('f32', shape);
    this.#fill(name, shape, tensor.floats, fill);
    this.#tensors[name] = tensor;
    return value;
  }

  /** An i32 input drawn by `fill`. */
  integers(name: string, shape: readonly Dim[], fill: Fill): Value {
    const value = this.builder.input(name, 'i32', shape);
    const tensor = this.#zeros('i32', shape);
    this.#fill(name, shape, tensor.integers, fill);
    this.#tensors[name] = tensor;
    return value;
  }

  /** An input with these values. */
  given(name: string, dtype: 'f32' | 'i32', shape: readonly Dim[], values: ArrayLike<number>): Value {
    const value = this.builder.input(name, dtype, shape);
    this.#tensors[name] = HostTensor[dtype](resolveShape(shape, this.#dims), values);
    return value;
  }

  /** A state with this content before the submission. */
  state(name: string, shape: readonly Dim[], tensor: HostTensor): Value {
    this.#tensors[name] = tensor;
    return this.builder.state(name, tensor.dtype, shape);
  }

  /** A random weight, or a part of one. */
  weight(name: string, dtype: DType, shape: readonly number[], view?: Partial<WeightView>): Value {
    this.#weights.set(name, { dtype, shape });
    return this.builder.weight(name, { dtype, shape }, view);
  }

  output(name: string, value: Value): void {
    this.builder.output(name, value);
  }

  problem(): Problem {
    const graph = this.builder.build();
    const symbols = new Set(
      graph.values.flatMap(({ shape }) => shape.filter((dim) => typeof dim === 'string')),
    );
    const dims = Object.fromEntries(Object.entries(this.#dims).filter(([dim]) => symbols.has(dim)));
    const weights = this.#weights;
    let entries: WeightEntry[] | undefined;
    return {
      graph,
      dims,
      tensors: this.#tensors,
      // Weights are drawn when first asked for: further problems of one graph run over the weights of the first.
      get weights() {
        return (entries ??= [...weights].map(([name, { dtype, shape }]) => randomEntry(name, dtype, shape)));
      },
    };
  }

  #zeros(dtype: DType, shape: readonly Dim[]): HostTensor {
    return HostTensor.zeros(dtype, resolveShape(shape, this.#dims));
  }

  #fill(name: string, shape: readonly Dim[], out: Float32Array | Int32Array, fill: Fill): void {
    const concrete = resolveShape(shape, this.#dims);
    const axis = shape.indexOf(rowDim);
    const draw = (stream: string, at: number, count: number): void => {
      const random = new Random(`${this.name} ${name} ${stream}`);
      for (let i = 0; i < count; i++) out[at + i] = fill(random, i);
    };
    if (axis < 0) return draw('', 0, out.length);
    const inner = concrete.slice(axis + 1).reduce((a, b) => a * b, 1);
    const outer = concrete.slice(0, axis).reduce((a, b) => a * b, 1);
    for (let i = 0; i < outer; i++) {
      this.rows.forEach((row, at) => draw(`${i} row ${row}`, (i * this.rows.length + at) * inner, inner));
    }
  }
}

/** A copy that a submission may change. */
export function copyTensor(tensor: HostTensor): HostTensor {
  return new HostTensor(tensor.dtype, tensor.shape, tensor.denseBytes().slice());
}

/** The least number of columns that a row of this dtype can have, times `blocks`. */
export function blockColumns(dtype: DType, blocks: number): number {
  return dtypeLayout(dtype).blockSize * blocks;
}
