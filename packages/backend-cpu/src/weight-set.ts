/** Weights as the addon holds them. The addon loads them; this class checks the entries and puts them into its arrays. */
import { guarded } from '@unicorn-exec/native';
import { dtypes, elementCount, expectWeightEntries, tensorBytes, UnicornError } from '@unicorn-exec/tensor';
import type { TensorSpec, WeightEntry, WeightSet } from '@unicorn-exec/tensor';
import type { NativeAddon, WeightsHandle } from './addon.js';

/**
 * What becomes of matrices of block formats that come from files: `packed` copies them into memory of its own, in the
 * order in which the kernels read them; `mapped` leaves them in the file's pages, which processes share, and packs them in
 * passing, each time they are read; `auto` maps when packing would keep the caller waiting. Results are the same bit for
 * bit. In the order of native/runtime/weight-set.h.
 */
export const weightPlacements = ['auto', 'packed', 'mapped'] as const;
export type WeightPlacement = (typeof weightPlacements)[number];

/** `WeightForm` of native/kernels/kernels.h. */
const weightForms = ['raw', 'packed', 'inPlace'] as const;

/** The arguments of `loadWeights` of the addon. */
export interface LoadRequest {
  readonly paths: readonly string[];
  readonly names: readonly string[];
  readonly numbers: Float64Array;
  readonly bytes: readonly (Uint8Array | undefined)[];
}

/**
 * @throws UnicornError `usage/weight` for what is not entries, a name given twice, or an entry whose bytes do not follow from its shape
 */
export function loadRequest(entries: readonly WeightEntry[]): LoadRequest {
  expectWeightEntries(entries);
  const paths = new Map<string, number>();
  const names = new Set<string>();
  const numbers = new Float64Array(7 * entries.length);
  const bytes = entries.map((entry, index) => {
    const { name, dtype, shape, source, residency } = entry;
    const expected = tensorBytes(dtype, shape);
    const given = source.kind === 'file' ? source.byteLength : source.bytes.byteLength;
    if (given !== expected || names.has(name)) {
      const what = names.has(name) ? 'is given twice' : `has ${given} bytes instead of ${expected}`;
      throw new UnicornError(
        'usage/weight',
        `The weight "${name}" (${dtype} [${shape.join(', ')}]) ${what}.`,
        {
          fields: { name, given, expected },
          fix: names.has(name) ? 'Give each name once.' : 'Give the bytes that its dtype and shape take.',
        },
      );
    }
    names.add(name);
    let path = -1;
    if (source.kind === 'file') {
      path = paths.get(source.path) ?? paths.size;
      paths.set(source.path, path);
    }
    const rows = elementCount(shape.slice(0, -1));
    const mayPack = shape.length >= 2 && residency !== 'host';
    const offset = source.kind === 'file' ? source.offset : 0;
    numbers.set(
      [dtypes.indexOf(dtype), rows, shape.at(-1) ?? 1, mayPack ? 1 : 0, path, offset, expected],
      7 * index,
    );
    return source.kind === 'bytes' ? source.bytes : undefined;
  });
  return { paths: [...paths.keys()], names: [...names], numbers, bytes };
}

export class CpuWeightSet implements WeightSet {
  readonly #addon: NativeAddon;
  readonly #handle: WeightsHandle;
  readonly #specs: ReadonlyMap<string, TensorSpec>;
  readonly #indices: ReadonlyMap<string, number>;
  readonly #forms: readonly (typeof weightForms)[number][];
  readonly #released: (byteLength: number) => void;
  readonly byteLength: number;
  /** Anonymous memory; the rest of {@link byteLength} is mapped from files. */
  readonly ownedBytes: number;
  #disposed = false;

  constructor(
    addon: NativeAddon,
    handle: WeightsHandle,
    entries: readonly WeightEntry[],
    released: (byteLength: number) => void,
  ) {
    this.#addon = addon;
    this.#handle = handle;
    this.#released = released;
    this.#specs = new Map(entries.map(({ name, dtype, shape }) => [name, { dtype, shape }]));
    this.#indices = new Map(entries.map(({ name }, index) => [name, index]));
    this.#forms = Array.from(
      guarded(() => addon.weightForms(handle)),
      (form) => weightForms[form]!,
    );
    this.ownedBytes = guarded(() => addon.ownedBytes(handle));
    const mapped = entries.reduce(
      (sum, { dtype, shape, source, residency }, index) =>
        this.#forms[index] === 'packed' || residency === 'host' || source.kind === 'bytes'
          ? sum
          : sum + tensorBytes(dtype, shape),
      0,
    );
    this.byteLength = this.ownedBytes + mapped;
  }

  get names(): readonly string[] {
    return [...this.#specs.keys()];
  }

  spec(name: string): TensorSpec | undefined {
    return this.#specs.get(name);
  }

  /** Position of a weight in the addon's list. */
  index(name: string): number {
    return this.#indices.get(name)!;
  }

  /** Whether products with the weight take int8 activations. */
  takesInt8(name: string): boolean {
    return this.#forms[this.index(name)] !== 'raw';
  }

  /** @throws UnicornError `usage/disposed` after `dispose` */
  get handle(): WeightsHandle {
    if (this.#disposed) {
      throw new UnicornError('usage/disposed', 'The weights were disposed of.', {
        fix: 'Load them again, or dispose of them after the executables that read them.',
      });
    }
    return this.#handle;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    guarded(() => this.#addon.dispose(this.#handle));
    this.#released(this.byteLength);
  }
}
