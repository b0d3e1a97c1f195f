// Tests of packed weights and of matrix products.
#include <functional>

#include "check.h"

namespace unicorn::check {

// ---------------------------------------------------------------- packing

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

// The fast packer of a level against the scalar one, whole and in parts.
void testPack(const Kernels& kernels) {
  Random random(7);
  bool all = true;
  for (const DType dtype : packedTypes) {
    for (const int64_t rows : {1, 16, 53}) {
      const int64_t columns = 11 * packedBlockSize(dtype);
      const auto raw = sample::weights(dtype, rows, columns, random);
      const int64_t stride = rowBytes(dtype, columns);
      const int64_t groups = groupCount(rows);
      const int64_t middle = random.below(groups + 1);
      Buffer expected(packedBytes(dtype, rows, columns)), got(expected.bytes());
      packGroups(dtype, raw.data(), stride, rows, columns, 0, groups, expected.data());
      kernels.pack(dtype, raw.data(), stride, rows, columns, middle, groups, got.data());
      kernels.pack(dtype, raw.data(), stride, rows, columns, 0, middle, got.data());
      const bool same = got.intact() && sameBits(expected.data(), got.data(), got.bytes());
      if (!same) report(false, kernels.name, std::string("pack equals packGroups: ") + dtypeName(dtype));
      all = all && same;
    }
  }
  report(all, kernels.name, "pack equals packGroups: every type");
}

// ---------------------------------------------------------------- products

// Runs `whole(rows 0..R, groups 0..G)` against single rows and single groups.
using Product = std::function<void(float* out, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin, int64_t groupEnd)>;

static bool invariant(const Product& product, int64_t rows, int64_t weightRows, const float* whole, Random& random) {
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
    packGroups(dtype, raw.data(), rowBytes(dtype, stored), storedRows, stored, 0, groupCount(storedRows),
               packed.data());
    const auto x = randomFloats(rows * columns, random);
    const int64_t bytes = activationRowBytes(columns);
    Buffer activations(rows * bytes);
    kernels.quantize(x.data(), columns, columns, 0, rows, activations.data());
    const auto bias = randomFloats(weightRows, random);
    const auto residual = randomFloats(rows * weightRows, random);
    QuantizedMatmul call = {activations.data(),
                            packed.data() + packedGroupBytes(dtype, stored),
                            dtype,
                            WeightForm::packed,
                            0,
                            columns,
                            stored,
                            weightRows,
                            nullptr,
                            weightRows,
                            {bias.data(), residual.data(), weightRows}};
    const Product product = [&](float* out, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin, int64_t groupEnd) {
      call.out = out;
      kernels.matmulQuantized(call, rowBegin, rowEnd, groupBegin, groupEnd, nullptr);
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
        const double want =
            expected.sum + bias[static_cast<size_t>(n)] + residual[static_cast<size_t>(row * weightRows + n)];
        worst = std::fmax(worst, std::fabs(out.floats()[row * weightRows + n] - want) / (expected.magnitude + 1));
      }
    }
    // Each block's product, scale and sum round once, and types with minimums subtract parts that are up to about 15
    // times larger than the result's terms: 16 * (blocks + 4) half-ulps of 2^-24 are never reached.
    const double bound = 16 * static_cast<double>(columns / 32 + 4) * 0x1p-24;
    report(worst < bound && out.intact(), kernels.name,
           std::string("matmulQuantized of a view, bias and residual: ") + dtypeName(dtype), worst, bound);
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
  kernels.matmulQuantized({activations.data(),
                           packed.data(),
                           DType::q8_0,
                           WeightForm::packed,
                           0,
                           columns,
                           columns,
                           16,
                           out.floats(),
                           16,
                           {}},
                          0, 3, 0, 1, nullptr);
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
  for (const DType dtype :
       {DType::f32, DType::f16, DType::bf16, DType::q4_0, DType::q8_0, DType::q3_k, DType::q6_k, DType::iq4_xs}) {
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
    const uint8_t* weights =
        c.form == WeightForm::raw ? raw.data() + firstRow * stride : packed.data() + packedGroupBytes(c.dtype, stored);
    FloatMatmul call = {x.data(),   activationStride, weights,    c.dtype,
                        c.form,     stride,           columns,    stored,
                        weightRows, nullptr,          weightRows, {bias.data(), residual.data(), weightRows}};
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
        for (int64_t k = 0; k < columns; k++)
          a[static_cast<size_t>(k)] = x[static_cast<size_t>(row * activationStride + k)];
        const auto expected = reference::dot(a.data(), w.data(), columns);
        const double want =
            expected.sum + bias[static_cast<size_t>(n)] + residual[static_cast<size_t>(row * weightRows + n)];
        worst = std::fmax(worst, std::fabs(out.floats()[row * weightRows + n] - want) / (expected.magnitude + 1));
      }
    }
    // The longest chain of additions has 32 + columns / 32 steps (packed) or columns / 4 + 8 (raw, portable).
    const double bound = (32 + static_cast<double>(columns) / 4 + 8) * 0x1p-24;
    const std::string name = std::string(c.form == WeightForm::raw ? "raw " : "packed ") + dtypeName(c.dtype);
    report(worst < bound && out.intact() && scratch.intact(), kernels.name,
           "matmulFloat of a view, bias and residual: " + name, worst, bound);
    report(invariant(product, rows, weightRows, out.floats(), random), kernels.name,
           "matmulFloat does not depend on the cut: " + name);
  }
}

// Weights in place against the same weights packed, in int8 and in f32: a view of the first columns and of some rows,
// from the second row on, which no packed view could begin at.
void testMatmulInPlace(const Kernels& kernels) {
  Random random(8);
  bool quantizedSame = true;
  bool floatSame = true;
  bool cutSame = true;
  for (const DType dtype : packedTypes) {
    const int64_t block = packedBlockSize(dtype);
    const int64_t columns = block == 32 ? 11 * block : 3 * block;  // whole runs of 256 columns and a part of one
    const int64_t stored = columns + 2 * block;
    const int64_t stride = rowBytes(dtype, stored);
    constexpr int64_t mostRows = 29;
    for (const int64_t weightRows : {5, 48, 53}) {
      // Nothing lies behind the last row, so that an address sanitizer notices a read there.
      const auto raw = sample::weights(dtype, weightRows + 1, stored, random);
      const uint8_t* first = raw.data() + stride;
      Buffer packed(packedBytes(dtype, weightRows, columns));
      packGroups(dtype, first, stride, weightRows, columns, 0, groupCount(weightRows), packed.data());
      const auto x = randomFloats(mostRows * columns, random);
      Buffer activations(mostRows * activationRowBytes(columns));
      kernels.quantize(x.data(), columns, columns, 0, mostRows, activations.data());
      const auto bias = randomFloats(weightRows, random);
      const auto residual = randomFloats(mostRows * weightRows, random);
      const Epilogue epilogue = {bias.data(), residual.data(), weightRows};
      for (int64_t rows = 1; rows <= mostRows; rows += rows < 17 ? 1 : 12) {
        Buffer expected(rows * weightRows * 4), got(expected.bytes());
        QuantizedMatmul call = {
            activations.data(), packed.data(), dtype,   WeightForm::packed, 0, columns, columns, weightRows,
            expected.floats(),  weightRows,    epilogue};
        kernels.matmulQuantized(call, 0, rows, 0, groupCount(weightRows), nullptr);
        call.weights = first;
        call.form = WeightForm::inPlace;
        call.rowStrideBytes = stride;
        Buffer scratch(kernels.matmulQuantizedScratchBytes(call));
        const Product product = [&](float* out, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin,
                                    int64_t groupEnd) {
          call.out = out;
          kernels.matmulQuantized(call, rowBegin, rowEnd, groupBegin, groupEnd, scratch.data());
        };
        product(got.floats(), 0, rows, 0, groupCount(weightRows));
        quantizedSame =
            quantizedSame && got.intact() && scratch.intact() && sameBits(expected.data(), got.data(), got.bytes());
        cutSame = cutSame && invariant(product, rows, weightRows, got.floats(), random);
      }
      Buffer expected(mostRows * weightRows * 4), got(expected.bytes());
      FloatMatmul call = {x.data(),   columns, packed.data(), dtype,      WeightForm::packed,
                          0,          columns, columns,       weightRows, expected.floats(),
                          weightRows, epilogue};
      Buffer panel(kernels.matmulFloatScratchBytes(call));
      kernels.matmulFloat(call, 0, mostRows, 0, groupCount(weightRows), panel.data());
      call.weights = first;
      call.form = WeightForm::inPlace;
      call.rowStrideBytes = stride;
      call.out = got.floats();
      Buffer scratch(kernels.matmulFloatScratchBytes(call));
      kernels.matmulFloat(call, 0, mostRows, 0, groupCount(weightRows), scratch.data());
      floatSame = floatSame && got.intact() && scratch.intact() && sameBits(expected.data(), got.data(), got.bytes());
    }
  }
  report(quantizedSame, kernels.name,
         "matmulQuantized in place gives the bits of packed weights: every type, 1 to 29 rows");
  report(cutSame, kernels.name, "matmulQuantized in place does not depend on the cut");
  report(floatSame, kernels.name, "matmulFloat in place gives the bits of packed weights: every type");
}

}  // namespace unicorn::check
