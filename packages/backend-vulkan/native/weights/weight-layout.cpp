// Raw GGUF rows to planes. Formats of the blocks: packages/tensor/src/format.
#include "weight-layout.h"

#include <cstring>

namespace unicorn {

namespace {

// Positions in `dtypes` of packages/tensor/src/dtype.ts.
enum DTypeIndex : int32_t {
  f32 = 1,
  f16 = 2,
  bf16 = 3,
  i32 = 5,
  q4_0 = 13,
  q4_1 = 14,
  q5_0 = 15,
  q5_1 = 16,
  q8_0 = 17,
  q4_k = 20,
  q5_k = 21,
  q6_k = 22,
  iq4_nl = 30,
};

// A block format and what it is in each plane: bytes for 32 columns (quants, high) or for a block (scales, supers).
struct BlockFormat {
  int blockColumns;
  int blockBytes;
  int quants;
  int high;
  int scales;
  int supers;
};

bool blockFormat(int32_t dtype, BlockFormat* format) {
  switch (dtype) {
    case q4_0:
    case iq4_nl: *format = {32, 18, 16, 0, 2, 0}; return true;
    case q4_1: *format = {32, 20, 16, 0, 4, 0}; return true;
    case q5_0: *format = {32, 22, 16, 4, 2, 0}; return true;
    case q5_1: *format = {32, 24, 16, 4, 4, 0}; return true;
    case q8_0: *format = {32, 34, 32, 0, 2, 0}; return true;
    case q4_k: *format = {256, 144, 16, 0, 16, 4}; return true;
    case q5_k: *format = {256, 176, 16, 4, 16, 4}; return true;
    case q6_k: *format = {256, 210, 16, 8, 16, 2}; return true;
  }
  return false;
}

int64_t elementBytes(int32_t dtype) {
  switch (dtype) {
    case f32:
    case i32: return 4;
    case f16:
    case bf16: return 2;
  }
  return 0;
}

int64_t align16(int64_t bytes) { return (bytes + 15) / 16 * 16; }

uint32_t word(const uint8_t* p) {
  uint32_t value;
  std::memcpy(&value, p, 4);
  return value;
}

void putWord(uint8_t* p, uint32_t value) { std::memcpy(p, &value, 4); }

uint64_t longWord(const uint8_t* p) {
  uint64_t value;
  std::memcpy(&value, p, 8);
  return value;
}

void putLongWord(uint8_t* p, uint64_t value) { std::memcpy(p, &value, 8); }

// Bit i of `bits` (column i) to bit i / 4 % 4 (+ 4 for the upper 16 columns) of byte i % 4.
uint32_t spreadFifthBits(uint32_t bits) {
  uint32_t out = 0;
  for (int j = 0; j < 8; j++) {
    // Four bits to the lowest of four bytes: copies at distance 7 do not overlap.
    out |= ((((bits >> (4 * j)) & 15) * 0x00204081u) & 0x01010101u) << j;
  }
  return out;
}

// K types keep a group of 32 in the low and the next in the high nibbles of 32 bytes. Takes one group: columns i and
// 16 + i into byte i.
void regroupNibbles(const uint8_t* run, bool upper, uint8_t* out) {
  constexpr uint64_t low = 0x0f0f0f0f0f0f0f0full;
  for (int i = 0; i < 16; i += 8) {
    const uint64_t first = longWord(run + i);
    const uint64_t second = longWord(run + 16 + i);
    putLongWord(out + i, upper ? ((first >> 4) & low) | (second & ~low) : (first & low) | ((second & low) << 4));
  }
}

// Eight (scale, min) pairs from twelve bytes.
void sixBitScales(const uint8_t* scales, uint8_t* out) {
  for (int group = 0; group < 4; group++) {
    out[2 * group] = scales[group] & 63;
    out[2 * group + 1] = scales[4 + group] & 63;
    out[2 * group + 8] = static_cast<uint8_t>((scales[8 + group] & 15) | ((scales[group] >> 2) & 48));
    out[2 * group + 9] = static_cast<uint8_t>((scales[8 + group] >> 4) | ((scales[4 + group] >> 2) & 48));
  }
}

// Where the next block of a row goes in each plane.
struct Cursor {
  uint8_t* quants;
  uint8_t* high;
  uint8_t* scales;
  uint8_t* supers;
};

// Blocks of 32 with `scaleBytes` (scale, or scale and min), then `highBytes`, then quants: as stored, cut apart.
template <int scaleBytes, int highBytes, int quantBytes>
void splitBlocks(const uint8_t* source, int64_t blocks, Cursor to) {
  for (int64_t b = 0; b < blocks; b++, source += scaleBytes + highBytes + quantBytes) {
    std::memcpy(to.scales + scaleBytes * b, source, scaleBytes);
    if (highBytes == 4) putWord(to.high + 4 * b, spreadFifthBits(word(source + scaleBytes)));
    std::memcpy(to.quants + quantBytes * b, source + scaleBytes + highBytes, quantBytes);
  }
}

void splitQ4K(const uint8_t* source, int64_t blocks, Cursor to) {
  for (int64_t b = 0; b < blocks; b++, source += 144) {
    std::memcpy(to.supers + 4 * b, source, 4);
    sixBitScales(source + 4, to.scales + 16 * b);
    for (int sub = 0; sub < 8; sub++) {
      regroupNibbles(source + 16 + 32 * (sub >> 1), sub & 1, to.quants + 16 * (8 * b + sub));
    }
  }
}

void splitQ5K(const uint8_t* source, int64_t blocks, Cursor to) {
  for (int64_t b = 0; b < blocks; b++, source += 176) {
    std::memcpy(to.supers + 4 * b, source, 4);
    sixBitScales(source + 4, to.scales + 16 * b);
    for (int sub = 0; sub < 8; sub++) {
      regroupNibbles(source + 48 + 32 * (sub >> 1), sub & 1, to.quants + 16 * (8 * b + sub));
      // Bit `sub` of byte i is the fifth bit of column i.
      uint32_t high = 0;
      for (int j = 0; j < 8; j++) high |= ((word(source + 16 + 4 * j) >> sub) & 0x01010101u) << j;
      putWord(to.high + 4 * (8 * b + sub), high);
    }
  }
}

void splitQ6K(const uint8_t* source, int64_t blocks, Cursor to) {
  for (int64_t b = 0; b < blocks; b++, source += 210) {
    std::memcpy(to.supers + 2 * b, source + 208, 2);
    std::memcpy(to.scales + 16 * b, source + 192, 16);
    for (int sub = 0; sub < 8; sub++) {
      const uint8_t* part = source + 64 * (sub >> 2);
      const int run = sub & 3;
      regroupNibbles(part + 32 * (run & 1), run >= 2, to.quants + 16 * (8 * b + sub));
      // Bits 2 run and 2 run + 1 of byte i are the upper bits of column i.
      const uint8_t* upper = source + 128 + 32 * (sub >> 2);
      for (int half = 0; half < 2; half++) {
        uint32_t high = 0;
        for (int j = 0; j < 4; j++) {
          high |= ((word(upper + 16 * half + 4 * j) >> (2 * run)) & 0x03030303u) << (2 * j);
        }
        putWord(to.high + 8 * (8 * b + sub) + 4 * half, high);
      }
    }
  }
}

void splitRow(int32_t dtype, const uint8_t* source, int64_t blocks, Cursor to) {
  switch (dtype) {
    case q4_0:
    case iq4_nl: return splitBlocks<2, 0, 16>(source, blocks, to);
    case q4_1: return splitBlocks<4, 0, 16>(source, blocks, to);
    case q5_0: return splitBlocks<2, 4, 16>(source, blocks, to);
    case q5_1: return splitBlocks<4, 4, 16>(source, blocks, to);
    case q8_0: return splitBlocks<2, 0, 32>(source, blocks, to);
    case q4_k: return splitQ4K(source, blocks, to);
    case q5_k: return splitQ5K(source, blocks, to);
    case q6_k: return splitQ6K(source, blocks, to);
  }
}

}  // namespace

bool weightLayout(int32_t dtype, int64_t rows, int64_t columns, WeightLayout* layout) {
  if (rows < 0 || columns < 0) return false;
  *layout = {};
  layout->dtype = dtype;
  layout->rows = rows;
  layout->columns = columns;
  const auto plane = [&](int64_t rowBytes) {
    layout->planes[layout->planeCount++] = {layout->byteLength, rowBytes};
    layout->byteLength = align16(layout->byteLength + rows * rowBytes);
  };
  BlockFormat format;
  if (blockFormat(dtype, &format)) {
    if (columns % format.blockColumns != 0) return false;
    const int64_t blocks = columns / format.blockColumns;
    const int64_t groups = columns / 32;
    layout->inPlanes = true;
    layout->sourceRowBytes = blocks * format.blockBytes;
    plane(groups * format.quants);
    if (format.high > 0) plane(groups * format.high);
    plane(blocks * format.scales);
    if (format.supers > 0) plane(blocks * format.supers);
    return true;
  }
  const int64_t size = elementBytes(dtype);
  if (size == 0) return false;
  layout->sourceRowBytes = size * columns;
  plane(align16(size * columns));
  return true;
}

void layOutRows(const WeightLayout& layout, const uint8_t* source, int64_t rowBegin, int64_t rowEnd,
                uint8_t* const targets[maximumPlanes]) {
  const int64_t count = rowEnd - rowBegin;
  if (!layout.inPlanes) {
    const int64_t bytes = layout.sourceRowBytes;
    const int64_t stride = layout.planes[0].rowBytes;
    if (bytes == stride) {
      if (count > 0 && bytes > 0) std::memcpy(targets[0], source, static_cast<size_t>(count * bytes));
      return;
    }
    for (int64_t row = 0; row < count; row++) {
      std::memcpy(targets[0] + row * stride, source + row * bytes, static_cast<size_t>(bytes));
      std::memset(targets[0] + row * stride + bytes, 0, static_cast<size_t>(stride - bytes));
    }
    return;
  }
  BlockFormat format;
  blockFormat(layout.dtype, &format);
  const int64_t blocks = layout.columns / format.blockColumns;
  for (int64_t row = 0; row < count; row++) {
    int next = 0;
    const auto at = [&](int bytes) -> uint8_t* {
      if (bytes == 0) return nullptr;
      const int plane = next++;
      return targets[plane] + row * layout.planes[plane].rowBytes;
    };
    Cursor to;
    to.quants = at(format.quants);
    to.high = at(format.high);
    to.scales = at(format.scales);
    to.supers = at(format.supers);
    splitRow(layout.dtype, source + row * layout.sourceRowBytes, blocks, to);
  }
}

int64_t stagedBytes(const WeightLayout& layout, int64_t count) {
  int64_t bytes = 0;
  for (int i = 0; i < layout.planeCount; i++) bytes += align16(count * layout.planes[i].rowBytes);
  return bytes;
}

int layOutStaged(const WeightLayout& layout, const uint8_t* source, int64_t rowBegin, int64_t rowEnd, uint8_t* staging,
                 PlaneCopy copies[maximumPlanes]) {
  uint8_t* targets[maximumPlanes] = {};
  int64_t offset = 0;
  for (int i = 0; i < layout.planeCount; i++) {
    const WeightPlane& plane = layout.planes[i];
    const int64_t bytes = (rowEnd - rowBegin) * plane.rowBytes;
    copies[i] = {offset, plane.byteOffset + rowBegin * plane.rowBytes, bytes};
    targets[i] = staging + offset;
    offset += align16(bytes);
  }
  layOutRows(layout, source, rowBegin, rowEnd, targets);
  return layout.planeCount;
}

}  // namespace unicorn
