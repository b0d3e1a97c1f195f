// Attention over the paged KV state, after Dao et al. 2022 (arXiv:2205.14135): scores of a chunk of keys, softmax with a
// running maximum, weighted values, and no score ever leaves the core.
//
// A task is one KV head and one tile of rows (attention-plan.cpp); its queries are the rows times the heads of the group,
// and each key and value is converted to f32 once for all of them. What a query computes does not depend on its
// neighbours in the tile:
//   score   one vector of W partial sums along the head, then the tree of `sumLanes`
//   chunk   64 keys at absolute positions: maximum, weights e^(score - maximum), weighted values in key order
//   section 256 keys at absolute positions: chunks in order into fresh sums
//   row     sections in order, merged by their maxima, at once or in the second phase
// Keys that a query does not see are skipped, not multiplied by zero: a NaN there stays there.
// Scalar twin: `attention` in test/reference.cpp.
#include "../attention-layout.h"
#include "level.h"
#include "vector-math.h"

namespace unicorn {
namespace UNICORN_LEVEL {

namespace {

constexpr int64_t chunkKeys = attentionChunkKeys;
constexpr int foldQueries = W / 4;             // a score tile is W / 4 queries by 4 keys: its sums fold into one vector
constexpr int valueQueries = W == 16 ? 4 : 2;  // a value tile is this many queries by up to 4 vectors of the head
constexpr float negativeInfinity = -__builtin_inff();

// Keys [begin, end) that a query sees; while a chunk is worked on, relative to its first key.
struct Range {
  int64_t begin, end;
};

// The numbers of one task, in the caller's scratch.
struct Work {
  const Attention& call;
  int64_t kvHead, dim, queries, group, rowBegin, sequence;
  float* query;   // [queries, dim]
  float* keys;    // [chunkKeys, dim]
  float* values;  // [chunkKeys, dim]
  float* scores;  // [queries, chunkKeys]
  float* sums;    // [queries, dim]
  float* totals;  // [queries, dim]
  float* top;     // [queries] largest score of the section so far
  float* weight;  // [queries] sum of the weights
  float* totalTop;
  float* totalWeight;
  Range* sight;    // [queries] keys that a query sees
  Range* visible;  // [queries] of those, the ones in this chunk
  const float* keyRows[chunkKeys + 4];
  const float* valueRows[chunkKeys];

  int64_t rowOf(int64_t q) const { return rowBegin + q / group; }
  int64_t headOf(int64_t q) const { return kvHead * group + q % group; }
};

UNICORN_INLINE float expScalar(float x) { return expOf(broadcast(x))[0]; }

// The point that weights are taken relative to: zero where every score so far is minus infinity.
UNICORN_INLINE float origin(float top) { return top == negativeInfinity ? 0.0f : top; }

// ---- from the state to rows of f32

// Pointers to keys or values [begin, end) of the chunk at `chunkStart`. `convert(source, row)` writes one row of f32, or
// says that the source is one. Blocks are scattered, so the next rows are asked for ahead of time: beside a key its value,
// beside a value the key one chunk on.
template <typename Convert>
UNICORN_INLINE void gatherRowsWith(const Work& work, int64_t part, int64_t chunkStart, Range range, float* buffer,
                                   const float** rows, Convert convert) {
  const Attention& call = work.call;
  const int64_t rowStride = rowBytes(call.stateDType, call.headDim);
  const int64_t parts = call.stateParts;
  const int64_t partBytes = call.kvHeads * call.blockTokens * rowStride;
  const int32_t* table = call.blockTables + work.sequence * call.tableColumns;
  for (int64_t k = range.begin; k < range.end;) {
    const int64_t key = chunkStart + k;
    const int64_t offset = key % call.blockTokens;
    const int64_t block = table[key / call.blockTokens];
    const uint8_t* source =
        call.state + (((block * parts + part) * call.kvHeads + work.kvHead) * call.blockTokens + offset) * rowStride;
    const uint8_t* ahead = source + partBytes;
    if (part + 1 == parts) {
      const int64_t column = (key + chunkKeys) / call.blockTokens;
      if (column < call.tableColumns) ahead = source + ((table[column] - block) * parts - part) * partBytes;
    }
    const int64_t end = minimum(range.end, k + call.blockTokens - offset);
    for (; k < end; k++, source += rowStride, ahead += rowStride) {
      for (int64_t line = 0; line < rowStride; line += 64) __builtin_prefetch(ahead + line);
      rows[k] = convert(source, buffer + k * work.dim);
    }
  }
}

void gatherRows(const Work& work, int64_t part, int64_t chunkStart, Range range, float* buffer, const float** rows) {
  const DType dtype = work.call.stateDType;
  const int64_t headDim = work.call.headDim;
  const int64_t dim = work.dim;
  if (dim == headDim && dtype == DType::f32) {
    gatherRowsWith(work, part, chunkStart, range, buffer, rows,
                   [](const uint8_t* source, float*) { return reinterpret_cast<const float*>(source); });
  } else if (dim == headDim && dtype == DType::f16) {
    gatherRowsWith(work, part, chunkStart, range, buffer, rows, [=](const uint8_t* source, float* row) {
      for (int64_t d = 0; d < dim; d += 16) {
        for (int j = 0; j < 16; j += W) store(row + d + j, loadHalf(source + 2 * (d + j)));
      }
      return row;
    });
  } else {
    gatherRowsWith(work, part, chunkStart, range, buffer, rows, [=](const uint8_t* source, float* row) {
      decode(dtype, source, headDim, row);
      for (int64_t d = headDim; d < dim; d++) row[d] = 0;
      return row;
    });
  }
}

// ---- scores

// Each lane group of four gets the sums of its query with keys 0 to 3; the additions are those of `sumLanes`.
UNICORN_INLINE F foldSums(const F (&sums)[foldQueries][4]) {
#if defined(__AVX512VNNI__)
  __m512 folded[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
    const __m512 a = sums[0][k], b = sums[1][k], c = sums[2][k], d = sums[3][k];
    const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    folded[k] = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  }
  const auto halves = [](__m512 x, __m512 y) {
    const __m512d u = _mm512_castps_pd(x), v = _mm512_castps_pd(y);
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(u, v)), _mm512_castpd_ps(_mm512_unpackhi_pd(u, v)));
  };
  const __m512 low = halves(folded[0], folded[1]);
  const __m512 high = halves(folded[2], folded[3]);
  return _mm512_add_ps(_mm512_shuffle_ps(low, high, 0x88), _mm512_shuffle_ps(low, high, 0xdd));
#elif defined(__AVX2__)
  __m256 folded[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
    const __m256 a = sums[0][k], b = sums[1][k];
    folded[k] = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
  }
  const auto halves = [](__m256 x, __m256 y) {
    const __m256d u = _mm256_castps_pd(x), v = _mm256_castps_pd(y);
    return _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(u, v)), _mm256_castpd_ps(_mm256_unpackhi_pd(u, v)));
  };
  const __m256 low = halves(folded[0], folded[1]);
  const __m256 high = halves(folded[2], folded[3]);
  return _mm256_add_ps(_mm256_shuffle_ps(low, high, 0x88), _mm256_shuffle_ps(low, high, 0xdd));
#else
  F out;
  for (int k = 0; k < 4; k++) out[k] = sumLanes(sums[0][k]);
  return out;
#endif
}

void scoreTile(const float* const (&query)[foldQueries], const float* const* keys, int64_t dim,
               float* const (&out)[foldQueries]) {
  F sums[foldQueries][4] = {};
  for (int64_t d = 0; d < dim; d += W) {
    F key[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) key[k] = load(keys[k] + d);
#pragma GCC unroll 4
    for (int q = 0; q < foldQueries; q++) {
      const F v = load(query[q] + d);
#pragma GCC unroll 4
      for (int k = 0; k < 4; k++) sums[q][k] = fma(v, key[k], sums[q][k]);
    }
  }
  const F folded = foldSums(sums);
  float lanes[W];
  store(lanes, folded);
  for (int q = 0; q < foldQueries; q++) memcpy(out[q], lanes + 4 * q, 16);
}

// Scores of the queries with the keys of the chunk that any of their tile sees; the rest is masked by `weigh`.
void score(Work& work) {
  for (int64_t first = 0; first < work.queries; first += foldQueries) {
    const float* query[foldQueries];
    float* out[foldQueries];
    float unused[chunkKeys];
    int64_t begin = chunkKeys;
    int64_t end = 0;
    for (int i = 0; i < foldQueries; i++) {
      const bool present = first + i < work.queries;
      const int64_t q = present ? first + i : first;
      query[i] = work.query + q * work.dim;
      out[i] = present ? work.scores + q * chunkKeys : unused;
      if (work.visible[q].begin < work.visible[q].end) {
        begin = minimum(begin, work.visible[q].begin);
        end = maximum(end, work.visible[q].end);
      }
    }
    for (int64_t k = begin / 4 * 4; k < end; k += 4) {
      float* at[foldQueries];
      for (int i = 0; i < foldQueries; i++) at[i] = out[i] + k;
      scoreTile(query, work.keyRows + k, work.dim, at);
    }
  }
}

// ---- softmax

// Turns the scores of query q in this chunk into weights relative to the new maximum, and rescales its sums to it.
void weigh(Work& work, int64_t q) {
  constexpr int vectors = chunkKeys / W;
  const Attention& call = work.call;
  const Range range = work.visible[q];
  float* scores = work.scores + q * chunkKeys;
  F s[vectors];
#pragma GCC unroll 16
  for (int v = 0; v < vectors; v++) s[v] = load(scores + v * W) * call.scale;
  if (call.softcap != 0) {
    for (int v = 0; v < vectors; v++) s[v] = call.softcap * tanhOf(s[v] / call.softcap);
  }
  if (range.begin > 0 || range.end < chunkKeys) {
    // Numbers outside are leftovers of any kind, NaN too: replaced, not added to.
    I lane;
    for (int i = 0; i < W; i++) lane[i] = i;
    for (int v = 0; v < vectors; v++) {
      const I key = lane + v * W;
      const I seen = (key >= static_cast<int32_t>(range.begin)) & (key < static_cast<int32_t>(range.end));
      s[v] = select(seen, s[v], broadcast(negativeInfinity));
    }
  }
  F best = broadcast(negativeInfinity);
#pragma GCC unroll 16
  for (int v = 0; v < vectors; v++) best = maxOf(s[v], best);  // a NaN score leaves it alone and makes the weights NaN
  const float oldTop = work.top[q];
  const float chunkTop = maxLanes(best);
  const float top = chunkTop > oldTop ? chunkTop : oldTop;
  const F base = broadcast(origin(top));
  F total = {};
#pragma GCC unroll 16
  for (int v = 0; v < vectors; v++) {
    const F w = expOf(s[v] - base);
    store(scores + v * W, w);
    total += w;
  }
  float factor = 1;
  if (top != oldTop && oldTop != negativeInfinity) {  // before the first score, sums and weight are zero
    factor = expScalar(oldTop - origin(top));
    float* sums = work.sums + q * work.dim;
    for (int64_t d = 0; d < work.dim; d += W) store(sums + d, load(sums + d) * factor);
  }
  work.top[q] = top;
  work.weight[q] = work.weight[q] * factor + sumLanes(total);
}

// ---- values

template <int Q, int D>
UNICORN_INLINE void valueTile(const Work& work, int64_t q, int64_t d, int64_t begin, int64_t end) {
  F sums[Q][D];
  for (int i = 0; i < Q; i++) {
    for (int j = 0; j < D; j++) sums[i][j] = load(work.sums + (q + i) * work.dim + d + j * W);
  }
  for (int64_t k = begin; k < end; k++) {
    F value[D];
#pragma GCC unroll 4
    for (int j = 0; j < D; j++) value[j] = load(work.valueRows[k] + d + j * W);
#pragma GCC unroll 4
    for (int i = 0; i < Q; i++) {
      const F w = broadcast(work.scores[(q + i) * chunkKeys + k]);
#pragma GCC unroll 4
      for (int j = 0; j < D; j++) sums[i][j] = fma(w, value[j], sums[i][j]);
    }
  }
  for (int i = 0; i < Q; i++) {
    for (int j = 0; j < D; j++) store(work.sums + (q + i) * work.dim + d + j * W, sums[i][j]);
  }
}

// Adds keys [begin, end) to the sums of queries [q, q + Q).
template <int Q>
void addValues(const Work& work, int64_t q, int64_t begin, int64_t end) {
  if (begin >= end) return;
  int64_t d = 0;
  for (; d + 4 * W <= work.dim; d += 4 * W) valueTile<Q, 4>(work, q, d, begin, end);
  for (; d < work.dim; d += W) valueTile<Q, 1>(work, q, d, begin, end);
}

// Queries of a tile share the keys that all of them see; before and after those each goes on alone, so that the order of
// its keys is ascending whatever its neighbours see.
template <int Q>
void addValuesTile(const Work& work, int64_t q) {
  int64_t begin = 0;
  int64_t end = chunkKeys;
  for (int i = 0; i < Q; i++) {
    begin = maximum(begin, work.visible[q + i].begin);
    end = minimum(end, work.visible[q + i].end);
  }
  if (begin >= end) {
    for (int i = 0; i < Q; i++) addValues<1>(work, q + i, work.visible[q + i].begin, work.visible[q + i].end);
    return;
  }
  for (int i = 0; i < Q; i++) addValues<1>(work, q + i, work.visible[q + i].begin, begin);
  addValues<Q>(work, q, begin, end);
  for (int i = 0; i < Q; i++) addValues<1>(work, q + i, end, work.visible[q + i].end);
}

void addAllValues(const Work& work) {
  int64_t q = 0;
  for (; q + valueQueries <= work.queries; q += valueQueries) addValuesTile<valueQueries>(work, q);
  switch (work.queries - q) {
    case 1: return addValuesTile<1>(work, q);
    case 2: return addValuesTile<2>(work, q);
    case 3: return addValuesTile<3>(work, q);
  }
}

// ---- a section, and merging sections

Range intersect(Range a, Range b) { return {maximum(a.begin, b.begin), minimum(a.end, b.end)}; }

void runSection(Work& work, int64_t section) {
  memset(work.sums, 0, static_cast<size_t>(work.queries * work.dim) * 4);
  for (int64_t q = 0; q < work.queries; q++) {
    work.top[q] = negativeInfinity;
    work.weight[q] = 0;
  }
  for (int64_t start = section * attentionSectionKeys; start < (section + 1) * attentionSectionKeys;
       start += chunkKeys) {
    Range any = {chunkKeys, 0};
    for (int64_t q = 0; q < work.queries; q++) {
      const Range seen = intersect(work.sight[q], {start, start + chunkKeys});
      if (seen.begin >= seen.end) {
        work.visible[q] = {0, 0};
        continue;
      }
      work.visible[q] = {seen.begin - start, seen.end - start};
      any = {minimum(any.begin, work.visible[q].begin), maximum(any.end, work.visible[q].end)};
    }
    if (any.begin >= any.end) continue;
    gatherRows(work, 0, start, any, work.keys, work.keyRows);
    // Score tiles are four keys wide: what sticks out reads a key that is there.
    for (int64_t k = any.begin / 4 * 4; k < any.begin; k++) work.keyRows[k] = work.keyRows[any.begin];
    for (int64_t k = any.end; k % 4 != 0; k++) work.keyRows[k] = work.keyRows[any.begin];
    score(work);
    for (int64_t q = 0; q < work.queries; q++) {
      if (work.visible[q].begin < work.visible[q].end) weigh(work, q);
    }
    if (work.call.stateParts == 1) {
      memcpy(work.valueRows, work.keyRows, sizeof work.valueRows);
    } else {
      gatherRows(work, 1, start, any, work.values, work.valueRows);
    }
    addAllValues(work);
  }
}

// Adds one section's result to what the sections before it gave.
void mergeSection(int64_t dim, float top, float weight, const float* sums, float* totalTop, float* totalWeight,
                  float* totals) {
  const float newTop = top > *totalTop ? top : *totalTop;
  const float before = expScalar(*totalTop - origin(newTop));
  const float now = expScalar(top - origin(newTop));
  for (int64_t d = 0; d < dim; d += W)
    store(totals + d, fma(load(sums + d), broadcast(now), load(totals + d) * before));
  *totalWeight = *totalWeight * before + weight * now;
  *totalTop = newTop;
}

void writeRow(const Attention& call, int64_t row, int64_t head, const float* sums, float weight) {
  float* out = call.out + (row * call.heads + head) * call.headDim;
  for (int64_t d = 0; d < call.headDim; d += W) {
    storeFirst(out + d, load(sums + d) / weight, minimum(W, call.headDim - d));
  }
}

Range sightOf(const Attention& call, int64_t row) {
  const int64_t position = call.positions[row];
  const int64_t first = call.window == 0 ? 0 : maximum(0, position - call.window + 1);
  return {first, (call.reach ? call.reach[row] : position) + 1};
}

// Sections [begin, end) that hold keys of a range that is not empty.
Range sectionsOf(Range sight) {
  if (sight.begin >= sight.end) return {0, 0};
  return {sight.begin / attentionSectionKeys, (sight.end - 1) / attentionSectionKeys + 1};
}

float* take(uint8_t** at, int64_t floats) {
  float* p = reinterpret_cast<float*>(*at);
  *at += (floats * 4 + 63) / 64 * 64;
  return p;
}

float* partialOf(const Attention& call, const AttentionPlan& plan, void* partials, int64_t row, int64_t head,
                 int64_t section) {
  return static_cast<float*>(partials) +
         ((row * call.heads + head) * plan.sectionCount + section) * attentionPartialFloats(call.headDim);
}

}  // namespace

void attention(const Attention& call, const AttentionPlan& plan, int64_t taskBegin, int64_t taskEnd, void* scratch,
               void* partials) {
  const int64_t dim = attentionPaddedDim(call.headDim);
  const int64_t group = call.heads / call.kvHeads;
  for (int64_t task = taskBegin; task < taskEnd; task++) {
    // Neighbouring tasks share the KV head, and so the keys in the cache.
    const int64_t section = plan.separateSections ? task % plan.sectionCount : 0;
    const int64_t whole = plan.separateSections ? task / plan.sectionCount : task;
    const AttentionTile tile = plan.tiles[whole % plan.tileCount];
    const int64_t queries = (tile.rowEnd - tile.rowBegin) * group;
    uint8_t* at = static_cast<uint8_t*>(scratch);
    Work work = {call,
                 whole / plan.tileCount,
                 dim,
                 queries,
                 group,
                 tile.rowBegin,
                 tile.sequence,
                 take(&at, queries * dim),
                 take(&at, chunkKeys * dim),
                 take(&at, chunkKeys * dim),
                 take(&at, queries * chunkKeys),
                 take(&at, queries * dim),
                 take(&at, queries * dim),
                 take(&at, queries),
                 take(&at, queries),
                 take(&at, queries),
                 take(&at, queries),
                 reinterpret_cast<Range*>(take(&at, queries * 4)),
                 reinterpret_cast<Range*>(take(&at, queries * 4)),
                 {},
                 {}};
    Range sections = {plan.sectionCount, 0};
    for (int64_t q = 0; q < queries; q++) {
      const float* source = call.query + (work.rowOf(q) * call.heads + work.headOf(q)) * call.headDim;
      float* line = work.query + q * dim;
      memcpy(line, source, static_cast<size_t>(call.headDim) * 4);
      for (int64_t d = call.headDim; d < dim; d++) line[d] = 0;
      work.sight[q] = sightOf(call, work.rowOf(q));
      const Range own = sectionsOf(work.sight[q]);
      if (own.begin < own.end) sections = {minimum(sections.begin, own.begin), maximum(sections.end, own.end)};
      work.totalTop[q] = negativeInfinity;
      work.totalWeight[q] = 0;
    }
    if (plan.separateSections) {
      if (section < sections.begin || section >= sections.end) continue;
      runSection(work, section);
      for (int64_t q = 0; q < queries; q++) {
        float* partial = partialOf(call, plan, partials, work.rowOf(q), work.headOf(q), section);
        memcpy(partial, work.sums + q * dim, static_cast<size_t>(dim) * 4);
        partial[dim] = work.top[q];
        partial[dim + 1] = work.weight[q];
      }
      continue;
    }
    memset(work.totals, 0, static_cast<size_t>(queries * dim) * 4);
    for (int64_t s = sections.begin; s < sections.end; s++) {
      runSection(work, s);
      for (int64_t q = 0; q < queries; q++) {
        const Range own = sectionsOf(work.sight[q]);
        if (s < own.begin || s >= own.end) continue;
        mergeSection(dim, work.top[q], work.weight[q], work.sums + q * dim, &work.totalTop[q], &work.totalWeight[q],
                     work.totals + q * dim);
      }
    }
    for (int64_t q = 0; q < queries; q++) {
      writeRow(call, work.rowOf(q), work.headOf(q), work.totals + q * dim, work.totalWeight[q]);
    }
  }
}

void attentionMerge(const Attention& call, const AttentionPlan& plan, int64_t taskBegin, int64_t taskEnd, void* scratch,
                    void* partials) {
  const int64_t dim = attentionPaddedDim(call.headDim);
  float* totals = static_cast<float*>(scratch);
  for (int64_t task = taskBegin; task < taskEnd; task++) {
    const int64_t row = task / call.heads;
    const int64_t head = task % call.heads;
    float top = negativeInfinity;
    float weight = 0;
    memset(totals, 0, static_cast<size_t>(dim) * 4);
    const Range sections = sectionsOf(sightOf(call, row));
    for (int64_t s = sections.begin; s < sections.end; s++) {
      const float* partial = partialOf(call, plan, partials, row, head, s);
      mergeSection(dim, partial[dim], partial[dim + 1], partial, &top, &weight, totals);
    }
    writeRow(call, row, head, totals, weight);
  }
}

}  // namespace UNICORN_LEVEL
}  // namespace unicorn
