// Tests of what keeps a state: convolutions and the gated delta rule.
#include "check.h"

namespace unicorn::check {

namespace {

// The largest error in units of the largest expected magnitude.
double worstError(const std::vector<double>& expected, const float* got) {
  double largest = 1e-30, error = 0;
  for (const double value : expected) largest = std::fmax(largest, std::fabs(value));
  for (size_t i = 0; i < expected.size(); i++) {
    const double off = std::fabs(got[i] - expected[i]) / largest;
    error = off <= error ? error : off;  // NaN counts
  }
  return error;
}

}  // namespace

void testCausalConv(const Kernels& kernels) {
  Random random(11);
  double error = 0;
  bool intact = true, same = true;
  for (const int64_t channels : {1, 15, 16, 37, 131}) {
    for (const int64_t width : {1, 2, 4, 7}) {
      for (const int64_t rows : {0, 1, 3, 9}) {
        for (const bool held : {false, true}) {
          const auto x = randomFloats(rows * channels, random);
          const auto before = randomFloats((width - 1) * channels + 1, random);
          const auto weight = randomFloats(width * channels, random);
          Buffer out(rows * channels * 4);
          CausalConv call{x.data(), channels,    held ? before.data() : nullptr, weight.data(), channels, rows, width,
                          channels, out.floats()};
          std::vector<double> expected(static_cast<size_t>(rows * channels));
          reference::causalConv(call, expected.data());
          kernels.causalConv(call);
          error = std::fmax(error, worstError(expected, out.floats()));
          // From the middle, and with fewer channels: the same bits.
          const int64_t cut = channels / 3;
          Buffer part(rows * channels * 4);
          call.x += cut;
          call.weight += cut;
          call.out = part.floats() + cut;
          if (held) call.before += cut;
          call.channels = channels - cut;
          kernels.causalConv(call);
          for (int64_t row = 0; row < rows; row++) {
            const int64_t at = row * channels + cut;
            same = same && sameBits(part.floats() + at, out.floats() + at, (channels - cut) * 4);
          }
          intact = intact && out.intact() && part.intact();
        }
      }
    }
  }
  report(error < 1e-6 && intact, kernels.name, "causalConv", error, 1e-6);
  report(same, kernels.name, "causalConv of a part of the channels: the same bits");
}

void testGatedDelta(const Kernels& kernels) {
  Random random(12);
  double error = 0;
  bool intact = true, same = true;
  for (const int64_t valueDim : {1, 7, 16, 65, 128}) {
    for (const int64_t keyDim : {1, 5, 64}) {
      for (const int64_t rows : {0, 1, 6}) {
        for (const bool held : {false, true}) {
          const int64_t size = keyDim * valueDim, keyStride = keyDim + 3, valueStride = 2 * valueDim;
          auto query = randomFloats(rows * keyStride + keyDim, random);
          auto key = randomFloats(rows * keyStride + keyDim, random);
          for (float& k : key) k /= std::sqrt(static_cast<float>(keyDim));
          const auto value = randomFloats(rows * valueStride + 1, random);
          std::vector<float> decay(static_cast<size_t>(rows + 1)), beta(decay.size());
          for (float& d : decay) d = -random.uniform();
          for (float& b : beta) b = random.uniform();
          const auto before = randomFloats(size, random);
          Buffer out(rows * valueStride * 4), after(size * 4), scratch(gatedDeltaScratchBytes(keyDim));
          const GatedDelta call{query.data(),
                                key.data(),
                                keyStride,
                                value.data(),
                                out.floats(),
                                valueStride,
                                decay.data(),
                                beta.data(),
                                1,
                                rows,
                                keyDim,
                                valueDim,
                                held ? before.data() : nullptr,
                                after.floats()};
          std::vector<double> state(static_cast<size_t>(size)), expected(static_cast<size_t>(rows * valueDim));
          if (held) state.assign(before.begin(), before.end());
          reference::gatedDelta(call, state.data(), expected.data());
          kernels.gatedDelta(call, scratch.data());
          std::vector<float> got;
          for (int64_t row = 0; row < rows; row++) {
            got.insert(got.end(), out.floats() + row * valueStride, out.floats() + row * valueStride + valueDim);
          }
          error = std::fmax(error, std::fmax(worstError(expected, got.data()), worstError(state, after.floats())));
          intact = intact && out.intact() && after.intact() && scratch.intact();
          // Token by token, over the state itself: the same bits.
          std::vector<float> s = held ? before : std::vector<float>(static_cast<size_t>(size));
          for (int64_t row = 0; row < rows; row++) {
            Buffer line(valueDim * 4);
            kernels.gatedDelta(
                {query.data() + row * keyStride, key.data() + row * keyStride, keyStride,
                 value.data() + row * valueStride, line.floats(), valueStride, &decay[static_cast<size_t>(row)],
                 &beta[static_cast<size_t>(row)], 1, 1, keyDim, valueDim, s.data(), s.data()},
                scratch.data());
            same = same && sameBits(line.floats(), out.floats() + row * valueStride, valueDim * 4);
          }
          same = same && sameBits(s.data(), after.floats(), size * 4);
        }
      }
    }
  }
  report(error < 3e-6 && intact, kernels.name, "gatedDelta", error, 3e-6);
  report(same, kernels.name, "gatedDelta token by token: the same bits");
}

}  // namespace unicorn::check
