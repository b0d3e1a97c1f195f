// Recurrent state: short convolutions and the gated delta rule. Lanes are channels, or columns of a head's matrix: none
// depends on its neighbours, so a result does not depend on where it lies in a vector.
#include "level.h"
#include "vector-math.h"

namespace unicorn {
namespace UNICORN_LEVEL {

namespace {

// Vectors of columns that are worked on together: as many independent sums as an addition takes cycles.
constexpr int V = 4;
constexpr int64_t blockColumns = V * W;
static_assert(blockColumns <= gatedDeltaColumns, "the scratch has room for a block");

// The first n lanes, where n may be more than W or less than 0.
UNICORN_INLINE F loadSome(const float* p, int64_t n) { return n >= W ? load(p) : n > 0 ? loadFirst(p, n) : F{}; }
UNICORN_INLINE void storeSome(float* p, F v, int64_t n) {
  if (n >= W) {
    store(p, v);
  } else if (n > 0) {
    storeFirst(p, v, n);
  }
}

// All rows over the columns [column, column + count) of S, which stay in `s` [keyDim, blockColumns] meanwhile.
UNICORN_INLINE void deltaBlock(const GatedDelta& call, int64_t column, int64_t count, float* s) {
  const int64_t keyDim = call.keyDim;
  for (int64_t i = 0; i < keyDim; i++) {
    const int64_t at = i * call.valueDim + column;
    for (int v = 0; v < V; v++) {
      store(s + i * blockColumns + v * W, call.before ? loadSome(call.before + at + v * W, count - v * W) : F{});
    }
  }
  for (int64_t row = 0; row < call.rows; row++) {
    const float* key = call.key + row * call.keyStride;
    const float* query = call.query + row * call.keyStride;
    const int64_t at = row * call.valueStride + column;
    const F factor = expOf(broadcast(call.decay[row * call.gateStride]));
    const F beta = broadcast(call.beta[row * call.gateStride]);
    F recalled[V] = {}, correction[V], sums[V] = {};
    for (int64_t i = 0; i < keyDim; i++) {
      const F k = broadcast(key[i]);
      for (int v = 0; v < V; v++) recalled[v] = fma(load(s + i * blockColumns + v * W), k, recalled[v]);
    }
    for (int v = 0; v < V; v++) {
      correction[v] = beta * (loadSome(call.value + at + v * W, count - v * W) - factor * recalled[v]);
    }
    for (int64_t i = 0; i < keyDim; i++) {
      const F k = broadcast(key[i]), q = broadcast(query[i]);
      for (int v = 0; v < V; v++) {
        float* line = s + i * blockColumns + v * W;
        const F next = fma(k, correction[v], factor * load(line));
        store(line, next);
        sums[v] = fma(next, q, sums[v]);
      }
    }
    for (int v = 0; v < V; v++) storeSome(call.out + at + v * W, sums[v], count - v * W);
  }
  if (call.after == nullptr) return;
  for (int64_t i = 0; i < keyDim; i++) {
    const int64_t at = i * call.valueDim + column;
    for (int v = 0; v < V; v++) {
      storeSome(call.after + at + v * W, load(s + i * blockColumns + v * W), count - v * W);
    }
  }
}

// The channels [begin, begin + n), n <= W, of every row.
template <typename Load, typename Store>
UNICORN_INLINE void convolve(const CausalConv& call, int64_t begin, Load read, Store write) {
  for (int64_t row = 0; row < call.rows; row++) {
    F sum = {};
    for (int64_t i = 0; i < call.width; i++) {
      const int64_t from = row - call.width + 1 + i;
      if (from < 0 && call.before == nullptr) continue;
      const float* line = from >= 0 ? call.x + from * call.stride : call.before + (from + call.width - 1) * call.stride;
      sum = fma(read(call.weight + i * call.weightStride + begin), read(line + begin), sum);
    }
    write(call.out + row * call.stride + begin, sum);
  }
}

}  // namespace

void causalConv(const CausalConv& call) {
  int64_t channel = 0;
  for (; channel + W <= call.channels; channel += W) convolve(call, channel, load, store);
  const int64_t rest = call.channels - channel;
  if (rest > 0) {
    convolve(
        call, channel, [rest](const float* p) { return loadFirst(p, rest); },
        [rest](float* p, F v) { storeFirst(p, v, rest); });
  }
}

void gatedDelta(const GatedDelta& call, void* scratch) {
  for (int64_t column = 0; column < call.valueDim; column += blockColumns) {
    deltaBlock(call, column, minimum(blockColumns, call.valueDim - column), static_cast<float*>(scratch));
  }
}

}  // namespace UNICORN_LEVEL
}  // namespace unicorn
