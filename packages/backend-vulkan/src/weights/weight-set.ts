/**
 * Weights as the addon holds them. The addon loads them; this class checks the entries and puts them into its arrays.
 * Vectors (norms, biases) also lie there as dense f32, so that plain kernels read one type. They alone pass through
 * JavaScript, and they are few.
 */
import { guarded } from '@unicorn-exec/native';
import {
  decodeRow,
  dtypes,
  elementCount,
  expectWeightEntries,
  readFileRange,
  tensorBytes,
  UnicornError,
} from '@unicorn-exec/tensor';
import type { DType, TensorSpec, WeightEntry, WeightSet } from '@unicorn-exec/tensor';
import type { DeviceHandle, NativeAddon, WeightsHandle } from '../addon.js';
import type { LoadedWeight, WeightTable } from './weight-table.js';
import { layoutDTypes, weightLayout } from './weight-layout.js';

/** Numbers of each weight in {@link LoadRequest.numbers}. */
const numbersOfWeight = 8;

/** The arguments of `loadWeights` of the addon, and the table of what it will have loaded. */
export interface LoadRequest {
  readonly paths: readonly string[];
  readonly names: readonly string[];
  readonly numbers: Float64Array;
  readonly bytes: readonly (Uint8Array | undefined)[];
  readonly weights: ReadonlyMap<string, LoadedWeight>;
  /** Bytes of all sources. */
  readonly totalBytes: number;
}

class Request {
  readonly #paths = new Map<string, number>();
  readonly names: string[] = [];
  readonly #numbers: number[] = [];
  readonly bytes: (Uint8Array | undefined)[] = [];
  readonly weights = new Map<string, LoadedWeight>();

  /** @returns the weight's index */
  add(
    name: string,
    { dtype, source }: { dtype: DType; source: WeightEntry['source'] },
    rows: number,
    columns: number,
    host: boolean,
  ): number {
    const isFile = source.kind === 'file';
    let path = -1;
    if (isFile) {
      path = this.#paths.get(source.path) ?? this.#paths.size;
      this.#paths.set(source.path, path);
    }
    const byteLength = isFile ? source.byteLength : source.bytes.byteLength;
    const { kind } = weightLayout(dtype, rows, columns);
    const offset = isFile ? source.offset : 0;
    this.#numbers.push(dtypes.indexOf(dtype), rows, columns, kind, path, offset, byteLength, host ? 1 : 0);
    this.bytes.push(isFile ? undefined : source.bytes);
    return this.names.push(name) - 1;
  }

  get paths(): readonly string[] {
    return [...this.#paths.keys()];
  }

  get numbers(): Float64Array {
    return Float64Array.from(this.#numbers);
  }

  get totalBytes(): number {
    return this.#numbers.reduce(
      (sum, value, index) => (index % numbersOfWeight === 6 ? sum + value : sum),
      0,
    );
  }
}

/** @throws UnicornError `usage/weight` for a name given twice, or an entry whose bytes do not follow from its shape */
function checkEntry({ name, dtype, shape, source }: WeightEntry, known: ReadonlyMap<string, unknown>): void {
  const expected = tensorBytes(dtype, shape);
  const given = source.kind === 'file' ? source.byteLength : source.bytes.byteLength;
  if (given === expected && !known.has(name)) return;
  const what = known.has(name) ? 'is given twice' : `has ${given} bytes instead of ${expected}`;
  throw new UnicornError('usage/weight', `The weight "${name}" (${dtype} [${shape.join(', ')}]) ${what}.`, {
    fields: { name, given, expected },
    fix: known.has(name) ? 'Give each name once.' : 'Give the bytes that its dtype and shape take.',
  });
}

/** The bytes of a vector. @throws UnicornError `usage/file`, `format/truncated` */
async function sourceBytes({ name, source }: WeightEntry): Promise<Uint8Array> {
  if (source.kind === 'bytes') return source.bytes;
  const bytes = new Uint8Array(source.byteLength);
  await readFileRange(source.path, bytes, source.offset, name);
  return bytes;
}

async function addVector(request: Request, entry: WeightEntry): Promise<void> {
  const { name, dtype, shape } = entry;
  const columns = elementCount(shape);
  const hasLayout = layoutDTypes.includes(dtype);
  const stored = hasLayout ? request.add(name, entry, 1, columns, false) : undefined;
  let floats = dtype === 'f32' ? stored : undefined;
  if (dtype !== 'f32' && dtype !== 'i32') {
    const decoded = new Float32Array(columns);
    decodeRow(dtype, await sourceBytes(entry), 0, columns, decoded, 0);
    const source = { kind: 'bytes', bytes: new Uint8Array(decoded.buffer) } as const;
    floats = request.add(`${name} as f32`, { dtype: 'f32', source }, 1, columns, false);
  }
  // One of the two is there: what has no layout was decoded.
  const index = (stored ?? floats)!;
  const layout = weightLayout(stored === undefined ? 'f32' : dtype, 1, columns);
  request.weights.set(name, { index, dtype, layout, rows: 1, columns, host: false, floats });
}

/** @throws UnicornError `usage/weight`, `usage/file`, `format/truncated`; `unsupported/dtype` for a matrix without layout */
export async function loadRequest(entries: readonly WeightEntry[]): Promise<LoadRequest> {
  expectWeightEntries(entries);
  const request = new Request();
  for (const entry of entries) {
    const { name, dtype, shape } = entry;
    checkEntry(entry, request.weights);
    if (shape.length < 2) {
      await addVector(request, entry);
      continue;
    }
    const rows = elementCount(shape.slice(0, -1));
    const columns = shape.at(-1)!;
    const host = entry.residency === 'host';
    const layout = weightLayout(dtype, rows, columns);
    const index = request.add(name, entry, rows, columns, host);
    request.weights.set(name, { index, dtype, layout, rows, columns, host, floats: undefined });
  }
  const { paths, names, numbers, bytes, weights, totalBytes } = request;
  return { paths, names, numbers, bytes, weights, totalBytes };
}

export class VulkanWeightSet implements WeightSet, WeightTable {
  readonly #addon: NativeAddon;
  readonly #handle: WeightsHandle;
  readonly #specs: ReadonlyMap<string, TensorSpec>;
  readonly #weights: ReadonlyMap<string, LoadedWeight>;
  readonly #released: (byteLength: number) => void;
  readonly byteLength: number;
  /** By index of the addon's list; 0 for what stays in host memory. */
  readonly addresses: BigUint64Array;
  #disposed = false;

  constructor(
    addon: NativeAddon,
    readonly device: DeviceHandle,
    handle: WeightsHandle,
    entries: readonly WeightEntry[],
    weights: ReadonlyMap<string, LoadedWeight>,
    released: (byteLength: number) => void,
  ) {
    this.#addon = addon;
    this.#handle = handle;
    this.#released = released;
    this.#specs = new Map(entries.map(({ name, dtype, shape }) => [name, { dtype, shape }]));
    this.#weights = weights;
    this.addresses = guarded(() => addon.weightAddresses(handle));
    this.byteLength = guarded(() => addon.weightBytes(handle));
  }

  get names(): readonly string[] {
    return [...this.#specs.keys()];
  }

  spec(name: string): TensorSpec | undefined {
    return this.#specs.get(name);
  }

  loaded(name: string): LoadedWeight {
    return this.#weights.get(name)!;
  }

  /** Bytes that the device reads where their file is mapped; no part of `byteLength`. */
  get importedBytes(): number {
    return guarded(() => this.#addon.importedBytes(this.handle));
  }

  /** Bytes of host memory that lookups have read so far. */
  get gatheredBytes(): number {
    return guarded(() => this.#addon.gatheredBytes(this.handle));
  }

  /** @throws UnicornError `usage/disposed` after `dispose` */
  get handle(): WeightsHandle {
    if (!this.#disposed) return this.#handle;
    throw new UnicornError('usage/disposed', 'The weights were disposed of.', {
      fix: 'Load them again, or dispose of them after the executables that read them.',
    });
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    guarded(() => this.#addon.dispose(this.#handle));
    this.#released(this.byteLength);
  }
}
