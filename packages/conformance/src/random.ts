/**
 * Reproducible data: every tensor of the suite is drawn from a stream named by a text, so that a row or a weight has
 * the same content in whichever batch, case or process it appears.
 */

/** The FNV-1a hash of the UTF-16 units, from which generators are seeded. */
function hash(text: string): number {
  let state = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) state = Math.imul(state ^ text.charCodeAt(i), 0x01000193);
  return state >>> 0;
}

/** The generator xorshift128 (Marsaglia 2003), seeded from a text. It is not fit for secrets. */
export class Random {
  readonly #state: Uint32Array;

  constructor(seed: string) {
    this.#state = Uint32Array.from({ length: 4 }, (_, i) => hash(`${i} ${seed}`) | 1);
    for (let i = 0; i < 16; i++) this.bits();
  }

  /** A u32. */
  bits(): number {
    const s = this.#state;
    let t = s[3]!;
    s[3] = s[2]!;
    s[2] = s[1]!;
    const first = s[0]!;
    s[1] = first;
    t ^= t << 11;
    t ^= t >>> 8;
    s[0] = t ^ first ^ (first >>> 19);
    return s[0];
  }

  /** In [0, 1). */
  uniform(): number {
    return this.bits() * 2 ** -32;
  }

  /** A whole number in [0, count). */
  integer(count: number): number {
    return Math.floor(this.uniform() * count);
  }

  /** Standard normal, by Box and Muller. */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.bits() >>> 24);
  }

  /** 0 ... count - 1 in random order. */
  permutation(count: number): number[] {
    const order = Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }
}
