// Vector mathematics: exp, tanh and the activations built on them. Error bounds are against exact arithmetic, in units
// of the last place of f32, found by trying every float whose result is not trivial; test/kernels-test.cpp repeats it
// on a sample.
#pragma once

#include "simd.h"

namespace unicorn {
namespace UNICORN_LEVEL {

// e^x, within 1.1 ulp. exp(0) is exactly 1, exp(-inf) 0, NaN stays NaN.
// x = n ln2 + r with |r| <= ln2 / 2; the polynomial for e^r is the one of Moshier's Cephes library (expf).
UNICORN_INLINE F expOf(F x) {
  // Beyond these the result is 0 or infinity anyway; NaN passes (maxOf and minOf return their second operand).
  x = minOf(broadcast(89.0f), maxOf(broadcast(-105.0f), x));
  const I n = toInt(x * 1.44269504088896341f);
  const F nf = toFloat(n);
  // ln2 in two parts: the first has 9 significant bits, so that n times it is exact.
  F r = fma(nf, broadcast(-0.693359375f), x);
  r = fma(nf, broadcast(2.12194440e-4f), r);
  F p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = fma(p * r, r, r) + 1.0f;
#if defined(__AVX512VNNI__)
  return _mm512_scalef_ps(p, nf);
#else
  // 2^n in two steps, since n reaches -151 and 128 and a float's exponent does not.
  const I half = n >> 1;
  return p * fromBits((half + 127) << 23) * fromBits((n - half + 127) << 23);
#endif
}

// tanh x, within 1.4 ulp. Near zero an odd polynomial (Cephes, tanhf), elsewhere 1 - 2 / (e^2|x| + 1).
UNICORN_INLINE F tanhOf(F x) {
  const F magnitude = absolute(x);
  const F z = x * x;
  F p = broadcast(-5.70498872745e-3f);
  p = fma(p, z, broadcast(2.06390887954e-2f));
  p = fma(p, z, broadcast(-5.37397155531e-2f));
  p = fma(p, z, broadcast(1.33314422036e-1f));
  p = fma(p, z, broadcast(-3.33332819422e-1f));
  const F small = fma(p * z, x, x);
  const F large = 1.0f - 2.0f / (expOf(magnitude + magnitude) + 1.0f);
  const F signedLarge = fromBits(bitsOf(large) | (bitsOf(x) & static_cast<int32_t>(0x80000000)));
  return select(magnitude < 0.625f, small, signedLarge);
}

UNICORN_INLINE F sigmoidOf(F x) { return 1.0f / (1.0f + expOf(-x)); }

UNICORN_INLINE F siluOf(F x) { return x / (1.0f + expOf(-x)); }

// 0.5 x (1 + tanh u) with u = sqrt(2 / pi) (x + 0.044715 x^3) is x / (1 + e^-2u): one exponential, and no cancellation
// where tanh u is near -1.
UNICORN_INLINE F geluTanhOf(F x) {
  const F u = fma(x * x * x, broadcast(0.044715f), x) * -1.59576912160573071f;  // -2 sqrt(2 / pi)
  return x / (1.0f + expOf(u));
}

UNICORN_INLINE F reluOf(F x) { return maxOf(F{}, x); }  // NaN stays NaN

template <Activation f>
UNICORN_INLINE F activationOf(F x) {
  switch (f) {
    case Activation::silu: return siluOf(x);
    case Activation::geluTanh: return geluTanhOf(x);
    case Activation::relu: return reluOf(x);
    case Activation::tanh: return tanhOf(x);
    case Activation::sigmoid: return sigmoidOf(x);
  }
  return x;
}

#define UNICORN_ACTIVATION_CASE(name, body)       \
  case Activation::name: {                        \
    constexpr Activation kind = Activation::name; \
    body;                                         \
    break;                                        \
  }

// Calls `body` with the activation as a compile-time constant, so that the choice is made once per row.
#define UNICORN_WITH_ACTIVATION(f, body)    \
  switch (f) {                              \
    UNICORN_ACTIVATION_CASE(silu, body)     \
    UNICORN_ACTIVATION_CASE(geluTanh, body) \
    UNICORN_ACTIVATION_CASE(relu, body)     \
    UNICORN_ACTIVATION_CASE(tanh, body)     \
    UNICORN_ACTIVATION_CASE(sigmoid, body)  \
  }

}  // namespace UNICORN_LEVEL
}  // namespace unicorn
