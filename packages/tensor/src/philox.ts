/**
 * Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a counter-based generator, so
 * that the draw for a position needs no state and is the same on every backend and in every batch.
 */

/** High and low 32 bits of a 32 x 32 bit product, from 16-bit limbs since a double holds 53 bits only. */
function multiplyWide(a: number, b: number): [high: number, low: number] {
  const [aLow, aHigh] = [a & 0xffff, a >>> 16];
  const [bLow, bHigh] = [b & 0xffff, b >>> 16];
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const carry = aLow * bHigh + (middle % 0x10000);
  const high = aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000);
  return [high >>> 0, Math.imul(a, b) >>> 0];
}

export type PhiloxBlock = readonly [number, number, number, number];

/** Ten rounds over `counter` under `key`; all words are u32. */
export function philox4x32(counter: PhiloxBlock, key: readonly [number, number]): PhiloxBlock {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    // Multipliers and Weyl increments (golden ratio, sqrt(3) - 1) are the paper's.
    const [high0, low0] = multiplyWide(0xd2511f53, c0);
    const [high1, low1] = multiplyWide(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The draw in [0, 1) for a position of a sequence: 24 bits, exact in f32. */
export function uniformAt(seedLow: number, seedHigh: number, position: number): number {
  const [word] = philox4x32([position >>> 0, 0, 0, 0], [seedLow >>> 0, seedHigh >>> 0]);
  return (word >>> 8) * 2 ** -24;
}
