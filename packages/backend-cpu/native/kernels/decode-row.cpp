// Scalar decode of every element type to f32: the slow twin of every kernel that reads weights, and the path of the
// formats that have no packed form. The meaning of each block is documented in packages/tensor/src/format, file by file.
//
// Everything is f32: an f16 scale (11 significant bits) times integer scale times quant has at most 24 bits, so products
// are exact, and the only rounding is the one addition or subtraction of a minimum.
#include <cmath>
#include <cstring>

#include "iq-grid.h"
#include "kernels.h"

namespace unicorn {

namespace {

template <typename T>
T read(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

float half(const uint8_t* p) { return halfToFloat(read<uint16_t>(p)); }

int nibble(const uint8_t* p, int index) { return (p[index >> 1] >> (4 * (index & 1))) & 15; }

// ---- scalar types: one element each

template <typename T>
void decodeNumber(const uint8_t* p, float* out) {
  *out = static_cast<float>(read<T>(p));
}

void decodeF16(const uint8_t* p, float* out) { *out = half(p); }
void decodeBf16(const uint8_t* p, float* out) { *out = bfloatToFloat(read<uint16_t>(p)); }
void decodeBool(const uint8_t* p, float* out) { *out = *p == 0 ? 0.0f : 1.0f; }

// ---- blocks of 32 (legacy-block.ts)

void decodeQ4_0(const uint8_t* p, float* out) {
  const float d = half(p);
  for (int i = 0; i < 16; i++) {
    out[i] = d * static_cast<float>((p[2 + i] & 15) - 8);
    out[16 + i] = d * static_cast<float>((p[2 + i] >> 4) - 8);
  }
}

void decodeQ4_1(const uint8_t* p, float* out) {
  const float d = half(p);
  const float m = half(p + 2);
  for (int i = 0; i < 16; i++) {
    out[i] = d * static_cast<float>(p[4 + i] & 15) + m;
    out[16 + i] = d * static_cast<float>(p[4 + i] >> 4) + m;
  }
}

int fiveBits(const uint8_t* quants, uint32_t high, int i) {
  const int low = i < 16 ? quants[i] & 15 : quants[i - 16] >> 4;
  return low | static_cast<int>((high >> i) & 1) << 4;
}

void decodeQ5_0(const uint8_t* p, float* out) {
  const float d = half(p);
  const uint32_t high = read<uint32_t>(p + 2);
  for (int i = 0; i < 32; i++) out[i] = d * static_cast<float>(fiveBits(p + 6, high, i) - 16);
}

void decodeQ5_1(const uint8_t* p, float* out) {
  const float d = half(p);
  const float m = half(p + 2);
  const uint32_t high = read<uint32_t>(p + 4);
  for (int i = 0; i < 32; i++) out[i] = d * static_cast<float>(fiveBits(p + 8, high, i)) + m;
}

void decodeQ8_0(const uint8_t* p, float* out) {
  const float d = half(p);
  for (int i = 0; i < 32; i++) out[i] = d * static_cast<float>(static_cast<int8_t>(p[2 + i]));
}

// ---- K types (k-block.ts)

void decodeQ2K(const uint8_t* p, float* out) {
  const float d = half(p + 80);
  const float dmin = half(p + 82);
  for (int group = 0; group < 16; group++, out += 16) {
    const float scale = d * static_cast<float>(p[group] & 15);
    const float min = dmin * static_cast<float>(p[group] >> 4);
    const uint8_t* q = p + 16 + 32 * (group >> 3) + 16 * (group & 1);
    for (int i = 0; i < 16; i++) out[i] = scale * static_cast<float>((q[i] >> (group & 6)) & 3) - min;
  }
}

void decodeQ3K(const uint8_t* p, float* out) {
  const float d = half(p + 108);
  const uint8_t* scales = p + 96;
  for (int group = 0; group < 16; group++, out += 16) {
    const int low = (scales[group & 7] >> (group < 8 ? 0 : 4)) & 15;
    const int high = (scales[8 + (group & 3)] >> (2 * (group >> 2))) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    const uint8_t* q = p + 32 + 32 * (group >> 3) + 16 * (group & 1);
    const uint8_t* mask = p + 16 * (group & 1);
    for (int i = 0; i < 16; i++) {
      const int value = ((q[i] >> (group & 6)) & 3) - 4 + (((mask[i] >> (group >> 1)) & 1) << 2);
      out[i] = scale * static_cast<float>(value);
    }
  }
}

int sixBitScale(const uint8_t* scales, int group) {
  return group < 4 ? scales[group] & 63 : (scales[4 + group] & 15) | ((scales[group - 4] >> 2) & 48);
}

int sixBitMin(const uint8_t* scales, int group) {
  return group < 4 ? scales[4 + group] & 63 : (scales[4 + group] >> 4) | ((scales[group] >> 2) & 48);
}

void decodeQ4K(const uint8_t* p, float* out) {
  const float d = half(p);
  const float dmin = half(p + 2);
  for (int group = 0; group < 8; group++, out += 32) {
    const float scale = d * static_cast<float>(sixBitScale(p + 4, group));
    const float min = dmin * static_cast<float>(sixBitMin(p + 4, group));
    const uint8_t* q = p + 16 + 32 * (group >> 1);
    for (int i = 0; i < 32; i++) out[i] = scale * static_cast<float>((q[i] >> (4 * (group & 1))) & 15) - min;
  }
}

void decodeQ5K(const uint8_t* p, float* out) {
  const float d = half(p);
  const float dmin = half(p + 2);
  for (int group = 0; group < 8; group++, out += 32) {
    const float scale = d * static_cast<float>(sixBitScale(p + 4, group));
    const float min = dmin * static_cast<float>(sixBitMin(p + 4, group));
    const uint8_t* q = p + 48 + 32 * (group >> 1);
    for (int i = 0; i < 32; i++) {
      const int value = ((q[i] >> (4 * (group & 1))) & 15) | ((p[16 + i] >> group) & 1) << 4;
      out[i] = scale * static_cast<float>(value) - min;
    }
  }
}

void decodeQ6K(const uint8_t* p, float* out) {
  const float d = half(p + 208);
  for (int group = 0; group < 16; group++, out += 16) {
    // Group = half of 128 (8 groups), run of 32 in it (2 groups), side of 16.
    const int part = group >> 3;
    const int run = (group >> 1) & 3;
    const uint8_t* low = p + 64 * part + 32 * (run & 1) + 16 * (group & 1);
    const uint8_t* high = p + 128 + 32 * part + 16 * (group & 1);
    const float scale = d * static_cast<float>(static_cast<int8_t>(p[192 + group]));
    for (int i = 0; i < 16; i++) {
      const int value = ((low[i] >> (run < 2 ? 0 : 4)) & 15) | ((high[i] >> (2 * run)) & 3) << 4;
      out[i] = scale * static_cast<float>(value - 32);
    }
  }
}

// ---- IQ types (iq-block.ts)

constexpr float nonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// Seven stored sign bits; the eighth makes the number of minus signs even.
uint32_t paritySigns(uint32_t bits) { return bits | static_cast<uint32_t>(__builtin_parity(bits)) << 7; }

constexpr float levelsIq1[4] = {-1, 0, 1, 0};
constexpr float levelsIq2[4] = {8, 25, 43, 0};
constexpr float levelsIq3Xxs[16] = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr float levelsIq3S[16] = {1, 3, 5, 7, 9, 11, 13, 15};

void putEight(uint16_t point, uint32_t signs, float scale, float* out) {
  for (int i = 0; i < 8; i++) {
    const float value = scale * levelsIq2[(point >> (2 * i)) & 3];
    out[i] = (signs >> i) & 1 ? -value : value;
  }
}

void putFour(uint16_t point, const float* levels, uint32_t signs, float scale, float* out) {
  for (int i = 0; i < 4; i++) {
    const float value = scale * levels[(point >> (4 * i)) & 15];
    out[i] = (signs >> i) & 1 ? -value : value;
  }
}

void putShifted(uint16_t point, float delta, float scale, float* out) {
  for (int i = 0; i < 8; i++) out[i] = scale * (levelsIq1[(point >> (2 * i)) & 3] + delta);
}

void decodeIq4Nl(const uint8_t* p, float* out) {
  const float d = half(p);
  for (int i = 0; i < 16; i++) {
    out[i] = d * nonLinear[p[2 + i] & 15];
    out[16 + i] = d * nonLinear[p[2 + i] >> 4];
  }
}

void decodeIq4Xs(const uint8_t* p, float* out) {
  const float d = half(p);
  const uint32_t scalesHigh = read<uint16_t>(p + 2);
  for (int group = 0; group < 8; group++, out += 32) {
    const int scaleBits = nibble(p + 4, group) | static_cast<int>((scalesHigh >> (2 * group)) & 3) << 4;
    const float scale = d * static_cast<float>(scaleBits - 32);
    const uint8_t* q = p + 8 + 16 * group;
    for (int i = 0; i < 16; i++) {
      out[i] = scale * nonLinear[q[i] & 15];
      out[16 + i] = scale * nonLinear[q[i] >> 4];
    }
  }
}

void decodeIq2Xxs(const uint8_t* p, float* out) {
  const float d = half(p);
  for (int group = 0; group < 8; group++) {
    const uint8_t* at = p + 2 + 8 * group;
    const uint32_t word = read<uint32_t>(at + 4);
    const float scale = d * (0.5f + static_cast<float>(word >> 28)) * 0.25f;
    for (int i = 0; i < 4; i++, out += 8) {
      putEight(iq2xxsGrid[at[i]], paritySigns((word >> (7 * i)) & 127), scale, out);
    }
  }
}

void decodeIq2Xs(const uint8_t* p, float* out) {
  const float d = half(p);
  for (int i = 0; i < 32; i++, out += 8) {
    const uint32_t q = read<uint16_t>(p + 2 + 2 * i);
    const float scale = d * (0.5f + static_cast<float>(nibble(p + 66, i >> 1))) * 0.25f;
    putEight(iq2xsGrid[q & 511], paritySigns(q >> 9), scale, out);
  }
}

void decodeIq2S(const uint8_t* p, float* out) {
  const float d = half(p);
  for (int i = 0; i < 32; i++, out += 8) {
    const int high = (p[66 + (i >> 2)] >> (2 * (i & 3))) & 3;
    const float scale = d * (0.5f + static_cast<float>(nibble(p + 74, i >> 1))) * 0.25f;
    putEight(iq2sGrid[p[2 + i] | high << 8], p[34 + i], scale, out);
  }
}

void decodeIq3Xxs(const uint8_t* p, float* out) {
  const float d = half(p);
  for (int group = 0; group < 8; group++) {
    const uint32_t word = read<uint32_t>(p + 66 + 4 * group);
    const float scale = d * (0.5f + static_cast<float>(word >> 28)) * 0.5f;
    for (int i = 0; i < 4; i++, out += 8) {
      const uint8_t* at = p + 2 + 8 * group + 2 * i;
      const uint32_t signs = paritySigns((word >> (7 * i)) & 127);
      putFour(iq3xxsGrid[at[0]], levelsIq3Xxs, signs, scale, out);
      putFour(iq3xxsGrid[at[1]], levelsIq3Xxs, signs >> 4, scale, out + 4);
    }
  }
}

void decodeIq3S(const uint8_t* p, float* out) {
  const float d = half(p);
  for (int i = 0; i < 32; i++, out += 8) {
    const int high = p[66 + (i >> 2)] >> (2 * (i & 3));
    const float scale = d * static_cast<float>(1 + 2 * nibble(p + 106, i >> 2));
    const uint32_t signs = p[74 + i];
    putFour(iq3sGrid[p[2 + 2 * i] | (high & 1) << 8], levelsIq3S, signs, scale, out);
    putFour(iq3sGrid[p[3 + 2 * i] | (high & 2) << 7], levelsIq3S, signs >> 4, scale, out + 4);
  }
}

constexpr float iq1Delta = 0.125f;

void decodeIq1S(const uint8_t* p, float* out) {
  const float d = half(p);
  for (int group = 0; group < 8; group++) {
    const int high = read<uint16_t>(p + 34 + 2 * group);
    const float scale = d * static_cast<float>(2 * ((high >> 12) & 7) + 1);
    const float delta = high & 0x8000 ? -iq1Delta : iq1Delta;
    for (int i = 0; i < 4; i++, out += 8) {
      putShifted(iq1Grid[p[2 + 4 * group + i] | ((high >> (3 * i)) & 7) << 8], delta, scale, out);
    }
  }
}

void decodeIq1M(const uint8_t* p, float* out) {
  int pattern = 0;
  for (int i = 0; i < 4; i++) pattern |= (p[49 + 2 * i] >> 4) << (4 * i);
  const float d = halfToFloat(static_cast<uint16_t>(pattern));
  for (int i = 0; i < 32; i++, out += 8) {
    const int scales = read<uint16_t>(p + 48 + 2 * (i >> 3));
    const float scale = d * static_cast<float>(2 * ((scales >> (3 * ((i >> 1) & 3))) & 7) + 1);
    const int high = nibble(p + 32, i);
    putShifted(iq1Grid[p[i] | (high & 7) << 8], high & 8 ? -iq1Delta : iq1Delta, scale, out);
  }
}

// ---- ternary types (ternary-block.ts)

float* putDigits(const uint8_t* p, int run, int digits, float d, float* out) {
  int power = 1;
  for (int digit = 0; digit < digits; digit++, out += run, power *= 3) {
    for (int i = 0; i < run; i++) out[i] = d * static_cast<float>(((((p[i] * power) & 255) * 3) >> 8) - 1);
  }
  return out;
}

void decodeTq1_0(const uint8_t* p, float* out) {
  const float d = half(p + 52);
  out = putDigits(p, 32, 5, d, out);
  out = putDigits(p + 32, 16, 5, d, out);
  putDigits(p + 48, 4, 4, d, out);
}

void decodeTq2_0(const uint8_t* p, float* out) {
  const float d = half(p + 64);
  for (int run = 0; run < 64; run += 32) {
    for (int shift = 0; shift < 8; shift += 2, out += 32) {
      for (int i = 0; i < 32; i++) out[i] = d * static_cast<float>(((p[run + i] >> shift) & 3) - 1);
    }
  }
}

// ---- four-bit floats (fp4-block.ts): values doubled, scales halved

constexpr float doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void decodeMxfp4(const uint8_t* p, float* out) {
  const float d = std::ldexp(1.0f, p[0] - 128);
  for (int i = 0; i < 16; i++) {
    out[i] = d * doubled[p[1 + i] & 15];
    out[16 + i] = d * doubled[p[1 + i] >> 4];
  }
}

float ue4m3Half(int pattern) {
  if (pattern == 0x7f) return 0;
  const int exponent = (pattern >> 3) & 15;
  const int fraction = pattern & 7;
  return exponent == 0 ? std::ldexp(static_cast<float>(fraction), -10)
                       : std::ldexp(static_cast<float>(8 + fraction), exponent - 11);
}

void decodeNvfp4(const uint8_t* p, float* out) {
  for (int part = 0; part < 4; part++, out += 16) {
    const float d = ue4m3Half(p[part]);
    const uint8_t* q = p + 4 + 8 * part;
    for (int i = 0; i < 8; i++) {
      out[i] = d * doubled[q[i] & 15];
      out[8 + i] = d * doubled[q[i] >> 4];
    }
  }
}

using BlockDecoder = void (*)(const uint8_t*, float*);

// clang-format off
constexpr BlockDecoder decoders[dtypeCount] = {
    decodeNumber<double>,  decodeNumber<float>,    decodeF16,             decodeBf16,
    decodeNumber<int64_t>, decodeNumber<int32_t>,  decodeNumber<int16_t>, decodeNumber<int8_t>,
    decodeNumber<uint64_t>, decodeNumber<uint32_t>, decodeNumber<uint16_t>, decodeNumber<uint8_t>,
    decodeBool,            decodeQ4_0,             decodeQ4_1,            decodeQ5_0,
    decodeQ5_1,            decodeQ8_0,             decodeQ2K,             decodeQ3K,
    decodeQ4K,             decodeQ5K,              decodeQ6K,             decodeIq1S,
    decodeIq1M,            decodeIq2Xxs,           decodeIq2Xs,           decodeIq2S,
    decodeIq3Xxs,          decodeIq3S,             decodeIq4Nl,           decodeIq4Xs,
    decodeTq1_0,           decodeTq2_0,            decodeMxfp4,           decodeNvfp4,
};
// clang-format on

}  // namespace

void decodeRow(DType dtype, const uint8_t* source, int64_t count, float* out) {
  if (dtype == DType::f32) {  // a copy keeps every bit, NaN payloads included
    std::memcpy(out, source, static_cast<size_t>(count) * 4);
    return;
  }
  const BlockDecoder decodeBlock = decoders[static_cast<int32_t>(dtype)];
  const DTypeLayout layout = dtypeLayout(dtype);
  for (int64_t i = 0; i < count; i += layout.blockSize, source += layout.blockBytes) decodeBlock(source, out + i);
}

}  // namespace unicorn
