// Tests of what works on rows: decoding, quantized activations, norms and functions.
#include <cctype>
#include <fstream>
#include <iterator>

#include "check.h"

namespace unicorn::check {

// ---------------------------------------------------------------- decoding

// One tensor of a safetensors file; the header is a flat JSON object whose entries are found by their names.
static std::vector<uint8_t> readTensor(const std::string& file, const std::string& name) {
  std::ifstream in(file, std::ios::binary);
  const std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (bytes.size() < 8) return {};
  uint64_t headerBytes;
  std::memcpy(&headerBytes, bytes.data(), 8);
  const std::string header(bytes.begin() + 8, bytes.begin() + 8 + static_cast<int64_t>(headerBytes));
  const size_t entry = header.find("\"" + name + "\"");
  if (entry == std::string::npos) return {};
  const size_t offsets = header.find('[', header.find("data_offsets", entry)) + 1;
  const size_t begin = std::stoull(header.substr(offsets));
  const size_t end = std::stoull(header.substr(header.find(',', offsets) + 1));
  const auto data = bytes.begin() + 8 + static_cast<int64_t>(headerBytes);
  return {data + static_cast<int64_t>(begin), data + static_cast<int64_t>(end)};
}

void testGoldenDecode(const std::string& goldens) {
  for (int32_t t = 0; t < dtypeCount; t++) {
    const DType dtype = static_cast<DType>(t);
    std::string upper = dtypeName(dtype);
    for (auto& c : upper) c = static_cast<char>(std::toupper(c));
    for (const char* file : {"/quant/quantize.safetensors", "/quant/dequantize.safetensors"}) {
      const auto packed = readTensor(goldens + file, upper + ".packed");
      const auto expected = readTensor(goldens + file, upper + ".dequant");
      if (packed.empty()) continue;
      std::vector<float> out(expected.size() / 4);
      decodeRow(dtype, packed.data(), static_cast<int64_t>(out.size()), out.data());
      int64_t wrong = 0;
      for (size_t i = 0; i < out.size(); i++) {
        float value;
        std::memcpy(&value, &expected[4 * i], 4);
        wrong += !(sameBits(&value, &out[i], 4) || (value == 0 && out[i] == 0) || (value != value && out[i] != out[i]));
      }
      report(wrong == 0 && !out.empty(), "scalar", std::string("decodeRow equals the golden: ") + upper);
    }
  }
}

void testHalf() {
  bool ok = true;
  for (uint32_t bits = 0; bits < 65536; bits++) {
    const uint16_t h = static_cast<uint16_t>(bits);
    const float value = halfToFloat(h);
    const bool nan = (bits & 0x7fff) > 0x7c00;
    ok = ok && (nan ? value != value : floatToHalf(value) == h);
    const float b = bfloatToFloat(h);
    ok = ok && ((bits & 0x7fff) > 0x7f80 ? b != b : floatToBfloat(b) == h);
  }
  report(ok, "scalar", "every f16 and bf16 survives the way through f32");
}

void testDecode(const Kernels& kernels) {
  Random random(1);
  for (int32_t t = 0; t < dtypeCount; t++) {
    const DType dtype = static_cast<DType>(t);
    const int64_t block = dtypeLayout(dtype).blockSize;
    const int64_t count = block == 1 ? 101 : 3 * block;
    const auto raw = sample::weights(dtype, 1, count, random);
    Buffer fast(count * 4);
    std::vector<float> slow(static_cast<size_t>(count));
    kernels.decode(dtype, raw.data(), count, fast.floats());
    decodeRow(dtype, raw.data(), count, slow.data());
    bool same = fast.intact();
    for (int64_t i = 0; i < count; i++) {
      const float a = fast.floats()[i];
      const float b = slow[static_cast<size_t>(i)];
      same = same && (sameBits(&a, &b, 4) || (a != a && b != b));
    }
    if (!same) report(false, kernels.name, std::string("decode equals decodeRow: ") + dtypeName(dtype));
  }
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); i++) halves[i] = static_cast<uint16_t>(i);
  std::vector<float> out(65536);
  kernels.decode(DType::f16, reinterpret_cast<const uint8_t*>(halves.data()), 65536, out.data());
  bool ok = true;
  for (size_t i = 0; i < halves.size(); i++) {
    const float expected = halfToFloat(halves[i]);
    ok = ok && (sameBits(&out[i], &expected, 4) || (out[i] != out[i] && expected != expected));
  }
  report(ok, kernels.name, "decode: every type equals decodeRow, every f16");
}

// ---------------------------------------------------------------- activations

void testQuantize(const Kernels& kernels) {
  Random random(3);
  const int64_t columns = 96;
  const int64_t rows = 5;
  auto x = randomFloats(rows * columns, random);
  for (int i = 0; i < 32; i++) x[static_cast<size_t>(i)] = 0;
  for (int i = 0; i < 32; i++) x[static_cast<size_t>(32 + i)] *= 1e-38f;
  x[64] = 3e38f;
  x[96] = NAN;
  x[128] = INFINITY;
  x[160] = -INFINITY;
  const int64_t bytes = activationRowBytes(columns);
  Buffer out(rows * bytes);
  kernels.quantize(x.data(), columns, columns, 1, rows, out.data());
  kernels.quantize(x.data(), columns, columns, 0, 1, out.data());
  bool same = out.intact();
  ActivationBlock expected[3];
  for (int64_t row = 0; row < rows; row++) {
    reference::quantize(x.data() + row * columns, columns, expected);
    for (int b = 0; b < 3; b++) {
      ActivationBlock got;
      std::memcpy(&got, out.data() + row * bytes + b * 48, 48);
      if (expected[b].scale != expected[b].scale) {
        same = same && got.scale != got.scale && sameBits(got.quants, expected[b].quants, 32);
      } else {
        same = same && sameBits(&got, &expected[b], 48);
      }
    }
  }
  report(same, kernels.name, "quantize equals its twin bit for bit (zeros, tiny, huge, NaN, infinities)");

  const auto y = randomFloats(rows * columns, random);
  const auto weight = randomFloats(columns, random);
  std::vector<float> inverse(static_cast<size_t>(rows));
  kernels.inverseRms(y.data(), columns, columns, 1e-5f, 0, rows, inverse.data());
  double error = 0;
  Buffer fused(rows * bytes), apart(rows * bytes);
  std::vector<float> normed(y.size()), glu(y.size());
  for (int64_t row = 0; row < rows; row++) {
    double squares = 0;
    for (int64_t i = 0; i < columns; i++) squares += std::pow(y[static_cast<size_t>(row * columns + i)], 2.0);
    const double expectedInverse = 1 / std::sqrt(squares / columns + 1e-5);
    error = std::fmax(error, std::fabs(inverse[static_cast<size_t>(row)] / expectedInverse - 1));
    for (int64_t i = 0; i < columns; i++) {
      const size_t at = static_cast<size_t>(row * columns + i);
      normed[at] = y[at] * inverse[static_cast<size_t>(row)] * (1.0f + weight[static_cast<size_t>(i)]);
    }
  }
  report(error < 1e-6, kernels.name, "inverseRms", error, 1e-6);
  kernels.quantizeNorm(y.data(), columns, columns, inverse.data(), weight.data(), 1, 0, rows, fused.data());
  kernels.quantize(normed.data(), columns, columns, 0, rows, apart.data());
  same = true;
  for (int64_t row = 0; row < rows; row++)
    same = same && sameBits(fused.data() + row * bytes, apart.data() + row * bytes, 144);
  report(same, kernels.name, "quantizeNorm equals norm, then quantize");
  kernels.activateMultiply(Activation::silu, y.data(), normed.data(), rows * columns, glu.data());
  kernels.quantizeGlu(Activation::silu, y.data(), columns, normed.data(), columns, columns, 0, rows, fused.data());
  kernels.quantize(glu.data(), columns, columns, 0, rows, apart.data());
  same = true;
  for (int64_t row = 0; row < rows; row++)
    same = same && sameBits(fused.data() + row * bytes, apart.data() + row * bytes, 144);
  report(same, kernels.name, "quantizeGlu equals glu, then quantize");
}

// ---------------------------------------------------------------- functions

static double ulpsBetween(float got, double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : INFINITY;
  const float nearest = static_cast<float>(want);
  if (std::isinf(nearest) || std::isinf(got)) return got == nearest ? 0 : std::fabs(want) > 3.4e38 ? 1 : INFINITY;
  const float magnitude = std::fmax(std::fabs(nearest), 1.17549435e-38f);
  return std::fabs(got - want) / (std::nextafter(magnitude, INFINITY) - magnitude);
}

void testFunctions(const Kernels& kernels) {
  // Every 997th float, and a count that leaves a partial vector.
  std::vector<float> x;
  for (uint64_t bits = 0; bits < 0x100000000; bits += 997) {
    float value;
    const uint32_t word = static_cast<uint32_t>(bits);
    std::memcpy(&value, &word, 4);
    x.push_back(value);
  }
  for (const float value : {0.0f, -0.0f, 1.0f, INFINITY, -INFINITY, NAN, 88.0f, 88.8f, -87.4f, -103.9f, -104.5f})
    x.push_back(value);
  if (x.size() % 16 == 0) x.push_back(0.5f);
  std::vector<float> out(x.size());
  const int64_t count = static_cast<int64_t>(x.size());
  const auto worst = [&](auto&& expected) {
    double most = 0;
    for (size_t i = 0; i < x.size(); i++) {
      const double want = expected(static_cast<double>(x[i]));
      if (std::isnan(want) && !std::isnan(x[i])) continue;  // the caller leaves this one out
      most = std::fmax(most, ulpsBetween(out[i], want));
    }
    return most;
  };
  kernels.exp(x.data(), count, out.data());
  double error = worst([](double v) { return std::exp(v); });
  report(error <= 1.1, kernels.name, "exp, ulps", error, 1.1);
  const float zero = 0;
  float one;
  kernels.exp(&zero, 1, &one);
  report(one == 1, kernels.name, "exp(0) is 1");
  kernels.activate(Activation::tanh, x.data(), count, out.data());
  error = worst([](double v) { return std::tanh(v); });
  report(error <= 1.4, kernels.name, "tanh, ulps", error, 1.4);
  for (const Activation f : {Activation::silu, Activation::geluTanh, Activation::relu, Activation::sigmoid}) {
    kernels.activate(f, x.data(), count, out.data());
    // Where the result is tiny (large negative inputs), the relative error of e^u grows with u: absolute there.
    double most = 0;
    bool special = true;
    for (size_t i = 0; i < x.size(); i++) {
      const double want = reference::activate(f, x[i]);
      if (!std::isfinite(want)) {
        special = special && (std::isnan(want) ? std::isnan(out[i]) : static_cast<double>(out[i]) == want);
        continue;
      }
      if (std::fabs(want) > 3.4e38) continue;
      most = std::fmax(most, std::fabs(out[i] - want) / std::fmax(std::fabs(want), 1e-3));
    }
    report(most < 1e-6 && special, kernels.name,
           "activation " + std::to_string(static_cast<int>(f)) + ", relative above 1e-3", most, 1e-6);
  }
  kernels.softcap(30, x.data(), count, out.data());
  // Below 1e-30 the quotient is subnormal and coarse.
  error = worst([](double v) { return std::fabs(v) < 1e-30 ? NAN : 30 * std::tanh(v / 30); });
  report(error <= 5, kernels.name, "softcap, ulps", error, 5);
}

}  // namespace unicorn::check
