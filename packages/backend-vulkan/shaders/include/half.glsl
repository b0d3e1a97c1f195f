// f32 to the bits of f16 and bf16, to nearest and ties to even, as half-float.ts of @unicorn-exec/tensor: the rounding of
// GLSL's own conversions is up to the device.

uint halfBits(float x) {
  uint bits = floatBitsToUint(x);
  uint sign_ = (bits >> 16) & 0x8000u;
  uint size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) {
    uint fraction = (size >> 13) & 0x3ffu;
    return sign_ | 0x7c00u | (fraction == 0u ? 1u : fraction);
  }
  // 65,520 lies midway between the largest half and the next step.
  if (size >= 0x477ff000u) return sign_ | 0x7c00u;
  if (size >= 0x38800000u) {
    uint rebiased = size - (112u << 23);
    return sign_ | ((rebiased + 0xfffu + ((rebiased >> 13) & 1u)) >> 13);
  }
  // 2^-25 is a tie with zero, which is even.
  if (size <= 0x33000000u) return sign_;
  uint significand = (size & 0x7fffffu) | 0x800000u;
  uint shift = 126u - (size >> 23);
  uint kept = significand >> shift;
  uint remainder = significand & ((1u << shift) - 1u);
  uint tie = 1u << (shift - 1u);
  return sign_ | (remainder > tie || (remainder == tie && (kept & 1u) == 1u) ? kept + 1u : kept);
}

uint bfloatBits(float x) {
  uint bits = floatBitsToUint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (bits >> 16) | 0x40u;
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
