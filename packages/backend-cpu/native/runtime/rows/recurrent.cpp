// Kernels over states with a slot for each sequence: convolutions, the gated delta rule, and copies of slots. A convolution
// is cut by channels and a delta rule by heads, so that one member takes all rows of a sequence, in their order.

#include <algorithm>
#include <cstring>

#include "rows.h"

namespace unicorn {
namespace {

// Channels whose weights are transposed at once.
constexpr int64_t channelBlock = 64;

int64_t checkSlot(int64_t slot, int64_t count) {
  if (slot >= 0 && slot < count) return slot;
  throw Failure("usage/slot",
                "Slot " + std::to_string(slot) + " is outside the state of " + std::to_string(count) + " slots.",
                {{"slot", slot}, {"slots", count}});
}

// Which slots of a state the sequences of a step read and write; all are checked before any is touched.
class SlotPairs {
 public:
  SlotPairs(const Tensor& state, const Tensor& pairs)
      : state_(state.floats()), size_(state.product(1, state.rank)), pairs_(pairs.integers()) {
    for (int64_t i = 0; i < pairs.elements(); i++) checkSlot(pairs_[i], state.dims[0]);
  }

  // The state that a sequence begins with; null for slot 0, which reads as zeros.
  const float* read(int64_t sequence) const { return at(pairs_[2 * sequence]); }
  // Where the sequence leaves its state; null for slot 0, which keeps nothing.
  float* written(int64_t sequence) const { return at(pairs_[2 * sequence + 1]); }

 private:
  float* at(int64_t slot) const { return slot == 0 ? nullptr : state_ + slot * size_; }

  float* state_;
  int64_t size_;
  const int32_t* pairs_;
};

// Rows [begin, begin + count) of weights [channels, width] as [width, channelBlock].
void transposeWeights(const Kernels& kernels, const Tensor& weight, int64_t begin, int64_t count, float* line,
                      float* out) {
  const int64_t width = weight.dims[1];
  const int64_t bytes = rowBytes(weight.dtype, width);
  for (int64_t channel = 0; channel < count; channel++) {
    kernels.decode(weight.dtype, weight.data + (begin + channel) * bytes, width, line);
    for (int64_t i = 0; i < width; i++) out[i * channelBlock + channel] = line[i];
  }
}

// The last inputs after a sequence of `rows` rows: rows of x, and before them what was held. Ascending, since what is
// written may be what is read.
void keepLast(const float* before, const float* x, int64_t rows, int64_t held, int64_t stride, int64_t count,
              float* after) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  for (int64_t i = 0; i < held; i++) {
    const int64_t from = rows - held + i;
    float* line = after + i * stride;
    if (from >= 0) {
      std::memcpy(line, x + from * stride, bytes);
    } else if (before == nullptr) {
      std::memset(line, 0, bytes);
    } else if (before + (from + held) * stride != line) {
      std::memcpy(line, before + (from + held) * stride, bytes);
    }
  }
}

}  // namespace

// Operands: state [slots, width - 1, channels], x [tokens, channels], weight [channels, width], starts [sequences], slots
// [sequences, 2], out.
void causalConvRows(const RowCall& call, int64_t channelBegin, int64_t channelEnd) {
  const Tensor& x = *call[1].tensor;
  const Tensor& weight = *call[2].tensor;
  const Segments segments(*call[3].tensor, x.dims[0]);
  const SlotPairs slots(*call[0].tensor, *call[4].tensor);
  const int64_t channels = x.dims[1], width = weight.dims[1];
  float* transposed = reinterpret_cast<float*>(call.scratch);
  for (int64_t begin = channelBegin; begin < channelEnd; begin += channelBlock) {
    const int64_t count = std::min(channelBlock, channelEnd - begin);
    transposeWeights(call.run.kernels, weight, begin, count, transposed + width * channelBlock, transposed);
    for (int64_t sequence = 0; sequence < segments.count(); sequence++) {
      const int64_t rows = segments.end(sequence) - segments.begin(sequence);
      const int64_t at = segments.begin(sequence) * channels + begin;
      const float* read = slots.read(sequence);
      const float* before = read == nullptr ? nullptr : read + begin;
      call.run.kernels.causalConv({x.floats() + at, channels, before, transposed, channelBlock, rows, width, count,
                                   call[5].tensor->floats() + at});
      float* after = slots.written(sequence);
      if (after == nullptr) continue;
      keepLast(before, x.floats() + at, rows, width - 1, channels, count, after + begin);
    }
  }
}

int64_t causalConvScratchBytes(const Program& program, const std::vector<int32_t>& values) {
  return program.maximumDim(values[2], 1) * (channelBlock + 1) * static_cast<int64_t>(sizeof(float));
}

// Operands: state [slots, heads, keyDim, valueDim], query, key [tokens, keyHeads, keyDim], value [tokens, heads,
// valueDim], decay, beta [tokens, heads], starts [sequences], slots [sequences, 2], out.
void gatedDeltaRows(const RowCall& call, int64_t headBegin, int64_t headEnd) {
  const Tensor& state = *call[0].tensor;
  const int64_t heads = state.dims[1], keyDim = state.dims[2], valueDim = state.dims[3];
  const int64_t keyHeads = call[2].tensor->dims[1];
  const Segments segments(*call[6].tensor, call[3].tensor->dims[0]);
  const SlotPairs slots(state, *call[7].tensor);
  for (int64_t head = headBegin; head < headEnd; head++) {
    for (int64_t sequence = 0; sequence < segments.count(); sequence++) {
      const int64_t row = segments.begin(sequence);
      const int64_t keyAt = (row * keyHeads + head * keyHeads / heads) * keyDim;
      const int64_t valueAt = (row * heads + head) * valueDim;
      const int64_t gateAt = row * heads + head;
      const float* read = slots.read(sequence);
      float* written = slots.written(sequence);
      GatedDelta delta{};
      delta.query = call[1].tensor->floats() + keyAt;
      delta.key = call[2].tensor->floats() + keyAt;
      delta.keyStride = keyHeads * keyDim;
      delta.value = call[3].tensor->floats() + valueAt;
      delta.out = call[8].tensor->floats() + valueAt;
      delta.valueStride = heads * valueDim;
      delta.decay = call[4].tensor->floats() + gateAt;
      delta.beta = call[5].tensor->floats() + gateAt;
      delta.gateStride = heads;
      delta.rows = segments.end(sequence) - row;
      delta.keyDim = keyDim;
      delta.valueDim = valueDim;
      delta.before = read == nullptr ? nullptr : read + head * keyDim * valueDim;
      delta.after = written == nullptr ? nullptr : written + head * keyDim * valueDim;
      call.run.kernels.gatedDelta(delta, call.scratch);
    }
  }
}

int64_t gatedDeltaRowsScratchBytes(const Program& program, const std::vector<int32_t>& values) {
  return gatedDeltaScratchBytes(program.maximumDim(values[0], 2));
}

// Operands: state [slots, ...], pairs [count, 2].
void copySlotsRows(const RowCall& call, int64_t pairBegin, int64_t pairEnd) {
  const Tensor& state = *call[0].tensor;
  const int64_t bytes = state.product(1, state.rank - 1) * rowBytes(state.dtype, state.last());
  const int32_t* pairs = call[1].tensor->integers();
  for (int64_t pair = pairBegin; pair < pairEnd; pair++) {
    const int64_t from = checkSlot(pairs[2 * pair], state.dims[0]);
    const int64_t to = checkSlot(pairs[2 * pair + 1], state.dims[0]);
    if (from != to) std::memcpy(state.data + to * bytes, state.data + from * bytes, static_cast<size_t>(bytes));
  }
}

}  // namespace unicorn
