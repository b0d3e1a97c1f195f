/**
 * The slots of one sequence in the states that are not keys and values. Such a state is what all positions so far have made
 * of it, so it cannot be cut at a position: a step that checks guesses leaves it in another slot, and where a guess was
 * wrong the sequence goes on from the slot that it began with, computing again what stands.
 */
import type { BlockPool } from './block-pool.js';

/** The slot that a portion of a step goes on from, and the slot that it leaves. */
export type StateSlots = readonly [from: number, to: number];

export class SequenceSlots {
  /** What all computed positions have made of the states; 0 before the first step. */
  #own = 0;
  /** What a step that checks guesses leaves, and a slice that makes them; 0 when there are none. */
  #checked = 0;
  #guessed = 0;

  /** @param acquire gives a slot that nobody holds */
  constructor(
    private readonly pool: BlockPool,
    private readonly acquire: () => number,
  ) {}

  /** Those that it holds. */
  get held(): number[] {
    return [this.#own, this.#checked, this.#guessed].filter((slot) => slot > 0);
  }

  /** @param computed positions so far */
  ofStep(computed: number, checksGuesses: boolean): StateSlots {
    this.#own ||= this.acquire();
    const from = computed === 0 ? 0 : this.#own;
    if (!checksGuesses) return [from, this.#own];
    this.#checked ||= this.acquire();
    return [from, this.#checked];
  }

  /** The slots of a slice that draws a guess. @param isFirst whether it is the first one behind the known tokens */
  ofGuess(isFirst: boolean): StateSlots {
    this.#guessed ||= this.acquire();
    return [isFirst ? this.#own : this.#guessed, this.#guessed];
  }

  /** Everything that a step computed stands: what it left is what the sequence goes on from. */
  keep([, to]: StateSlots): void {
    if (to !== this.#checked) return;
    [this.#own, this.#checked] = [this.#checked, this.#own];
  }

  /** Lets go of what guesses needed. */
  retract(): void {
    for (const slot of [this.#checked, this.#guessed]) if (slot > 0) this.pool.release(slot);
    this.#checked = this.#guessed = 0;
  }

  /** Lets go of all. It is of no use any more. */
  release(): void {
    for (const slot of this.held) this.pool.release(slot);
    this.#own = this.#checked = this.#guessed = 0;
  }
}
