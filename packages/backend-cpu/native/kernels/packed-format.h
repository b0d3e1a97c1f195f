// Where everything lies in a packed block (kernels.h, "packed weights"), as compile-time constants for the packer, its
// scalar decoder and the kernels.
//
// A packed block covers 16 rows by 32 columns, or by 256 for the K types, as a header and 8 sub-blocks of 32 columns:
//   header     K types: f16 d[16], and f16 dmin[16] where the type has minimums
//   sub-block  low      u8[4][16][4]: byte (j, row, b) holds column 4 j + b in its low nibble, column 16 + 4 j + b in
//                       its high one; 8-bit types: u8[8][16][4], byte (c, row, b) is column 4 c + b
//              high     5 bits: u64[8], bit 4 row + b of word c is the fifth bit of column 4 c + b;
//                       6 bits: u8[2][16][4], byte (c & 1, row, b) holds the two upper bits of column 4 c + b at bit
//                       2 (c >> 1)
//              scales   f16[16]; K types: u8[16] (iq4_xs: i8[16]), q6_k: i8[2][16], first and second 16 columns
//              mins     f16[16]; K types: u8[16]
// "Chunk c" is columns 4 c ... 4 c + 3: one 32-bit lane per row, as int8 dot instructions want it.
#pragma once

#include "kernels.h"

namespace unicorn {

enum class QuantBits : int32_t { four = 4, five = 5, six = 6, eight = 8 };

struct PackedFormat {
  bool exists = false;
  QuantBits bits = QuantBits::four;
  int32_t offset = 0;       // stored quant - offset is the value
  bool table = false;       // quants index the non-linear table, whose values are stored plus `offset`
  bool super = false;       // K types: small integer scales under one f16
  bool mins = false;        // value = scale * quant + min, or scale * quant - min for the K types
  bool pairScales = false;  // one scale for each 16 columns

  constexpr int64_t blockColumns() const { return super ? 256 : 32; }
  constexpr int64_t headerBytes() const { return super ? (mins ? 64 : 32) : 0; }
  constexpr int64_t highAt() const { return bits == QuantBits::eight ? 512 : 256; }
  constexpr int64_t scalesAt() const {
    return highAt() + (bits == QuantBits::five ? 64 : bits == QuantBits::six ? 128 : 0);
  }
  constexpr int64_t scaleBytes() const { return super ? (pairScales ? 32 : 16) : 32; }
  constexpr int64_t minsAt() const { return scalesAt() + scaleBytes(); }
  constexpr int64_t subBytes() const { return minsAt() + (mins ? (super ? 16 : 32) : 0); }
  constexpr int64_t blockBytes() const { return headerBytes() + (super ? 8 : 1) * subBytes(); }
};

// The non-linear values of iq4_nl and iq4_xs plus 128.
static constexpr uint8_t nonLinearTable[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};

static constexpr PackedFormat packedFormat(DType dtype) {
  PackedFormat format;
  format.exists = true;
  switch (dtype) {
    case DType::q4_0: format.offset = 8; break;
    case DType::q4_1: format.mins = true; break;
    case DType::iq4_nl:
      format.table = true;
      format.offset = 128;
      break;
    case DType::q5_0:
      format.bits = QuantBits::five;
      format.offset = 16;
      break;
    case DType::q5_1:
      format.bits = QuantBits::five;
      format.mins = true;
      break;
    case DType::q8_0:
      format.bits = QuantBits::eight;
      format.offset = 128;
      break;
    case DType::q4_k:
      format.super = true;
      format.mins = true;
      break;
    case DType::iq4_xs:
      format.super = true;
      format.table = true;
      format.offset = 128;
      break;
    case DType::q5_k:
      format.super = true;
      format.bits = QuantBits::five;
      format.mins = true;
      break;
    case DType::q6_k:
      format.super = true;
      format.bits = QuantBits::six;
      format.offset = 32;
      format.pairScales = true;
      break;
    default: format.exists = false;
  }
  return format;
}

#define UNICORN_PACKED_CASE(name, body) \
  case DType::name: {                   \
    constexpr DType type = DType::name; \
    body;                               \
    break;                              \
  }

// Calls `body` with the type as the compile-time constant `type`, for every type that has a packed form.
#define UNICORN_WITH_PACKED_TYPE(dtype, body) \
  switch (dtype) {                            \
    UNICORN_PACKED_CASE(q4_0, body)           \
    UNICORN_PACKED_CASE(q4_1, body)           \
    UNICORN_PACKED_CASE(iq4_nl, body)         \
    UNICORN_PACKED_CASE(q5_0, body)           \
    UNICORN_PACKED_CASE(q5_1, body)           \
    UNICORN_PACKED_CASE(q8_0, body)           \
    UNICORN_PACKED_CASE(q4_k, body)           \
    UNICORN_PACKED_CASE(iq4_xs, body)         \
    UNICORN_PACKED_CASE(q5_k, body)           \
    UNICORN_PACKED_CASE(q6_k, body)           \
    default: break;                           \
  }

}  // namespace unicorn
