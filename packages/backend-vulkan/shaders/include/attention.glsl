// What both forms of attention (attention.comp) and the merge (attention-merge.comp) have in common. Their arithmetic is the
// same operation by operation, so that a row's result is the same bits in a decode step, in a chunk of a prompt, and in any
// batch:
//
// - Keys are cut at absolute multiples of 256 (a split).
// - A score is one chain of fma over the head's elements, in order; then times the scale; then capped.
// - Of a split are made: m, the largest score that the query sees; weights exp(score - m), 0 for keys that it does not see;
//   l, the sum of the weights: chains over 16 keys, then these 16 in order; and the weighted sum of the values: chains over
//   `chainKeys` keys, then these in order.
// - Splits are merged in order: M' = max(M, m), L' = L exp(M - M') + l exp(m - M'), and the values' sums likewise. Splits
//   of which a query sees nothing are left out.
//
// Sums begin at +0, so they are never -0, and adding 0 times a finite number changes nothing.

const uint splitKeys = 256u;
// Scores of a line in shared memory: a gap after 16 keys keeps invocations that take 16 keys each on different banks.
const uint scoreStride = splitKeys + splitKeys / 16u;

uint scoreIndex(uint line, uint key) {
  return line * scoreStride + key + (key >> 4);
}

// Marks a split of which a line sees nothing, in place of l.
const float nothingSeen = -1.0;

// Appends a split (m, l) to what has been merged (M, L). Returns the factors of the values' sums: (old, new).
vec2 mergeSplit(inout float merged, inout float mergedSum, float m, float l) {
  precise float larger = m > merged ? m : merged;
  precise vec2 factors = vec2(exactExp(merged - larger), exactExp(m - larger));
  precise float sum = fma(mergedSum, factors.x, l * factors.y);
  merged = larger;
  mergedSum = sum;
  return factors;
}
