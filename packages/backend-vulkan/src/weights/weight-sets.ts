/** The weight sets that one executable reads, as one table: places number the weights of all sets one after the other. */
import type { WeightsHandle } from '../addon.js';
import type { VulkanWeightSet } from './weight-set.js';
import type { LoadedWeight, WeightTable } from './weight-table.js';

export class WeightSets implements WeightTable {
  readonly byteLength: number;
  /** By index in places; 0 for what stays in host memory. */
  readonly addresses: BigUint64Array;
  readonly #sets: readonly VulkanWeightSet[];
  readonly #weights = new Map<string, LoadedWeight>();
  readonly #holders = new Map<string, VulkanWeightSet>();

  /** @param sets whose names are disjoint */
  constructor(sets: readonly VulkanWeightSet[]) {
    this.#sets = sets;
    this.byteLength = sets.reduce((sum, set) => sum + set.byteLength, 0);
    this.addresses = BigUint64Array.from(sets.flatMap(({ addresses }) => [...addresses]));
    let first = 0;
    for (const set of sets) {
      for (const name of set.names) {
        const own = set.loaded(name);
        const floats = own.floats === undefined ? undefined : own.floats + first;
        this.#weights.set(name, { ...own, index: own.index + first, floats });
        this.#holders.set(name, set);
      }
      first += set.addresses.length;
    }
  }

  loaded(name: string): LoadedWeight {
    return this.#weights.get(name)!;
  }

  /** The set that a weight lies in, and its index there. */
  origin(name: string): { readonly handle: WeightsHandle; readonly index: number } {
    const set = this.#holders.get(name)!;
    return { handle: set.handle, index: set.loaded(name).index };
  }

  /** @throws UnicornError `usage/disposed` when one of the sets was disposed of */
  get handles(): WeightsHandle[] {
    return this.#sets.map(({ handle }) => handle);
  }
}
