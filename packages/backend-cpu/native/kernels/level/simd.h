// Vectors of the level that this file is compiled for: `F` is W floats, `I` is W int32. Arithmetic and comparisons use
// the compiler's vector extension (+ - * /), so only what that lacks is named here.
//
// Everything lives in the level's own namespace and has internal linkage. An inline function with external linkage
// (std::min too) would be merged across object files by the linker, and a copy with newer instructions could then run
// on an older processor; for the same reason level sources use no templates of the standard library.
#pragma once

#include <string.h>

#include "../kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef UNICORN_LEVEL
#error "UNICORN_LEVEL names the level: portable, avx2 or avx512vnni"
#endif

#define UNICORN_INLINE static inline __attribute__((always_inline))

namespace unicorn {
namespace UNICORN_LEVEL {

#if defined(__AVX512VNNI__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float F __attribute__((vector_size(4 * W)));
typedef int32_t I __attribute__((vector_size(4 * W)));
typedef float UnalignedF __attribute__((vector_size(4 * W), aligned(1), may_alias));
typedef int32_t UnalignedI __attribute__((vector_size(4 * W), aligned(1), may_alias));

UNICORN_INLINE int64_t minimum(int64_t a, int64_t b) { return a < b ? a : b; }
UNICORN_INLINE int64_t maximum(int64_t a, int64_t b) { return a > b ? a : b; }

UNICORN_INLINE F load(const float* p) { return *reinterpret_cast<const UnalignedF*>(p); }
UNICORN_INLINE void store(float* p, F v) { *reinterpret_cast<UnalignedF*>(p) = v; }
UNICORN_INLINE I loadInt(const void* p) { return *reinterpret_cast<const UnalignedI*>(p); }
UNICORN_INLINE F broadcast(float x) { return x - F{}; }
UNICORN_INLINE I broadcastInt(int32_t x) { return x - I{}; }
UNICORN_INLINE F fromBits(I v) { return reinterpret_cast<F>(v); }
UNICORN_INLINE I bitsOf(F v) { return reinterpret_cast<I>(v); }

// The first n lanes (0 <= n <= W); the others read as zero and are not written.
#if defined(__AVX512VNNI__)
UNICORN_INLINE __mmask16 firstLanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
UNICORN_INLINE F loadFirst(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(firstLanes(n), p); }
UNICORN_INLINE void storeFirst(float* p, F v, int64_t n) { _mm512_mask_storeu_ps(p, firstLanes(n), v); }
#else
UNICORN_INLINE F loadFirst(const float* p, int64_t n) {
  alignas(4 * W) float lanes[W] = {};
  for (int64_t i = 0; i < n; i++) lanes[i] = p[i];
  return load(lanes);
}
UNICORN_INLINE void storeFirst(float* p, F v, int64_t n) {
  alignas(4 * W) float lanes[W];
  store(lanes, v);
  for (int64_t i = 0; i < n; i++) p[i] = lanes[i];
}
#endif

// a * b + c, rounded once where the level can (everywhere but x86 before AVX2). `toFloat` and `toInt` (to nearest even)
// are exact conversions; `maxOf` and `minOf` return b when either is NaN.
#if defined(__AVX512VNNI__)
UNICORN_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
UNICORN_INLINE F maxOf(F a, F b) { return _mm512_max_ps(a, b); }
UNICORN_INLINE F minOf(F a, F b) { return _mm512_min_ps(a, b); }
UNICORN_INLINE F toFloat(I v) { return _mm512_cvtepi32_ps(reinterpret_cast<__m512i>(v)); }
UNICORN_INLINE I toInt(F v) { return reinterpret_cast<I>(_mm512_cvtps_epi32(v)); }
UNICORN_INLINE I maxInt(I a, I b) {
  return reinterpret_cast<I>(_mm512_max_epi32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
UNICORN_INLINE F loadHalf(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
UNICORN_INLINE F loadBfloat(const void* p) {
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}
UNICORN_INLINE I loadSignedBytes(const void* p) {
  return reinterpret_cast<I>(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
UNICORN_INLINE I loadBytes(const void* p) {
  return reinterpret_cast<I>(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
// The low byte of each lane.
UNICORN_INLINE void storeBytes(void* p, I v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v)));
}
#elif defined(__AVX2__)
UNICORN_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
UNICORN_INLINE F maxOf(F a, F b) { return _mm256_max_ps(a, b); }
UNICORN_INLINE F minOf(F a, F b) { return _mm256_min_ps(a, b); }
UNICORN_INLINE F toFloat(I v) { return _mm256_cvtepi32_ps(reinterpret_cast<__m256i>(v)); }
UNICORN_INLINE I toInt(F v) { return reinterpret_cast<I>(_mm256_cvtps_epi32(v)); }
UNICORN_INLINE I maxInt(I a, I b) {
  return reinterpret_cast<I>(_mm256_max_epi32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}
UNICORN_INLINE F loadHalf(const void* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
UNICORN_INLINE F loadBfloat(const void* p) {
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}
UNICORN_INLINE I loadSignedBytes(const void* p) {
  return reinterpret_cast<I>(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
UNICORN_INLINE I loadBytes(const void* p) {
  return reinterpret_cast<I>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
UNICORN_INLINE void storeBytes(void* p, I v) {
  const __m256i low = _mm256_shuffle_epi8(reinterpret_cast<__m256i>(v),
                                          _mm256_set1_epi32(0x0c080400));  // four bytes per half, in its lane 0
  const int32_t first = _mm256_extract_epi32(low, 0);
  const int32_t second = _mm256_extract_epi32(low, 4);
  memcpy(p, &first, 4);
  memcpy(static_cast<char*>(p) + 4, &second, 4);
}
#else
UNICORN_INLINE F fma(F a, F b, F c) {
#if defined(__aarch64__)
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}
UNICORN_INLINE F maxOf(F a, F b) { return a > b ? a : b; }
UNICORN_INLINE F minOf(F a, F b) { return a < b ? a : b; }
UNICORN_INLINE F toFloat(I v) { return __builtin_convertvector(v, F); }
UNICORN_INLINE I maxInt(I a, I b) { return a > b ? a : b; }
UNICORN_INLINE I toInt(F v) {
#if defined(__SSE2__)
  return reinterpret_cast<I>(_mm_cvtps_epi32(v));
#elif defined(__aarch64__)
  return vcvtnq_s32_f32(v);
#else
  I out;
  for (int i = 0; i < W; i++) out[i] = static_cast<int32_t>(__builtin_nearbyintf(v[i]));
  return out;
#endif
}
// Through integers: the exponent is rebased by a multiplication, which is exact and also normalizes subnormal halves.
UNICORN_INLINE F loadHalf(const void* p) {
  uint16_t h[W];
  memcpy(h, p, sizeof h);
  I v;
  for (int i = 0; i < W; i++) v[i] = h[i];
  const I magnitude = (v & 0x7fff) << 13;
  const F value = fromBits(magnitude) * 0x1p112f;
  const I special = magnitude >= (0x7c00 << 13);  // infinity and NaN keep the largest exponent
  return fromBits(((bitsOf(value) & ~special) | ((magnitude | 0x7f800000) & special)) | ((v & 0x8000) << 16));
}
UNICORN_INLINE F loadBfloat(const void* p) {
  uint16_t h[W];
  memcpy(h, p, sizeof h);
  I v;
  for (int i = 0; i < W; i++) v[i] = static_cast<int32_t>(static_cast<uint32_t>(h[i]) << 16);
  return fromBits(v);
}
UNICORN_INLINE I loadSignedBytes(const void* p) {
  int8_t b[W];
  memcpy(b, p, sizeof b);
  I v;
  for (int i = 0; i < W; i++) v[i] = b[i];
  return v;
}
UNICORN_INLINE I loadBytes(const void* p) {
  uint8_t b[W];
  memcpy(b, p, sizeof b);
  I v;
  for (int i = 0; i < W; i++) v[i] = b[i];
  return v;
}
UNICORN_INLINE void storeBytes(void* p, I v) {
  int8_t b[W];
  for (int i = 0; i < W; i++) b[i] = static_cast<int8_t>(v[i]);
  memcpy(p, b, sizeof b);
}
#endif

UNICORN_INLINE F absolute(F v) { return fromBits(bitsOf(v) & 0x7fffffff); }
// Lanes of a where mask is all ones, of b where it is zero.
UNICORN_INLINE F select(I mask, F a, F b) { return fromBits((bitsOf(a) & mask) | (bitsOf(b) & ~mask)); }

// Sum of the lanes as a fixed tree: lane i plus lane i + half, halves down to one.
UNICORN_INLINE float sumLanes(F v) {
#if defined(__SSE2__)
#if defined(__AVX512VNNI__)
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
#elif defined(__AVX2__)
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
#else
  __m128 four = v;
#endif
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
#else
  float lanes[W];
  store(lanes, v);
  for (int half = W / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) lanes[i] = lanes[i] + lanes[i + half];
  }
  return lanes[0];
#endif
}

// Largest lane; no lane is NaN.
UNICORN_INLINE float maxLanes(F v) {
#if defined(__SSE2__)
#if defined(__AVX512VNNI__)
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
#elif defined(__AVX2__)
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
#else
  __m128 four = v;
#endif
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
#else
  float top = v[0];
  for (int i = 1; i < W; i++) top = v[i] > top ? v[i] : top;
  return top;
#endif
}

UNICORN_INLINE int32_t maxLanesInt(I v) {
#if defined(__AVX2__)
#if defined(__AVX512VNNI__)
  const __m512i all = reinterpret_cast<__m512i>(v);
  const __m256i eight = _mm256_max_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
#else
  const __m256i eight = reinterpret_cast<__m256i>(v);
#endif
  __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
#else
  int32_t top = v[0];
  for (int i = 1; i < W; i++) top = v[i] > top ? v[i] : top;
  return top;
#endif
}

}  // namespace UNICORN_LEVEL
}  // namespace unicorn
