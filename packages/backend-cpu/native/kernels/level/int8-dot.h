// The one place where levels differ in the integer product: unsigned weight quants times signed activation quants, four
// columns to a 32-bit lane, W weight rows at once, exact in int32.
#pragma once

#include "../packed-format.h"
#include "simd.h"

namespace unicorn {
namespace UNICORN_LEVEL {

// 4 W bytes: four columns of W weight rows.
typedef uint8_t Bytes __attribute__((vector_size(4 * W)));
typedef uint8_t UnalignedBytes __attribute__((vector_size(4 * W), aligned(1), may_alias));
typedef uint16_t Words __attribute__((vector_size(4 * W)));
typedef int16_t SignedWords __attribute__((vector_size(4 * W)));

UNICORN_INLINE Bytes loadQuants(const uint8_t* p) { return *reinterpret_cast<const UnalignedBytes*>(p); }

// ---- from packed bytes to unsigned quants

UNICORN_INLINE Bytes lowNibbles(Bytes v) { return v & 15; }
UNICORN_INLINE Bytes highNibbles(Bytes v) { return reinterpret_cast<Bytes>(reinterpret_cast<Words>(v) >> 4) & 15; }

// Adds 16 where the bit is set: `bits` points to 4 W bits, one for each byte.
UNICORN_INLINE Bytes withFifthBits(Bytes quants, const uint8_t* bits) {
#if defined(__AVX512VNNI__)
  __mmask64 mask;
  memcpy(&mask, bits, 8);
  const __m512i v = reinterpret_cast<__m512i>(quants);
  return reinterpret_cast<Bytes>(_mm512_mask_add_epi8(v, mask, v, _mm512_set1_epi8(16)));
#elif defined(__AVX2__)
  int32_t word;
  memcpy(&word, bits, 4);
  const __m256i spread = _mm256_shuffle_epi8(
      _mm256_set1_epi32(word), _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
  return reinterpret_cast<Bytes>(
      _mm256_or_si256(reinterpret_cast<__m256i>(quants), _mm256_and_si256(set, _mm256_set1_epi8(16))));
#else
  // Multiplying a nibble's bits by 1 + 2^7 + 2^14 + 2^21 puts bit i at bit 8 i.
  uint32_t spread[W];
  for (int i = 0; i < W; i++) {
    const uint32_t nibble = (bits[i / 2] >> (4 * (i & 1))) & 15;
    spread[i] = ((nibble * 0x00204081u) & 0x01010101u) << 4;
  }
  Bytes high;
  memcpy(&high, spread, sizeof high);
  return quants | high;
#endif
}

// Bits 2 f and 2 f + 1 of each byte, as bits 4 and 5.
template <int f>
UNICORN_INLINE Bytes twoHighBits(Bytes v) {
  const Words w = reinterpret_cast<Words>(v);
  return reinterpret_cast<Bytes>(f < 2 ? w << (4 - 2 * f) : w >> (2 * f - 4)) & 0x30;
}

UNICORN_INLINE Bytes lookUp(Bytes nibbles) {
#if defined(__AVX512VNNI__)
  const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(nonLinearTable)));
  return reinterpret_cast<Bytes>(_mm512_shuffle_epi8(table, reinterpret_cast<__m512i>(nibbles)));
#elif defined(__AVX2__)
  const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(nonLinearTable)));
  return reinterpret_cast<Bytes>(_mm256_shuffle_epi8(table, reinterpret_cast<__m256i>(nibbles)));
#else
  uint8_t bytes[4 * W];
  memcpy(bytes, &nibbles, sizeof bytes);
  for (int i = 0; i < 4 * W; i++) bytes[i] = nonLinearTable[bytes[i]];
  return loadQuants(bytes);
#endif
}

// Chunk `c` (columns 4 c ... 4 c + 3) of lanes [half * W, half * W + W) of a packed sub-block.
template <DType type, int c>
UNICORN_INLINE Bytes quantsOf(const uint8_t* sub, int half) {
  constexpr PackedFormat format = packedFormat(type);
  if constexpr (format.bits == QuantBits::eight) {
    return loadQuants(sub + 64 * c + 4 * W * half);
  } else {
    const Bytes pair = loadQuants(sub + 64 * (c & 3) + 4 * W * half);
    const Bytes low = c < 4 ? lowNibbles(pair) : highNibbles(pair);
    if constexpr (format.bits == QuantBits::five) {
      return withFifthBits(low, sub + format.highAt() + 8 * c + W / 2 * half);
    } else if constexpr (format.bits == QuantBits::six) {
      return low | twoHighBits<c / 2>(loadQuants(sub + format.highAt() + 64 * (c & 1) + 4 * W * half));
    } else if constexpr (format.table) {
      return lookUp(low);
    } else {
      return low;
    }
  }
}

// ---- the product

// A running dot product of the stored quants of `type` with activations, chunk after chunk; `finish` gives the exact
// sum of (quant - offset) * activation. `negativeSum` is minus the sum of the activations.
template <DType type>
struct Dot {
  static constexpr PackedFormat format = packedFormat(type);
  static constexpr int32_t offset = format.offset;

#if defined(__AVX512VNNI__)
  __m512i sum;
  __attribute__((always_inline)) void start(int32_t negativeSum) {
    sum = offset == 0 ? _mm512_setzero_si512()
                      : reinterpret_cast<__m512i>(broadcastInt(negativeSum) << __builtin_ctz(offset | 1 << 30));
  }
  __attribute__((always_inline)) void add(Bytes quants, const int8_t* activations, int) {
    int32_t four;
    memcpy(&four, activations, 4);
    sum = _mm512_dpbusd_epi32(sum, reinterpret_cast<__m512i>(quants), _mm512_set1_epi32(four));
  }
  __attribute__((always_inline)) I finish() const { return reinterpret_cast<I>(sum); }
#elif defined(__AVX2__)
  // vpmaddubsw adds two products in int16 with saturation. Quants of 4, 5 and 6 bits leave room for 8, 4 and 2 such sums
  // (15 * 127 * 2 * 8 = 30,480; 31 * 127 * 2 * 4 = 31,496; 63 * 127 * 2 * 2 = 32,004) before widening. Eight-bit quants
  // go in as magnitudes (at most 128), their signs moved to the activations: 128 * 127 * 2 = 32,512.
  static constexpr bool wide = offset == 128;
  static constexpr int steps = wide ? 1 : format.bits == QuantBits::four ? 8 : format.bits == QuantBits::five ? 4 : 2;
  __m256i sum;
  __m256i narrow;
  __attribute__((always_inline)) void start(int32_t negativeSum) {
    sum = wide || offset == 0 ? _mm256_setzero_si256()
                              : reinterpret_cast<__m256i>(broadcastInt(negativeSum) << __builtin_ctz(offset | 1 << 30));
  }
  __attribute__((always_inline)) void add(Bytes quants, const int8_t* activations, int chunk) {
    int32_t four;
    memcpy(&four, activations, 4);
    const __m256i a = _mm256_set1_epi32(four);
    const __m256i ones = _mm256_set1_epi16(1);
    if (wide) {
      const __m256i q = reinterpret_cast<__m256i>(quants ^ 0x80);
      const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
      return;
    }
    const __m256i pairs = _mm256_maddubs_epi16(reinterpret_cast<__m256i>(quants), a);
    narrow = chunk % steps == 0 ? pairs : _mm256_add_epi16(narrow, pairs);
    if (chunk % steps == steps - 1) sum = _mm256_add_epi32(sum, _mm256_madd_epi16(narrow, ones));
  }
  __attribute__((always_inline)) I finish() const { return reinterpret_cast<I>(sum); }
#else
  I sum;
  __attribute__((always_inline)) void start(int32_t negativeSum) { sum = broadcastInt(negativeSum * offset); }
  __attribute__((always_inline)) void add(Bytes quants, const int8_t* activations, int) {
    int32_t four;
    memcpy(&four, activations, 4);
    // Columns 0 and 2 of each lane in `even`, 1 and 3 in `odd`, as 16-bit numbers.
    const SignedWords even = reinterpret_cast<SignedWords>(reinterpret_cast<Words>(quants) & 0xff);
    const SignedWords odd = reinterpret_cast<SignedWords>(reinterpret_cast<Words>(quants) >> 8);
    const SignedWords a = reinterpret_cast<SignedWords>(broadcastInt(four));
    const SignedWords aEven = (a << 8) >> 8;
    const SignedWords aOdd = a >> 8;
#if defined(__SSE2__)
    sum += reinterpret_cast<I>(
        _mm_add_epi32(_mm_madd_epi16(reinterpret_cast<__m128i>(even), reinterpret_cast<__m128i>(aEven)),
                      _mm_madd_epi16(reinterpret_cast<__m128i>(odd), reinterpret_cast<__m128i>(aOdd))));
#else
    // One product fits 16 bits: 255 * 127 = 32,385.
    const I first = reinterpret_cast<I>(even * aEven);
    const I second = reinterpret_cast<I>(odd * aOdd);
    sum += ((first << 16) >> 16) + (first >> 16) + ((second << 16) >> 16) + (second >> 16);
#endif
  }
  __attribute__((always_inline)) I finish() const { return sum; }
#endif
};

}  // namespace UNICORN_LEVEL
}  // namespace unicorn
