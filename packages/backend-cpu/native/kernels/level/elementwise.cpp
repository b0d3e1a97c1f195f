// Functions applied to every element of a row. The rest of a row is done with partial vectors, so an element's result
// does not depend on where it lies.
#include "level.h"
#include "vector-math.h"

namespace unicorn {
namespace UNICORN_LEVEL {

namespace {

template <typename Function>
UNICORN_INLINE void map(const float* x, int64_t count, float* out, Function f) {
  int64_t i = 0;
  for (; i + W <= count; i += W) store(out + i, f(load(x + i)));
  if (i < count) storeFirst(out + i, f(loadFirst(x + i, count - i)), count - i);
}

}  // namespace

void exp(const float* x, int64_t count, float* out) {
  map(x, count, out, [](F v) { return expOf(v); });
}

void activate(Activation f, const float* x, int64_t count, float* out) {
  UNICORN_WITH_ACTIVATION(f, map(x, count, out, [](F v) { return activationOf<kind>(v); }))
}

void activateMultiply(Activation f, const float* gate, const float* up, int64_t count, float* out) {
  UNICORN_WITH_ACTIVATION(f, {
    int64_t i = 0;
    for (; i + W <= count; i += W) store(out + i, activationOf<kind>(load(gate + i)) * load(up + i));
    const int64_t rest = count - i;
    if (rest > 0) storeFirst(out + i, activationOf<kind>(loadFirst(gate + i, rest)) * loadFirst(up + i, rest), rest);
  })
}

void softcap(float cap, const float* x, int64_t count, float* out) {
  const F limit = broadcast(cap);
  map(x, count, out, [limit](F v) { return limit * tanhOf(v / limit); });
}

}  // namespace UNICORN_LEVEL
}  // namespace unicorn
