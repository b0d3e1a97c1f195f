// Packing at speed: what `packGroups` (packed-weights.cpp) does one row after the other, for 16 rows at once. Its heart is
// the transposition of 4 by 4 words of 32 bits: a row's word is four columns, and a packed plane wants the same four
// columns of all rows side by side. Everything else is bytewise and happens after it, on whole planes.
// Scalar twin: `packGroups`, bit for bit; it also packs a last group that has fewer rows.
#include "../packed-format.h"
#include "level.h"
#include "simd.h"

namespace unicorn {
namespace UNICORN_LEVEL {

namespace {

typedef uint32_t Quad __attribute__((vector_size(16)));  // four words: of one row, or one of four rows
typedef uint8_t QuadBytes __attribute__((vector_size(16)));
typedef uint32_t UnalignedQuad __attribute__((vector_size(16), aligned(1), may_alias));

#if defined(__clang__)
#define UNICORN_SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define UNICORN_SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, type{__VA_ARGS__})
#endif

UNICORN_INLINE Quad loadQuad(const uint8_t* p) { return *reinterpret_cast<const UnalignedQuad*>(p); }
UNICORN_INLINE void storeQuad(uint8_t* p, Quad v) { *reinterpret_cast<UnalignedQuad*>(p) = v; }

UNICORN_INLINE uint32_t loadWord(const uint8_t* p) {
  uint32_t word;
  memcpy(&word, p, 4);
  return word;
}

// Word i of each of four rows, in rows[i].
UNICORN_INLINE void transpose(Quad (&rows)[4]) {
  const Quad low01 = UNICORN_SHUFFLE(Quad, rows[0], rows[1], 0, 4, 1, 5);
  const Quad high01 = UNICORN_SHUFFLE(Quad, rows[0], rows[1], 2, 6, 3, 7);
  const Quad low23 = UNICORN_SHUFFLE(Quad, rows[2], rows[3], 0, 4, 1, 5);
  const Quad high23 = UNICORN_SHUFFLE(Quad, rows[2], rows[3], 2, 6, 3, 7);
  rows[0] = UNICORN_SHUFFLE(Quad, low01, low23, 0, 1, 4, 5);
  rows[1] = UNICORN_SHUFFLE(Quad, low01, low23, 2, 3, 6, 7);
  rows[2] = UNICORN_SHUFFLE(Quad, high01, high23, 0, 1, 4, 5);
  rows[3] = UNICORN_SHUFFLE(Quad, high01, high23, 2, 3, 6, 7);
}

// Byte i of each word, in word i: the transposition within four words of four bytes.
UNICORN_INLINE Quad gatherBytes(Quad v) {
  const QuadBytes bytes = reinterpret_cast<QuadBytes>(v);
  return reinterpret_cast<Quad>(
      UNICORN_SHUFFLE(QuadBytes, bytes, bytes, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
}

// 16 words, one of each row, in as many vectors as the level needs.
constexpr int parts = groupRows / W;
typedef uint32_t Part __attribute__((vector_size(4 * W)));
typedef uint32_t UnalignedPart __attribute__((vector_size(4 * W), aligned(1), may_alias));
struct Plane {
  Part part[parts];
};

UNICORN_INLINE void storePlane(uint8_t* out, const Plane& plane) {
  for (int i = 0; i < parts; i++) *reinterpret_cast<UnalignedPart*>(out + 4 * W * i) = plane.part[i];
}

// 16 bytes from each of the rows 0, 4, 8 ... of a part, one to a quarter of the vector.
UNICORN_INLINE Part loadRows(const uint8_t* source, int64_t stride) {
#if defined(__AVX512VNNI__)
  const auto row = [=](int r) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + r * stride)); };
  const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(row(0)), row(4), 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(row(8)), row(12), 1);
  return reinterpret_cast<Part>(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
#elif defined(__AVX2__)
  const auto row = [=](int r) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + r * stride)); };
  return reinterpret_cast<Part>(_mm256_inserti128_si256(_mm256_castsi128_si256(row(0)), row(4), 1));
#else
  (void)stride;
  return loadQuad(source);
#endif
}

#if defined(__AVX512VNNI__)
#define UNICORN_UNPACK(which, a, b) \
  reinterpret_cast<Part>(_mm512_unpack##which(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)))
#elif defined(__AVX2__)
#define UNICORN_UNPACK(which, a, b) \
  reinterpret_cast<Part>(_mm256_unpack##which(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)))
#endif

// 16 bytes of each of 16 rows: word j of all rows in planes[j].
UNICORN_INLINE void loadPlanes(const uint8_t* source, int64_t stride, Plane (&planes)[4]) {
  for (int i = 0; i < parts; i++, source += W * stride) {
    Part rows[4];
    for (int r = 0; r < 4; r++) rows[r] = loadRows(source + r * stride, stride);
#if defined(__AVX2__)
    const Part low01 = UNICORN_UNPACK(lo_epi32, rows[0], rows[1]);
    const Part high01 = UNICORN_UNPACK(hi_epi32, rows[0], rows[1]);
    const Part low23 = UNICORN_UNPACK(lo_epi32, rows[2], rows[3]);
    const Part high23 = UNICORN_UNPACK(hi_epi32, rows[2], rows[3]);
    rows[0] = UNICORN_UNPACK(lo_epi64, low01, low23);
    rows[1] = UNICORN_UNPACK(hi_epi64, low01, low23);
    rows[2] = UNICORN_UNPACK(lo_epi64, high01, high23);
    rows[3] = UNICORN_UNPACK(hi_epi64, high01, high23);
#else
    transpose(rows);
#endif
    for (int j = 0; j < 4; j++) planes[j].part[i] = rows[j];
  }
}

// One word of each of 16 rows.
UNICORN_INLINE Plane loadWords(const uint8_t* source, int64_t stride) {
  uint32_t words[groupRows];
  for (int r = 0; r < groupRows; r++) words[r] = loadWord(source + r * stride);
  Plane plane;
  memcpy(&plane, words, sizeof plane);
  return plane;
}

// A 16-bit number of each of 16 rows, four to a word so that reading them back does not wait for many small stores.
UNICORN_INLINE void copyHalves(const uint8_t* source, int64_t stride, uint8_t* out) {
  for (int q = 0; q < 4; q++) {
    uint64_t four = 0;
    for (int r = 0; r < 4; r++) {
      uint16_t half;
      memcpy(&half, source + (4 * q + r) * stride, 2);
      four |= static_cast<uint64_t>(half) << (16 * r);
    }
    memcpy(out + 8 * q, &four, 8);
  }
}

constexpr uint32_t lowNibbleBits = 0x0f0f0f0f;
constexpr uint32_t highNibbleBits = 0xf0f0f0f0;

// ---- blocks of 32 columns

// The fifth bits of 32 columns, a word for each row: nibble c of the words of two rows becomes byte c of the pair.
UNICORN_INLINE void packFifthBits(const uint8_t* source, int64_t stride, uint8_t* out) {
  Quad even[2], odd[2];
  for (int i = 0; i < 2; i++) {
    const uint8_t* at = source + 8 * i * stride;
    const Quad first = {loadWord(at), loadWord(at + 2 * stride), loadWord(at + 4 * stride), loadWord(at + 6 * stride)};
    const Quad second = {loadWord(at + stride), loadWord(at + 3 * stride), loadWord(at + 5 * stride),
                         loadWord(at + 7 * stride)};
    even[i] = gatherBytes((first & lowNibbleBits) | ((second << 4) & highNibbleBits));
    odd[i] = gatherBytes(((first >> 4) & lowNibbleBits) | (second & highNibbleBits));
  }
  // Now word k is chunk 2 k (or 2 k + 1) of four pairs of rows; a chunk's 8 bytes are one word of each half.
  const Quad evenLow = UNICORN_SHUFFLE(Quad, even[0], even[1], 0, 4, 1, 5);
  const Quad evenHigh = UNICORN_SHUFFLE(Quad, even[0], even[1], 2, 6, 3, 7);
  const Quad oddLow = UNICORN_SHUFFLE(Quad, odd[0], odd[1], 0, 4, 1, 5);
  const Quad oddHigh = UNICORN_SHUFFLE(Quad, odd[0], odd[1], 2, 6, 3, 7);
  storeQuad(out, UNICORN_SHUFFLE(Quad, evenLow, oddLow, 0, 1, 4, 5));
  storeQuad(out + 16, UNICORN_SHUFFLE(Quad, evenLow, oddLow, 2, 3, 6, 7));
  storeQuad(out + 32, UNICORN_SHUFFLE(Quad, evenHigh, oddHigh, 0, 1, 4, 5));
  storeQuad(out + 48, UNICORN_SHUFFLE(Quad, evenHigh, oddHigh, 2, 3, 6, 7));
}

template <DType type>
UNICORN_INLINE void packSimple(const uint8_t* raw, int64_t stride, uint8_t* out) {
  constexpr PackedFormat format = packedFormat(type);
  constexpr int highFrom = format.mins ? 4 : 2;  // behind the scale, and the minimum
  constexpr int quantsFrom = highFrom + (format.bits == QuantBits::five ? 4 : 0);
  constexpr int runs = format.bits == QuantBits::eight ? 2 : 1;
  for (int run = 0; run < runs; run++) {
    Plane planes[4];
    loadPlanes(raw + quantsFrom + 16 * run, stride, planes);
    for (int j = 0; j < 4; j++) {
      if constexpr (format.bits == QuantBits::eight) {
        for (Part& part : planes[j].part) part ^= 0x80808080;  // signed to unsigned
      }
      storePlane(out + 256 * run + 64 * j, planes[j]);
    }
  }
  if constexpr (format.bits == QuantBits::five) packFifthBits(raw + highFrom, stride, out + format.highAt());
  copyHalves(raw, stride, out + format.scalesAt());
  if constexpr (format.mins) copyHalves(raw + 2, stride, out + format.minsAt());
}

// ---- blocks of 256 columns

// Two sub-blocks of K types: 32 bytes of each row, one sub-block in their low nibbles, another in the high ones.
UNICORN_INLINE void packNibblePair(const uint8_t* source, int64_t stride, uint8_t* low, uint8_t* high) {
  Plane first[4], second[4];  // columns 0 ... 15 and 16 ... 31
  loadPlanes(source, stride, first);
  loadPlanes(source + 16, stride, second);
  for (int j = 0; j < 4; j++) {
    Plane lows, highs;
    for (int i = 0; i < parts; i++) {
      const Part a = first[j].part[i];
      const Part b = second[j].part[i];
      lows.part[i] = (a & lowNibbleBits) | ((b << 4) & highNibbleBits);
      highs.part[i] = ((a >> 4) & lowNibbleBits) | (b & highNibbleBits);
    }
    storePlane(low + 64 * j, lows);
    storePlane(high + 64 * j, highs);
  }
}

// The top bits of 64 bytes, in order.
UNICORN_INLINE uint64_t topBits(const Plane& plane) {
#if defined(__AVX512VNNI__)
  return _mm512_movepi8_mask(reinterpret_cast<__m512i>(plane.part[0]));
#else
  uint64_t bits = 0;
  for (int i = 0; i < parts; i++) {
#if defined(__AVX2__)
    const uint64_t some = static_cast<uint32_t>(_mm256_movemask_epi8(reinterpret_cast<__m256i>(plane.part[i])));
#elif defined(__SSE2__)
    const uint64_t some = static_cast<uint32_t>(_mm_movemask_epi8(reinterpret_cast<__m128i>(plane.part[i])));
#else
    // The lowest bits of four bytes, gathered in the topmost nibble by one multiplication.
    const Quad nibbles = (((plane.part[i] >> 7) & 0x01010101) * 0x10204080) >> 28;
    const uint64_t some = nibbles[0] | nibbles[1] << 4 | nibbles[2] << 8 | nibbles[3] << 12;
#endif
    bits |= some << (4 * W * i);
  }
  return bits;
#endif
}

// The packed block of a K type, by its parts.
template <DType type>
struct SuperBlock {
  static constexpr PackedFormat format = packedFormat(type);
  uint8_t* block;

  uint8_t* sub(int s) const { return block + format.headerBytes() + s * format.subBytes(); }

  // Byte i of each row's word, to `at` in sub-block first + step * i.
  void storeScales(const Plane& words, int64_t at, int first, int step) const {
    uint8_t bytes[64];
    storePlane(bytes, words);
    Quad rows[4];
    for (int q = 0; q < 4; q++) rows[q] = gatherBytes(loadQuad(bytes + 16 * q));
    transpose(rows);
    for (int i = 0; i < 4; i++) storeQuad(sub(first + step * i) + at, rows[i]);
  }
};

// Eight scales and eight minimums of six bits in twelve bytes, as q4_k and q5_k have them behind d and dmin.
template <DType type>
UNICORN_INLINE void packSixBitScales(const uint8_t* raw, int64_t stride, const SuperBlock<type>& out) {
  constexpr PackedFormat format = packedFormat(type);
  Plane words[4];
  loadPlanes(raw, stride, words);
  Plane scales[2], mins[2];  // of sub-blocks 0 ... 3 and 4 ... 7
  for (int i = 0; i < parts; i++) {
    const Part low = words[1].part[i];
    const Part middle = words[2].part[i];
    const Part high = words[3].part[i];
    scales[0].part[i] = low & 0x3f3f3f3f;
    mins[0].part[i] = middle & 0x3f3f3f3f;
    scales[1].part[i] = (high & lowNibbleBits) | ((low >> 2) & 0x30303030);
    mins[1].part[i] = ((high >> 4) & lowNibbleBits) | ((middle >> 2) & 0x30303030);
  }
  for (int half = 0; half < 2; half++) {
    out.storeScales(scales[half], format.scalesAt(), 4 * half, 1);
    out.storeScales(mins[half], format.minsAt(), 4 * half, 1);
  }
  copyHalves(raw, stride, out.block);
  copyHalves(raw + 2, stride, out.block + 32);
}

UNICORN_INLINE void packQ4K(const uint8_t* raw, int64_t stride, uint8_t* block) {
  const SuperBlock<DType::q4_k> out = {block};
  packSixBitScales(raw, stride, out);
  for (int pair = 0; pair < 4; pair++) {
    packNibblePair(raw + 16 + 32 * pair, stride, out.sub(2 * pair), out.sub(2 * pair + 1));
  }
}

UNICORN_INLINE void packQ5K(const uint8_t* raw, int64_t stride, uint8_t* block) {
  const SuperBlock<DType::q5_k> out = {block};
  packSixBitScales(raw, stride, out);
  for (int pair = 0; pair < 4; pair++) {
    packNibblePair(raw + 48 + 32 * pair, stride, out.sub(2 * pair), out.sub(2 * pair + 1));
  }
  // Bit s of a byte is the fifth bit of a column in sub-block s.
  for (int run = 0; run < 2; run++) {
    Plane planes[4];
    loadPlanes(raw + 16 + 16 * run, stride, planes);
    for (int j = 0; j < 4; j++) {
      for (int s = 0; s < 8; s++) {
        Plane shifted;
        for (int i = 0; i < parts; i++) shifted.part[i] = planes[j].part[i] << (7 - s);
        const uint64_t bits = topBits(shifted);
        memcpy(out.sub(s) + out.format.highAt() + 8 * (4 * run + j), &bits, 8);
      }
    }
  }
}

UNICORN_INLINE void packQ6K(const uint8_t* raw, int64_t stride, uint8_t* block) {
  const SuperBlock<DType::q6_k> out = {block};
  constexpr PackedFormat format = packedFormat(DType::q6_k);
  for (int part = 0; part < 2; part++) {
    for (int run = 0; run < 2; run++) {
      packNibblePair(raw + 64 * part + 32 * run, stride, out.sub(4 * part + run), out.sub(4 * part + run + 2));
    }
    // Bits 2 r and 2 r + 1 of a byte belong to a column of sub-block r. Chunks 2 f + h, f = 0 ... 3, share a byte.
    Plane first[4], second[4];
    loadPlanes(raw + 128 + 32 * part, stride, first);
    loadPlanes(raw + 144 + 32 * part, stride, second);
    for (int r = 0; r < 4; r++) {
      for (int h = 0; h < 2; h++) {
        Plane high;
        for (int i = 0; i < parts; i++) {
          const auto bits = [=](const Plane& plane) { return (plane.part[i] >> (2 * r)) & 0x03030303; };
          high.part[i] = bits(first[h]) | bits(first[2 + h]) << 2 | bits(second[h]) << 4 | bits(second[2 + h]) << 6;
        }
        storePlane(out.sub(4 * part + r) + format.highAt() + 64 * h, high);
      }
    }
  }
  // Scale 2 s + side, one byte each.
  Plane words[4];
  loadPlanes(raw + 192, stride, words);
  for (int j = 0; j < 4; j++) {
    uint8_t bytes[64];
    storePlane(bytes, words[j]);
    Quad rows[4];
    for (int q = 0; q < 4; q++) rows[q] = gatherBytes(loadQuad(bytes + 16 * q));
    transpose(rows);
    for (int i = 0; i < 4; i++) storeQuad(out.sub(2 * j + i / 2) + format.scalesAt() + 16 * (i & 1), rows[i]);
  }
  copyHalves(raw + 208, stride, block);
}

UNICORN_INLINE void packIq4Xs(const uint8_t* raw, int64_t stride, uint8_t* block) {
  const SuperBlock<DType::iq4_xs> out = {block};
  constexpr PackedFormat format = packedFormat(DType::iq4_xs);
  for (int s = 0; s < 8; s++) {
    Plane planes[4];
    loadPlanes(raw + 8 + 16 * s, stride, planes);
    for (int j = 0; j < 4; j++) storePlane(out.sub(s) + 64 * j, planes[j]);
  }
  // Six bits less 32: nibble s of the second word, and bits 2 s and 2 s + 1 of the first word's upper half.
  const Plane first = loadWords(raw, stride);
  const Plane second = loadWords(raw + 4, stride);
  const auto spread = [](Part high) {  // bits 0, 1, 4, 5, 8, 9, 12, 13 to bits 4 and 5 of each byte
    return ((high << 4) & 0x30) | ((high << 8) & 0x3000) | ((high << 12) & 0x300000) | ((high << 16) & 0x30000000);
  };
  // Less 32 in each byte of at most 63: 32 flips bit 5, and what was below wraps into bits 6 and 7.
  const auto less32 = [](Part v) { return (v ^ 0x20202020) | ((~v & 0x20202020) << 1) | ((~v & 0x20202020) << 2); };
  Plane even, odd;
  for (int i = 0; i < parts; i++) {
    even.part[i] = less32((second.part[i] & lowNibbleBits) | spread(first.part[i] >> 16));
    odd.part[i] = less32(((second.part[i] >> 4) & lowNibbleBits) | spread(first.part[i] >> 18));
  }
  out.storeScales(even, format.scalesAt(), 0, 2);
  out.storeScales(odd, format.scalesAt(), 1, 2);
  copyHalves(raw, stride, block);
}

template <DType type>
void packBlocksOf(const uint8_t* raw, int64_t stride, int64_t blocks, uint8_t* packed) {
  constexpr PackedFormat format = packedFormat(type);
  const int64_t rawBytes = dtypeLayout(type).blockBytes;
  for (int64_t b = 0; b < blocks; b++, raw += rawBytes, packed += format.blockBytes()) {
    if constexpr (type == DType::q4_k) {
      packQ4K(raw, stride, packed);
    } else if constexpr (type == DType::q5_k) {
      packQ5K(raw, stride, packed);
    } else if constexpr (type == DType::q6_k) {
      packQ6K(raw, stride, packed);
    } else if constexpr (type == DType::iq4_xs) {
      packIq4Xs(raw, stride, packed);
    } else {
      packSimple<type>(raw, stride, packed);
    }
  }
}

}  // namespace

void packBlocks(DType dtype, const uint8_t* raw, int64_t rowStrideBytes, int64_t blocks, uint8_t* packed) {
  UNICORN_WITH_PACKED_TYPE(dtype, packBlocksOf<type>(raw, rowStrideBytes, blocks, packed))
}

void pack(DType dtype, const uint8_t* source, int64_t rowStrideBytes, int64_t rows, int64_t columns, int64_t groupBegin,
          int64_t groupEnd, uint8_t* packed) {
  const int64_t whole = minimum(groupEnd, rows / groupRows);
  const int64_t blocks = columns / packedBlockSize(dtype);
  for (int64_t group = groupBegin; group < whole; group++) {
    packBlocks(dtype, source + group * groupRows * rowStrideBytes, rowStrideBytes, blocks,
               packed + group * packedGroupBytes(dtype, columns));
  }
  packGroups(dtype, source, rowStrideBytes, rows, columns, maximum(groupBegin, whole), groupEnd, packed);
}

}  // namespace UNICORN_LEVEL
}  // namespace unicorn
