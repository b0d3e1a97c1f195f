// Sizes of element types (packages/tensor/src/dtype.ts) and the sixteen-bit floats.
#include <cstring>

#include "kernels.h"

namespace unicorn {

namespace {

struct NamedLayout {
  const char* name;
  DTypeLayout layout;
};

constexpr NamedLayout layouts[dtypeCount] = {
    {"f64", {1, 8}},        {"f32", {1, 4}},        {"f16", {1, 2}},      {"bf16", {1, 2}},       {"i64", {1, 8}},
    {"i32", {1, 4}},        {"i16", {1, 2}},        {"i8", {1, 1}},       {"u64", {1, 8}},        {"u32", {1, 4}},
    {"u16", {1, 2}},        {"u8", {1, 1}},         {"bool", {1, 1}},     {"q4_0", {32, 18}},     {"q4_1", {32, 20}},
    {"q5_0", {32, 22}},     {"q5_1", {32, 24}},     {"q8_0", {32, 34}},   {"q2_k", {256, 84}},    {"q3_k", {256, 110}},
    {"q4_k", {256, 144}},   {"q5_k", {256, 176}},   {"q6_k", {256, 210}}, {"iq1_s", {256, 50}},   {"iq1_m", {256, 56}},
    {"iq2_xxs", {256, 66}}, {"iq2_xs", {256, 74}},  {"iq2_s", {256, 82}}, {"iq3_xxs", {256, 98}}, {"iq3_s", {256, 110}},
    {"iq4_nl", {32, 18}},   {"iq4_xs", {256, 136}}, {"tq1_0", {256, 54}}, {"tq2_0", {256, 66}},   {"mxfp4", {32, 17}},
    {"nvfp4", {64, 36}},
};

float floatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

}  // namespace

DTypeLayout dtypeLayout(DType dtype) { return layouts[static_cast<int32_t>(dtype)].layout; }

const char* dtypeName(DType dtype) { return layouts[static_cast<int32_t>(dtype)].name; }

int64_t rowBytes(DType dtype, int64_t elements) {
  const DTypeLayout layout = dtypeLayout(dtype);
  return elements / layout.blockSize * layout.blockBytes;
}

float halfToFloat(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fff) << 13;
  if (magnitude >= 0x7c00u << 13) return floatOf(sign | magnitude | 0x7f800000);
  // Rebases the exponent from 15 to 127; exact, and it normalizes subnormal halves.
  return floatOf(sign | bitsOf(floatOf(magnitude) * 0x1p112f));
}

uint16_t floatToHalf(float value) {
  const uint32_t bits = bitsOf(value);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) {
    // A NaN whose payload lies only in the dropped bits must not become infinity.
    const uint32_t fraction = (magnitude >> 13) & 0x3ff;
    return static_cast<uint16_t>(sign | 0x7c00 | (fraction == 0 ? 1 : fraction));
  }
  // 65,520 lies midway between the largest half and the next step: from there on it rounds to infinity.
  if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude >= 0x38800000) {
    const uint32_t rebased = magnitude - ((127 - 15) << 23);
    return static_cast<uint16_t>(sign | ((rebased + 0xfff + ((rebased >> 13) & 1)) >> 13));
  }
  // Below 2^-14: adding 0.5 leaves the half's significand, rounded, in the low bits of the float.
  return static_cast<uint16_t>(sign | (bitsOf(floatOf(magnitude) + 0.5f) - 0x3f000000));
}

float bfloatToFloat(uint16_t bits) { return floatOf(static_cast<uint32_t>(bits) << 16); }

uint16_t floatToBfloat(float value) {
  const uint32_t bits = bitsOf(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((static_cast<uint64_t>(bits) + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace unicorn
