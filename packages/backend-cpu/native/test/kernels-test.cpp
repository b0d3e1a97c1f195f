// Compares every kernel of every level that this processor runs with its slow twin, at odd sizes, and checks bit for bit
// that a result does not depend on how the work is cut. Argument: the folder of the shared goldens (optional).
// Prints one line per check and ends with status 1 when any failed. One file, since every part shares the levels, the
// report and the material.
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "reference.h"
#include "sample.h"

namespace {

using namespace unicorn;
using sample::Buffer;
using sample::Random;

int failures = 0;

void report(bool ok, const char* level, const std::string& what, double error = 0, double bound = 0) {
  if (!ok) failures++;
  std::printf("%s %-10s %s", ok ? "ok  " : "FAIL", level, what.c_str());
  if (bound > 0) std::printf("  (error %.3g, bound %.3g)", error, bound);
  std::printf("\n");
}

const DType packedTypes[] = {DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0, DType::iq4_nl,
                             DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_xs};

std::vector<float> randomFloats(int64_t count, Random& random) {
  std::vector<float> out(static_cast<size_t>(count));
  for (auto& x : out) x = random.normal();
  return out;
}

bool sameBits(const void* a, const void* b, int64_t bytes) { return std::memcmp(a, b, static_cast<size_t>(bytes)) == 0; }

// ---------------------------------------------------------------- decoding

// One tensor of a safetensors file; the header is a flat JSON object whose entries are found by their names.
std::vector<uint8_t> readTensor(const std::string& file, const std::string& name) {
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

void testPacking() {
  Random random(2);
  for (const DType dtype : packedTypes) {
    const int64_t block = packedBlockSize(dtype);
    const int64_t rows = 37;
    const int64_t columns = 3 * block;
    const auto raw = sample::weights(dtype, rows, columns, random);
    Buffer packed(packedBytes(dtype, rows, columns));
    packGroups(dtype, raw.data(), rowBytes(dtype, columns), rows, columns, 1, groupCount(rows), packed.data());
    packGroups(dtype, raw.data(), rowBytes(dtype, columns), rows, columns, 0, 1, packed.data());
    bool same = packed.intact();
    std::vector<float> a(static_cast<size_t>(columns)), b(a);
    for (int64_t row = 0; row < rows; row++) {
      decodeRow(dtype, raw.data() + row * rowBytes(dtype, columns), columns, a.data());
      decodePackedRow(dtype, packed.data(), columns, row, columns, b.data());
      for (int64_t i = 0; i < columns; i++) same = same && a[static_cast<size_t>(i)] == b[static_cast<size_t>(i)];
    }
    report(same, "scalar", std::string("a packed row decodes to the raw row's values: ") + dtypeName(dtype));
  }
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
  for (int64_t row = 0; row < rows; row++) same = same && sameBits(fused.data() + row * bytes, apart.data() + row * bytes, 144);
  report(same, kernels.name, "quantizeNorm equals norm, then quantize");
  kernels.activateMultiply(Activation::silu, y.data(), normed.data(), rows * columns, glu.data());
  kernels.quantizeGlu(Activation::silu, y.data(), columns, normed.data(), columns, columns, 0, rows, fused.data());
  kernels.quantize(glu.data(), columns, columns, 0, rows, apart.data());
  same = true;
  for (int64_t row = 0; row < rows; row++) same = same && sameBits(fused.data() + row * bytes, apart.data() + row * bytes, 144);
  report(same, kernels.name, "quantizeGlu equals glu, then quantize");
}

// ---------------------------------------------------------------- products

// Runs `whole(rows 0..R, groups 0..G)` against single rows and single groups.
using Product = std::function<void(float* out, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin, int64_t groupEnd)>;

bool invariant(const Product& product, int64_t rows, int64_t weightRows, const float* whole, Random& random) {
  const int64_t groups = groupCount(weightRows);
  Buffer cut(rows * weightRows * 4);
  for (int64_t row = 0; row < rows;) {
    const int64_t next = std::min(rows, row + 1 + random.below(4));
    const int64_t middle = random.below(groups + 1);
    product(cut.floats(), row, next, 0, middle);
    product(cut.floats(), row, next, middle, groups);
    row = next;
  }
  return cut.intact() && sameBits(cut.data(), whole, rows * weightRows * 4);
}

void testMatmulQuantized(const Kernels& kernels) {
  Random random(4);
  for (const DType dtype : packedTypes) {
    const int64_t block = packedBlockSize(dtype);
    const int64_t storedRows = 70;
    const int64_t stored = 5 * block;
    const int64_t columns = 3 * block;  // a view of the first columns
    const int64_t weightRows = 37;      // and of rows 16 ... 52
    const int64_t rows = 31;
    const auto raw = sample::weights(dtype, storedRows, stored, random);
    Buffer packed(packedBytes(dtype, storedRows, stored));
    packGroups(dtype, raw.data(), rowBytes(dtype, stored), storedRows, stored, 0, groupCount(storedRows), packed.data());
    const auto x = randomFloats(rows * columns, random);
    const int64_t bytes = activationRowBytes(columns);
    Buffer activations(rows * bytes);
    kernels.quantize(x.data(), columns, columns, 0, rows, activations.data());
    const auto bias = randomFloats(weightRows, random);
    const auto residual = randomFloats(rows * weightRows, random);
    QuantizedMatmul call = {activations.data(), packed.data() + packedGroupBytes(dtype, stored), dtype, columns, stored,
                            weightRows, nullptr, weightRows, {bias.data(), residual.data(), weightRows}};
    const Product product = [&](float* out, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin, int64_t groupEnd) {
      call.out = out;
      kernels.matmulQuantized(call, rowBegin, rowEnd, groupBegin, groupEnd);
    };
    Buffer out(rows * weightRows * 4);
    product(out.floats(), 0, rows, 0, groupCount(weightRows));
    double worst = 0;
    std::vector<float> w(static_cast<size_t>(columns));
    std::vector<double> a(static_cast<size_t>(columns));
    for (int64_t n = 0; n < weightRows; n++) {
      decodeRow(dtype, raw.data() + (16 + n) * rowBytes(dtype, stored), columns, w.data());
      for (int64_t row = 0; row < rows; row++) {
        const auto* blocks = reinterpret_cast<const ActivationBlock*>(activations.data() + row * bytes);
        for (int64_t k = 0; k < columns; k++) a[static_cast<size_t>(k)] = reference::activation(blocks, k);
        const auto expected = reference::dot(a.data(), w.data(), columns);
        const double want = expected.sum + bias[static_cast<size_t>(n)] + residual[static_cast<size_t>(row * weightRows + n)];
        worst = std::fmax(worst, std::fabs(out.floats()[row * weightRows + n] - want) / (expected.magnitude + 1));
      }
    }
    // Each block's product, scale and sum round once, and types with minimums subtract parts that are up to about 15
    // times larger than the result's terms: 16 * (blocks + 4) half-ulps of 2^-24 are never reached.
    const double bound = 16 * static_cast<double>(columns / 32 + 4) * 0x1p-24;
    report(worst < bound && out.intact(), kernels.name, std::string("matmulQuantized of a view, bias and residual: ") + dtypeName(dtype),
           worst, bound);
    report(invariant(product, rows, weightRows, out.floats(), random), kernels.name,
           std::string("matmulQuantized does not depend on the cut: ") + dtypeName(dtype));
  }
  // A NaN in one row stays in that row.
  const int64_t columns = 64;
  const auto raw = sample::weights(DType::q8_0, 16, columns, random);
  Buffer packed(packedBytes(DType::q8_0, 16, columns));
  packGroups(DType::q8_0, raw.data(), rowBytes(DType::q8_0, columns), 16, columns, 0, 1, packed.data());
  auto x = randomFloats(3 * columns, random);
  x[70] = NAN;
  Buffer activations(3 * activationRowBytes(columns)), out(3 * 16 * 4);
  kernels.quantize(x.data(), columns, columns, 0, 3, activations.data());
  kernels.matmulQuantized({activations.data(), packed.data(), DType::q8_0, columns, columns, 16, out.floats(), 16, {}}, 0, 3, 0, 1);
  bool ok = true;
  for (int i = 0; i < 48; i++) ok = ok && (std::isnan(out.floats()[i]) == (i / 16 == 1));
  report(ok, kernels.name, "matmulQuantized: a NaN spoils its own row only");
}

void testMatmulFloat(const Kernels& kernels) {
  Random random(5);
  struct Case {
    DType dtype;
    WeightForm form;
  };
  std::vector<Case> cases;
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::q4_0, DType::q8_0, DType::q3_k, DType::q6_k, DType::iq4_xs}) {
    cases.push_back({dtype, WeightForm::raw});
  }
  for (const DType dtype : packedTypes) cases.push_back({dtype, WeightForm::packed});
  for (const Case& c : cases) {
    const int64_t block = dtypeLayout(c.dtype).blockSize;
    const int64_t columns = block == 1 ? 67 : 3 * block;
    const int64_t stored = block == 1 ? 71 : 5 * block;
    const int64_t storedRows = 70;
    const int64_t weightRows = 37;
    const int64_t rows = 31;
    const int64_t firstRow = c.form == WeightForm::raw ? 3 : 16;
    const auto raw = sample::weights(c.dtype, storedRows, stored, random);
    const int64_t stride = rowBytes(c.dtype, stored);
    Buffer packed(c.form == WeightForm::packed ? packedBytes(c.dtype, storedRows, stored) : 0);
    if (c.form == WeightForm::packed) {
      packGroups(c.dtype, raw.data(), stride, storedRows, stored, 0, groupCount(storedRows), packed.data());
    }
    const int64_t activationStride = columns + 5;
    const auto x = randomFloats(rows * activationStride, random);
    const auto bias = randomFloats(weightRows, random);
    const auto residual = randomFloats(rows * weightRows, random);
    const uint8_t* weights = c.form == WeightForm::raw ? raw.data() + firstRow * stride
                                                       : packed.data() + packedGroupBytes(c.dtype, stored);
    FloatMatmul call = {x.data(), activationStride, weights, c.dtype, c.form, stride, columns, stored, weightRows,
                        nullptr, weightRows, {bias.data(), residual.data(), weightRows}};
    Buffer scratch(kernels.matmulFloatScratchBytes(call));
    const Product product = [&](float* out, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin, int64_t groupEnd) {
      call.out = out;
      kernels.matmulFloat(call, rowBegin, rowEnd, groupBegin, groupEnd, scratch.data());
    };
    Buffer out(rows * weightRows * 4);
    product(out.floats(), 0, rows, 0, groupCount(weightRows));
    double worst = 0;
    std::vector<float> w(static_cast<size_t>(columns));
    std::vector<double> a(static_cast<size_t>(columns));
    for (int64_t n = 0; n < weightRows; n++) {
      decodeRow(c.dtype, raw.data() + (firstRow + n) * stride, columns, w.data());
      for (int64_t row = 0; row < rows; row++) {
        for (int64_t k = 0; k < columns; k++) a[static_cast<size_t>(k)] = x[static_cast<size_t>(row * activationStride + k)];
        const auto expected = reference::dot(a.data(), w.data(), columns);
        const double want = expected.sum + bias[static_cast<size_t>(n)] + residual[static_cast<size_t>(row * weightRows + n)];
        worst = std::fmax(worst, std::fabs(out.floats()[row * weightRows + n] - want) / (expected.magnitude + 1));
      }
    }
    // The longest chain of additions has 32 + columns / 32 steps (packed) or columns / 4 + 8 (raw, portable).
    const double bound = (32 + static_cast<double>(columns) / 4 + 8) * 0x1p-24;
    const std::string name = std::string(c.form == WeightForm::raw ? "raw " : "packed ") + dtypeName(c.dtype);
    report(worst < bound && out.intact() && scratch.intact(), kernels.name, "matmulFloat of a view, bias and residual: " + name, worst, bound);
    report(invariant(product, rows, weightRows, out.floats(), random), kernels.name, "matmulFloat does not depend on the cut: " + name);
  }
}

// ---------------------------------------------------------------- attention

struct AttentionCase {
  const char* what;
  DType dtype;
  int64_t heads, kvHeads, headDim, blockTokens;
  std::vector<int64_t> past;  // tokens of each sequence before this step
  std::vector<int64_t> fresh; // rows of each sequence in this step
  int64_t window;
  float softcap;
  bool reach;
};

struct AttentionData {
  std::vector<float> query;
  std::vector<uint8_t> state;
  std::vector<int32_t> positions, starts, tables, reach;
  Attention call;
};

AttentionData makeAttention(const AttentionCase& c, Random& random) {
  AttentionData data;
  Attention& call = data.call;
  call = {};
  int64_t rows = 0;
  int64_t longest = 0;
  for (size_t s = 0; s < c.past.size(); s++) {
    data.starts.push_back(static_cast<int32_t>(rows));
    for (int64_t i = 0; i < c.fresh[s]; i++) {
      const int64_t position = c.past[s] + i;
      data.positions.push_back(static_cast<int32_t>(position));
      const int64_t ahead = c.fresh[s] - 1 - i;
      data.reach.push_back(static_cast<int32_t>(position + (ahead > 0 ? random.below(ahead + 1) : 0)));
    }
    rows += c.fresh[s];
    longest = std::max(longest, c.past[s] + c.fresh[s]);
  }
  call.tableColumns = (longest + c.blockTokens - 1) / c.blockTokens;
  call.sequences = static_cast<int64_t>(c.past.size());
  call.stateBlocks = 1 + call.sequences * call.tableColumns;
  // Blocks in a scrambled order.
  std::vector<int32_t> ids;
  for (int64_t i = 1; i < call.stateBlocks; i++) ids.push_back(static_cast<int32_t>(i));
  for (size_t i = ids.size(); i > 1; i--) std::swap(ids[i - 1], ids[static_cast<size_t>(random.below(static_cast<int64_t>(i)))]);
  data.tables = ids;
  data.state = sample::weights(c.dtype, call.stateBlocks * 2 * c.kvHeads * c.blockTokens, c.headDim, random);
  if (c.dtype == DType::q8_0) {  // values near one, as keys and values are
    for (size_t i = 0; i < data.state.size(); i += 34) {
      const uint16_t half = floatToHalf(0.01f * (0.5f + random.uniform()));
      std::memcpy(&data.state[i], &half, 2);
    }
  }
  data.query = randomFloats(rows * c.heads * c.headDim, random);
  call.query = data.query.data();
  call.state = data.state.data();
  call.stateDType = c.dtype;
  call.rows = rows;
  call.heads = c.heads;
  call.kvHeads = c.kvHeads;
  call.headDim = c.headDim;
  call.blockTokens = c.blockTokens;
  call.positions = data.positions.data();
  call.starts = data.starts.data();
  call.blockTables = data.tables.data();
  call.reach = c.reach ? data.reach.data() : nullptr;
  call.scale = 1 / std::sqrt(static_cast<float>(c.headDim));
  call.window = c.window;
  call.softcap = c.softcap;
  return data;
}

// All tasks, in reverse order: they must not depend on each other.
bool runAttention(const Kernels& kernels, Attention call, int64_t threads, float* out) {
  call.out = out;
  std::vector<AttentionTile> tiles(static_cast<size_t>(call.rows));
  AttentionPlan plan;
  int64_t fault;
  if (planAttention(call, threads, tiles.data(), &plan, &fault) != AttentionFault::none) return false;
  Buffer scratch(plan.scratchBytes), partials(plan.partialBytes);
  for (int64_t task = plan.taskCount; task-- > 0;) kernels.attention(call, plan, task, task + 1, scratch.data(), partials.data());
  for (int64_t task = plan.mergeCount; task-- > 0;) kernels.attentionMerge(call, plan, task, task + 1, scratch.data(), partials.data());
  return scratch.intact() && partials.intact() &&
         plan.scratchBytes <= attentionScratchBytesBound(call.heads, call.kvHeads, call.headDim) &&
         plan.partialBytes <= attentionPartialBytesBound(call.rows, call.heads, call.headDim, call.tableColumns * call.blockTokens);
}

void testAttention(const Kernels& kernels) {
  Random random(6);
  const AttentionCase cases[] = {
      {"prefill and decode, grouped", DType::f32, 9, 3, 64, 16, {0, 700, 3}, {37, 1, 5}, 0, 0, false},
      {"f16, long decode", DType::f16, 9, 3, 64, 16, {1303}, {1}, 0, 0, false},
      {"f16, chunk in the middle", DType::f16, 6, 2, 128, 32, {233}, {41}, 0, 0, false},
      {"bf16, one KV head, window", DType::bf16, 4, 1, 256, 16, {611, 20}, {2, 60}, 100, 0, false},
      {"q8_0, window and softcap", DType::q8_0, 4, 2, 96, 7, {301}, {19}, 33, 20, false},
      {"f32, odd head dim, reach", DType::f32, 5, 5, 37, 5, {67, 0}, {23, 17}, 0, 0, true},
      {"f16, odd head dim, more heads than a tile", DType::f16, 40, 1, 20, 16, {90}, {3}, 64, 5, true},
  };
  for (const AttentionCase& c : cases) {
    const AttentionData data = makeAttention(c, random);
    const int64_t count = data.call.rows * c.heads * c.headDim;
    Buffer out(count * 4);
    std::vector<double> expected(static_cast<size_t>(count));
    const bool ran = runAttention(kernels, data.call, 2, out.floats());
    reference::attention(data.call, expected.data());
    double worst = 0;
    for (int64_t i = 0; i < count; i++) worst = std::fmax(worst, std::fabs(out.floats()[i] - expected[static_cast<size_t>(i)]));
    // Values and results are about one; a score of about one has an error of some ulps, and so has its weight.
    const double bound = 5e-6;
    report(ran && out.intact() && worst < bound, kernels.name, std::string("attention: ") + c.what, worst, bound);

    // One row at a time, planned for one thread and for many.
    bool same = true;
    for (int64_t s = 0; s < data.call.sequences; s++) {
      const int64_t end = s + 1 < data.call.sequences ? data.starts[static_cast<size_t>(s + 1)] : data.call.rows;
      for (int64_t row = data.starts[static_cast<size_t>(s)]; row < end; row++) {
        Attention one = data.call;
        const int32_t zero = 0;
        one.rows = 1;
        one.sequences = 1;
        one.query += row * c.heads * c.headDim;
        one.positions += row;
        one.starts = &zero;
        one.blockTables += s * data.call.tableColumns;
        if (one.reach) one.reach += row;
        Buffer alone(c.heads * c.headDim * 4);
        same = same && runAttention(kernels, one, row % 2 == 0 ? 1 : 16, alone.floats());
        same = same && sameBits(alone.data(), out.floats() + row * c.heads * c.headDim, alone.bytes());
      }
    }
    report(same, kernels.name, std::string("attention: a row alone gives the same bits: ") + c.what);
  }

  // A NaN in the newest key and value must not reach rows that do not see it, nor one in a query its neighbours.
  AttentionData data = makeAttention({"", DType::f32, 6, 2, 32, 16, {50}, {11}, 0, 0, false}, random);
  const int64_t width = 6 * 32;
  Buffer clean(11 * width * 4), spoilt(11 * width * 4);
  runAttention(kernels, data.call, 2, clean.floats());
  const int64_t last = 60;
  float* state = reinterpret_cast<float*>(data.state.data());
  for (int part = 0; part < 2; part++) {
    for (int head = 0; head < 2; head++) {
      const int64_t block = data.tables[static_cast<size_t>(last / 16)];
      for (int d = 0; d < 32; d++) state[(((block * 2 + part) * 2 + head) * 16 + last % 16) * 32 + d] = NAN;
    }
  }
  data.query[static_cast<size_t>(4 * width)] = NAN;
  runAttention(kernels, data.call, 2, spoilt.floats());
  bool ok = true;
  for (int64_t row = 0; row < 11; row++) {
    const float* a = clean.floats() + row * width;
    const float* b = spoilt.floats() + row * width;
    if (row == 10) {
      for (int64_t i = 0; i < width; i++) ok = ok && std::isnan(b[i]);
    } else if (row == 4) {
      for (int64_t i = 0; i < 32; i++) ok = ok && std::isnan(b[i]);
      ok = ok && sameBits(a + 32, b + 32, (width - 32) * 4);
    } else {
      ok = ok && sameBits(a, b, width * 4);
    }
  }
  report(ok, kernels.name, "attention: NaN stays with the rows that see it");

  AttentionPlan plan;
  std::vector<AttentionTile> tiles(11);
  int64_t fault = -1;
  Attention bad = data.call;
  auto tables = data.tables;
  tables[2] = static_cast<int32_t>(bad.stateBlocks);
  bad.blockTables = tables.data();
  ok = planAttention(bad, 1, tiles.data(), &plan, &fault) == AttentionFault::blockId && fault == 0;
  auto positions = data.positions;
  positions[7] = 16 * 4;
  bad = data.call;
  bad.positions = positions.data();
  ok = ok && planAttention(bad, 1, tiles.data(), &plan, &fault) == AttentionFault::position && fault == 7;
  report(ok, kernels.name, "planAttention refuses tables and positions outside the state");
}

// ---------------------------------------------------------------- functions

double ulpsBetween(float got, double want) {
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
  for (const float value : {0.0f, -0.0f, 1.0f, INFINITY, -INFINITY, NAN, 88.0f, 88.8f, -87.4f, -103.9f, -104.5f}) x.push_back(value);
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
    report(most < 1e-6 && special, kernels.name, "activation " + std::to_string(static_cast<int>(f)) + ", relative above 1e-3", most, 1e-6);
  }
  kernels.softcap(30, x.data(), count, out.data());
  // Below 1e-30 the quotient is subnormal and coarse.
  error = worst([](double v) { return std::fabs(v) < 1e-30 ? NAN : 30 * std::tanh(v / 30); });
  report(error <= 5, kernels.name, "softcap, ulps", error, 5);
}

}  // namespace

int main(int argc, char** argv) {
  testHalf();
  testPacking();
  if (argc > 1) testGoldenDecode(argv[1]);
  for (const Level level : {Level::portable, Level::avx2, Level::avx512vnni}) {
    if (!levelAvailable(level)) {
      std::printf("skip %s: this processor does not have it\n", levelName(level));
      continue;
    }
    const Kernels& kernels = selectKernels(level);
    report(kernels.level == level && std::string(kernels.name) == levelName(level), kernels.name, "table");
    testDecode(kernels);
    testQuantize(kernels);
    testMatmulQuantized(kernels);
    testMatmulFloat(kernels);
    testAttention(kernels);
    testFunctions(kernels);
  }
  std::printf(failures == 0 ? "all passed\n" : "%d FAILED\n", failures);
  return failures == 0 ? 0 : 1;
}
