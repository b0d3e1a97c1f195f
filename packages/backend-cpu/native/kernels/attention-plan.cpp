// Cuts an attention call into tasks, and refuses tables that would lead a kernel outside the KV state.
#include "attention-layout.h"

namespace unicorn {

namespace {

int64_t lastKey(const Attention& call, int64_t row) { return call.reach ? call.reach[row] : call.positions[row]; }

int64_t firstKey(const Attention& call, int64_t row) {
  if (call.window == 0) return 0;
  const int64_t first = static_cast<int64_t>(call.positions[row]) - call.window + 1;
  return first > 0 ? first : 0;
}

int64_t sequenceEnd(const Attention& call, int64_t sequence) {
  return sequence + 1 < call.sequences ? call.starts[sequence + 1] : call.rows;
}

// Blocks are checked only in columns that some row of the sequence reads: later ones may be unset.
AttentionFault check(const Attention& call, int64_t* fault) {
  int64_t previous = 0;
  for (int64_t s = 0; s < call.sequences; s++) {
    const int64_t start = call.starts[s];
    *fault = s;
    if (start < previous || start > call.rows || (s == 0 && start != 0)) return AttentionFault::starts;
    previous = start;
  }
  const int64_t capacity = call.tableColumns * call.blockTokens;
  for (int64_t s = 0; s < call.sequences; s++) {
    int64_t columnBegin = call.tableColumns;
    int64_t columnEnd = 0;
    for (int64_t row = call.starts[s]; row < sequenceEnd(call, s); row++) {
      const int64_t last = lastKey(call, row);
      const int64_t first = firstKey(call, row);
      *fault = row;
      if (last >= capacity) return AttentionFault::position;
      if (last < first) continue;
      if (first / call.blockTokens < columnBegin) columnBegin = first / call.blockTokens;
      if (last / call.blockTokens >= columnEnd) columnEnd = last / call.blockTokens + 1;
    }
    *fault = s;
    for (int64_t column = columnBegin; column < columnEnd; column++) {
      const int32_t block = call.blockTables[s * call.tableColumns + column];
      if (block < 0 || block >= call.stateBlocks) return AttentionFault::blockId;
    }
  }
  return AttentionFault::none;
}

}  // namespace

int64_t attentionScratchBytesBound(int64_t heads, int64_t kvHeads, int64_t headDim) {
  const int64_t queries = attentionTileQueriesMax(heads, kvHeads);
  const int64_t dim = attentionPaddedDim(headDim);
  // Queries, sums and totals; keys and values of a chunk; scores; per query the bounds and running values.
  const int64_t floats = 3 * queries * dim + 2 * attentionChunkKeys * dim + queries * attentionChunkKeys;
  return 4 * floats + queries * 64 + 4096;
}

int64_t attentionPartialBytesBound(int64_t rows, int64_t heads, int64_t headDim, int64_t maxKeys) {
  const int64_t sections = (maxKeys + attentionSectionKeys - 1) / attentionSectionKeys;
  const int64_t separateRows = rows < attentionSeparateRows ? rows : attentionSeparateRows;
  return separateRows * heads * sections * attentionPartialFloats(headDim) * 4;
}

AttentionFault planAttention(const Attention& call, int64_t threads, AttentionTile* tiles, AttentionPlan* plan,
                             int64_t* faultRow) {
  const AttentionFault fault = check(call, faultRow);
  if (fault != AttentionFault::none) return fault;

  const int64_t tileRows = attentionTileRows(call.heads, call.kvHeads);
  int64_t count = 0;
  int64_t sections = 0;
  for (int64_t s = 0; s < call.sequences; s++) {
    for (int64_t row = call.starts[s]; row < sequenceEnd(call, s); row += tileRows) {
      const int64_t end = row + tileRows < sequenceEnd(call, s) ? row + tileRows : sequenceEnd(call, s);
      tiles[count++] = {static_cast<int32_t>(s), static_cast<int32_t>(row), static_cast<int32_t>(end)};
      for (int64_t r = row; r < end; r++) {
        const int64_t rowSections = lastKey(call, r) / attentionSectionKeys + 1;
        if (rowSections > sections) sections = rowSections;
      }
    }
  }
  plan->tiles = tiles;
  plan->tileCount = count;
  plan->sectionCount = sections;
  // Four tasks per thread even out their different lengths.
  plan->separateSections = sections > 1 && call.rows <= attentionSeparateRows && count * call.kvHeads < 4 * threads;
  plan->taskCount = count * call.kvHeads * (plan->separateSections ? sections : 1);
  plan->mergeCount = plan->separateSections ? call.rows * call.heads : 0;
  plan->scratchBytes = attentionScratchBytesBound(call.heads, call.kvHeads, call.headDim);
  plan->partialBytes =
      plan->separateSections ? call.rows * call.heads * sections * attentionPartialFloats(call.headDim) * 4 : 0;
  return AttentionFault::none;
}

}  // namespace unicorn
