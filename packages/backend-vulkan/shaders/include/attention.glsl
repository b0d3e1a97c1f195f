// The arithmetic of attention that attention-row.comp, attention-tile.comp and attention-merge.comp have in common, operation
// by operation, so that a row's result is the same bits in a decode step, in a chunk of a prompt, and in any batch:
//
// - Keys are cut at absolute multiples of 128 (a section).
// - A score is a sum over `keyLanes` strands of fma: strand r runs over the head's elements in vectors of 8, r, r + keyLanes,
//   and so on. The strands are added as a tree: r and r ^ keyLanes / 2 first, r and r ^ 1 last. Then times the scale; then
//   capped.
// - Of a section are made: m, the largest score that the query sees; weights exp(score - m), 0 for keys that it does not see;
//   l, the sum of the weights as a subgroup makes it (`weighLine`); and the weighted sum of the values: `strands` strands, of
//   which strand c runs over the keys c, c + strands, and so on; then these in order.
// - Sections are merged in order: M' = max(M, m), L' = L exp(M - M') + l exp(m - M'), and the values' sums likewise. Sections
//   of which a query sees nothing are left out.
//
// Sums begin at +0, so they are never -0, and adding 0 times a finite number changes nothing. attention-matrix.comp has an
// arithmetic of its own.

const uint sectionKeys = 128u;

// Marks a section of which a line sees nothing, in place of l.
const float nothingSeen = -1.0;

// Compares bits, since l may be NaN.
bool isNothing(float l) {
  return floatBitsToUint(l) == floatBitsToUint(nothingSeen);
}

// Whether anything was seen: where it was, the largest score's weight of 1 (or a NaN) makes a sum of 0 impossible.
bool isAny(float sum) {
  return (floatBitsToUint(sum) & 0x7fffffffu) != 0u;
}

// Appends a section (m, l) to what has been merged (M, L). Returns the factors of the values' sums: (old, new).
vec2 mergeSection(inout float merged, inout float mergedSum, float m, float l) {
  precise float larger = m > merged ? m : merged;
  precise vec2 factors = vec2(exactExp(merged - larger), exactExp(m - larger));
  precise float sum = fma(mergedSum, factors.x, l * factors.y);
  merged = larger;
  mergedSum = sum;
  return factors;
}
