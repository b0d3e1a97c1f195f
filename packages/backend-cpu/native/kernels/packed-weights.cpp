// Packing: raw rows to groups of 16 interleaved rows (packed-format.h), and the scalar decoder of a packed row. Packing
// moves bits and never rounds, so the decoder gives exactly the values of the raw row.
#include <cstring>

#include "packed-format.h"

namespace unicorn {

namespace {

float half(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return halfToFloat(bits);
}

uint32_t word(const uint8_t* p) {
  uint32_t value;
  std::memcpy(&value, p, 4);
  return value;
}

// One row's share of a sub-block before interleaving: columns i and i + 16 in the nibbles of low[i] (8 bits: columns in
// order), the bits above four in `high` (5 bits: bit i of a u32; 6 bits: a byte for each column).
struct SubRow {
  uint8_t low[32];
  uint8_t high[32];
  uint8_t scale[2];  // f16, or one or two small integers
  uint8_t min[2];
};

// Nibbles of K types: a run of 32 bytes holds one group of 32 in its low and the next in its high nibbles.
void regroupNibbles(const uint8_t* run, bool upper, uint8_t* low) {
  for (int i = 0; i < 16; i++) {
    low[i] = upper ? static_cast<uint8_t>((run[i] >> 4) | (run[i + 16] & 0xf0))
                   : static_cast<uint8_t>((run[i] & 15) | (run[i + 16] << 4));
  }
}

void sixBitScales(const uint8_t* scales, int group, SubRow* out) {
  if (group < 4) {
    out->scale[0] = scales[group] & 63;
    out->min[0] = scales[4 + group] & 63;
  } else {
    out->scale[0] = static_cast<uint8_t>((scales[4 + group] & 15) | ((scales[group - 4] >> 2) & 48));
    out->min[0] = static_cast<uint8_t>((scales[4 + group] >> 4) | ((scales[group] >> 2) & 48));
  }
}

// Row's sub-block `sub` of the raw block at `p` (layouts: packages/tensor/src/format).
void readSubRow(DType dtype, const uint8_t* p, int sub, SubRow* out) {
  switch (dtype) {
    case DType::q4_0:
    case DType::iq4_nl:
      std::memcpy(out->scale, p, 2);
      std::memcpy(out->low, p + 2, 16);
      break;
    case DType::q4_1:
      std::memcpy(out->scale, p, 2);
      std::memcpy(out->min, p + 2, 2);
      std::memcpy(out->low, p + 4, 16);
      break;
    case DType::q5_0:
      std::memcpy(out->scale, p, 2);
      std::memcpy(out->high, p + 2, 4);
      std::memcpy(out->low, p + 6, 16);
      break;
    case DType::q5_1:
      std::memcpy(out->scale, p, 2);
      std::memcpy(out->min, p + 2, 2);
      std::memcpy(out->high, p + 4, 4);
      std::memcpy(out->low, p + 8, 16);
      break;
    case DType::q8_0:
      std::memcpy(out->scale, p, 2);
      for (int i = 0; i < 32; i++) out->low[i] = p[2 + i] ^ 0x80;
      break;
    case DType::q4_k:
      sixBitScales(p + 4, sub, out);
      regroupNibbles(p + 16 + 32 * (sub >> 1), sub & 1, out->low);
      break;
    case DType::iq4_xs: {
      uint16_t scalesHigh;
      std::memcpy(&scalesHigh, p + 2, 2);
      const int low = (p[4 + (sub >> 1)] >> (4 * (sub & 1))) & 15;
      out->scale[0] = static_cast<uint8_t>((low | ((scalesHigh >> (2 * sub)) & 3) << 4) - 32);
      std::memcpy(out->low, p + 8 + 16 * sub, 16);
      break;
    }
    case DType::q5_k: {
      sixBitScales(p + 4, sub, out);
      regroupNibbles(p + 48 + 32 * (sub >> 1), sub & 1, out->low);
      uint32_t high = 0;
      for (int c = 0; c < 8; c++) {
        // The lowest bits of four bytes, gathered in the topmost nibble by one multiplication.
        const uint32_t bits = (word(p + 16 + 4 * c) >> sub) & 0x01010101;
        high |= ((bits * 0x10204080u) >> 28) << (4 * c);
      }
      std::memcpy(out->high, &high, 4);
      break;
    }
    case DType::q6_k: {
      const int part = sub >> 2;
      const int run = sub & 3;
      out->scale[0] = p[192 + 2 * sub];
      out->scale[1] = p[193 + 2 * sub];
      regroupNibbles(p + 64 * part + 32 * (run & 1), run >= 2, out->low);
      for (int i = 0; i < 32; i++) out->high[i] = (p[128 + 32 * part + i] >> (2 * run)) & 3;
      break;
    }
    default: break;
  }
}

// Puts a row's share into the packed sub-block, whose bytes were zero.
void placeSubRow(const PackedFormat& format, const SubRow& in, int row, uint8_t* sub) {
  const int chunks = format.bits == QuantBits::eight ? 8 : 4;
  for (int j = 0; j < chunks; j++) std::memcpy(sub + 64 * j + 4 * row, in.low + 4 * j, 4);
  if (format.bits == QuantBits::five) {
    const uint32_t high = word(in.high);
    for (int c = 0; c < 8; c++) {
      sub[format.highAt() + 8 * c + row / 2] |= static_cast<uint8_t>(((high >> (4 * c)) & 15) << (4 * (row & 1)));
    }
  } else if (format.bits == QuantBits::six) {
    for (int half = 0; half < 2; half++) {
      uint32_t planes = 0;
      for (int plane = 0; plane < 4; plane++) planes |= word(in.high + 8 * plane + 4 * half) << (2 * plane);
      std::memcpy(sub + format.highAt() + 64 * half + 4 * row, &planes, 4);
    }
  }
  if (!format.super) {
    std::memcpy(sub + format.scalesAt() + 2 * row, in.scale, 2);
    if (format.mins) std::memcpy(sub + format.minsAt() + 2 * row, in.min, 2);
    return;
  }
  sub[format.scalesAt() + row] = in.scale[0];
  if (format.pairScales) sub[format.scalesAt() + 16 + row] = in.scale[1];
  if (format.mins) sub[format.minsAt() + row] = in.min[0];
}

// Byte offsets of the f16 scales in a raw K block.
int superScaleAt(DType dtype) { return dtype == DType::q6_k ? 208 : 0; }

template <DType type>
void packGroupsOf(const uint8_t* source, int64_t rowStrideBytes, int64_t rows, int64_t columns, int64_t groupBegin,
                  int64_t groupEnd, uint8_t* packed) {
  constexpr PackedFormat format = packedFormat(type);
  const int64_t rawBytes = dtypeLayout(type).blockBytes;
  const int64_t blocks = columns / format.blockColumns();
  for (int64_t group = groupBegin; group < groupEnd; group++) {
    uint8_t* block = packed + group * packedGroupBytes(type, columns);
    for (int64_t b = 0; b < blocks; b++, block += format.blockBytes()) {
      std::memset(block, 0, format.blockBytes());
      for (int row = 0; row < groupRows && group * groupRows + row < rows; row++) {
        const uint8_t* raw = source + (group * groupRows + row) * rowStrideBytes + b * rawBytes;
        if (format.super) {
          std::memcpy(block + 2 * row, raw + superScaleAt(type), 2);
          if (format.mins) std::memcpy(block + 32 + 2 * row, raw + 2, 2);
        }
        for (int sub = 0; sub < format.blockColumns() / 32; sub++) {
          SubRow line;
          readSubRow(type, raw, sub, &line);
          placeSubRow(format, line, row, block + format.headerBytes() + sub * format.subBytes());
        }
      }
    }
  }
}

int quantAt(const PackedFormat& format, const uint8_t* sub, int row, int column) {
  const int c = column / 4;
  const int b = column & 3;
  if (format.bits == QuantBits::eight) return sub[64 * c + 4 * row + b];
  int quant = (sub[64 * (c & 3) + 4 * row + b] >> (c < 4 ? 0 : 4)) & 15;
  if (format.bits == QuantBits::five) {
    quant |= ((sub[format.highAt() + 8 * c + row / 2] >> (4 * (row & 1) + b)) & 1) << 4;
  } else if (format.bits == QuantBits::six) {
    quant |= ((sub[format.highAt() + 64 * (c & 1) + 4 * row + b] >> (2 * (c >> 1))) & 3) << 4;
  }
  return format.table ? nonLinearTable[quant] : quant;
}

}  // namespace

int64_t packedBlockSize(DType dtype) {
  const PackedFormat format = packedFormat(dtype);
  return format.exists ? format.blockColumns() : 0;
}

bool packable(DType dtype, int64_t rows, int64_t columns) {
  const int64_t block = packedBlockSize(dtype);
  return block > 0 && rows > 0 && columns > 0 && columns % block == 0;
}

int64_t packedGroupBytes(DType dtype, int64_t columns) {
  const PackedFormat format = packedFormat(dtype);
  return columns / format.blockColumns() * format.blockBytes();
}

int64_t packedBytes(DType dtype, int64_t rows, int64_t columns) {
  return groupCount(rows) * packedGroupBytes(dtype, columns);
}

void packGroups(DType dtype, const uint8_t* source, int64_t rowStrideBytes, int64_t rows, int64_t columns,
                int64_t groupBegin, int64_t groupEnd, uint8_t* packed) {
  UNICORN_WITH_PACKED_TYPE(dtype,
                           packGroupsOf<type>(source, rowStrideBytes, rows, columns, groupBegin, groupEnd, packed))
}

void decodePackedRow(DType dtype, const uint8_t* packed, int64_t columns, int64_t row, int64_t count, float* out) {
  const PackedFormat format = packedFormat(dtype);
  const uint8_t* block = packed + row / groupRows * packedGroupBytes(dtype, columns);
  const int lane = static_cast<int>(row % groupRows);
  for (int64_t start = 0; start < count; start += format.blockColumns(), block += format.blockBytes()) {
    for (int64_t s = 0; s < format.blockColumns() / 32; s++, out += 32) {
      const uint8_t* sub = block + format.headerBytes() + s * format.subBytes();
      float scales[2];
      float min = 0;
      if (format.super) {
        const float d = half(block + 2 * lane);
        for (int side = 0; side < 2; side++) {
          const uint8_t stored = sub[format.scalesAt() + (format.pairScales ? 16 * side : 0) + lane];
          scales[side] = d * static_cast<float>(format.mins ? stored : static_cast<int8_t>(stored));
        }
        if (format.mins) min = -half(block + 32 + 2 * lane) * static_cast<float>(sub[format.minsAt() + lane]);
      } else {
        scales[0] = scales[1] = half(sub + format.scalesAt() + 2 * lane);
        if (format.mins) min = half(sub + format.minsAt() + 2 * lane);
      }
      for (int i = 0; i < 32; i++) {
        const float quant = static_cast<float>(quantAt(format, sub, lane, i) - format.offset);
        out[i] = format.mins ? scales[i / 16] * quant + min : scales[i / 16] * quant;
      }
    }
  }
}

}  // namespace unicorn
