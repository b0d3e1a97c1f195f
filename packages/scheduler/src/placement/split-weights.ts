/** The weights of several devices: each holds what its parts read. */
import {
  tensorBytes,
  type Device,
  type LoadOptions,
  type TensorSpec,
  type WeightEntry,
  type WeightSet,
} from '@unicorn-exec/tensor';

export class SplitWeightSet implements WeightSet {
  readonly #entries: ReadonlyMap<string, WeightEntry>;
  /** By device. */
  readonly #sets: WeightSet[][];
  #disposed = false;

  private constructor(
    private readonly devices: readonly Device[],
    entries: readonly WeightEntry[],
  ) {
    this.#entries = new Map(entries.map((entry) => [entry.name, entry]));
    this.#sets = devices.map(() => []);
  }

  /**
   * Loads each weight on the devices that read it, one device after the other, with progress as of one load.
   *
   * @param readersOf indices of devices
   * @throws UnicornError as the devices do; nothing of a failed load is left
   */
  static async load(
    devices: readonly Device[],
    entries: readonly WeightEntry[],
    readersOf: (name: string) => ReadonlySet<number>,
    options: LoadOptions,
  ): Promise<SplitWeightSet> {
    const shares = devices.map((_, index) => entries.filter(({ name }) => readersOf(name).has(index)));
    const totalBytes = shares.reduce((sum, share) => sum + bytesOf(share), 0);
    const made = new SplitWeightSet(devices, entries);
    let loaded = 0;
    try {
      for (const [index, share] of shares.entries()) {
        const before = loaded;
        const set = await devices[index]!.load(share, {
          ...options,
          onProgress: ({ loadedBytes }) =>
            options.onProgress?.({ loadedBytes: before + loadedBytes, totalBytes }),
        });
        made.#sets[index]!.push(set);
        loaded += bytesOf(share);
      }
    } catch (error) {
      made.dispose();
      throw error;
    }
    return made;
  }

  get names(): readonly string[] {
    return [...this.#entries.keys()];
  }

  spec(name: string): TensorSpec | undefined {
    return this.#entries.get(name);
  }

  get byteLength(): number {
    return this.#sets.flat().reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** The sets of a device, those of `names` that it lacks loaded now. */
  async on(device: number, names: readonly string[]): Promise<readonly WeightSet[]> {
    const sets = this.#sets[device]!;
    const missing = names.flatMap((name) =>
      sets.some((set) => set.spec(name)) ? [] : (this.#entries.get(name) ?? []),
    );
    if (missing.length > 0 && !this.#disposed) sets.push(await this.devices[device]!.load(missing));
    return sets;
  }

  dispose(): void {
    this.#disposed = true;
    for (const set of this.#sets.flat()) set.dispose();
    for (const sets of this.#sets) sets.length = 0;
  }
}

function bytesOf(entries: readonly WeightEntry[]): number {
  return entries.reduce((sum, { dtype, shape }) => sum + tensorBytes(dtype, shape), 0);
}
