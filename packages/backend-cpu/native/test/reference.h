// Slow twins of the kernels: the same meaning in plain double arithmetic, one element at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "../kernels/kernels.h"

namespace unicorn::reference {

// One row of `columns` values as blocks (kernels.h, ActivationBlock).
void quantize(const float* x, int64_t columns, ActivationBlock* out);

// Dequantized value of one element of a quantized row.
double activation(const ActivationBlock* row, int64_t column);

// Sum over k of a[k] * w[k], and the sum of magnitudes that its error bound is made of.
struct Dot {
  double sum;
  double magnitude;
};
Dot dot(const double* a, const float* w, int64_t columns);

void attention(const Attention& call, double* out);

double activate(Activation f, double x);

// `out` [rows, channels].
void causalConv(const CausalConv& call, double* out);

// `state` [keyDim, valueDim]: S before, then after; `out` [rows, valueDim].
void gatedDelta(const GatedDelta& call, double* state, double* out);

}  // namespace unicorn::reference
