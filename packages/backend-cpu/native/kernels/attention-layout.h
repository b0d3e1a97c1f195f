// The constants that the planner and the kernel of attention share: the size of a tile and its layout in scratch.
#pragma once

#include "kernels.h"

namespace unicorn {

// Keys whose scores are held at once; sections are whole chunks.
constexpr int64_t attentionChunkKeys = 64;
static_assert(attentionSectionKeys % attentionChunkKeys == 0, "a chunk lies in one section");

// Queries (rows times the heads of one KV head) that a tile aims at: each key and value is converted to f32 once for all
// of them, and their sums (32 x headDim floats) stay in L1 or L2.
constexpr int64_t attentionTileQueries = 32;

static inline int64_t attentionTileRows(int64_t heads, int64_t kvHeads) {
  const int64_t group = heads / kvHeads;
  return group >= attentionTileQueries ? 1 : attentionTileQueries / group;
}

static inline int64_t attentionTileQueriesMax(int64_t heads, int64_t kvHeads) {
  return attentionTileRows(heads, kvHeads) * (heads / kvHeads);
}

// headDim rounded up to the widest vector; what is beyond headDim is zero.
static inline int64_t attentionPaddedDim(int64_t headDim) { return (headDim + 15) / 16 * 16; }

// Floats of one partial result: the sums, then the largest score and the sum of the weights in one more vector.
static inline int64_t attentionPartialFloats(int64_t headDim) { return attentionPaddedDim(headDim) + 16; }

}  // namespace unicorn
