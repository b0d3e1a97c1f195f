/**
 * The blocks of one KV group: which are free, and how many tables hold each of the others. It knows no sequence and no
 * memory; a block is a number. Block 0 is the sink for padded rows and belongs to nobody.
 */
import { invariant } from '@unicorn-exec/tensor';

export class BlockPool {
  /** A stack: the block freed last is handed out first, while it may still be in a cache. */
  readonly #free: number[] = [];
  readonly #references: Int32Array;

  /** @param capacity blocks that may be handed out, the sink not counted: ids 1 to `capacity` */
  constructor(
    readonly name: string,
    readonly capacity: number,
  ) {
    this.#references = new Int32Array(capacity + 1);
    for (let block = capacity; block > 0; block--) this.#free.push(block);
  }

  get free(): number {
    return this.#free.length;
  }

  /** Tables that hold the block. */
  references(block: number): number {
    return this.#references[block]!;
  }

  /** A free block, held once from now on; undefined when there is none. */
  acquire(): number | undefined {
    const block = this.#free.pop();
    if (block !== undefined) this.#references[block] = 1;
    return block;
  }

  /** One more table holds the block. */
  share(block: number): void {
    invariant(this.#references[block]! > 0, `${this.name}: block ${block} is shared but nobody holds it`);
    this.#references[block]!++;
  }

  /** One table fewer holds the block; the last one frees it. */
  release(block: number): void {
    invariant(this.#references[block]! > 0, `${this.name}: block ${block} is released but nobody holds it`);
    if (--this.#references[block]! === 0) this.#free.push(block);
  }

  /**
   * @param held for each block id how many tables were found to hold it
   * @throws UnicornError `internal/invariant` when a block leaked, or is free and held at once
   */
  checkIntegrity(held: Int32Array): void {
    const free = new Set(this.#free);
    invariant(free.size === this.#free.length, `${this.name}: a block is twice in the free list`);
    invariant(!free.has(0) && held[0] === 0, `${this.name}: the sink was handed out`);
    for (let block = 1; block <= this.capacity; block++) {
      const [found, counted] = [held[block]!, this.#references[block]!];
      invariant(found === counted, `${this.name}: block ${block} is held ${found} times, counted ${counted}`);
      invariant(free.has(block) === (counted === 0), `${this.name}: block ${block} is neither free nor held`);
    }
  }
}
