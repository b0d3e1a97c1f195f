// Unsigned 64-bit integers as (low, high), for sums that must not depend on their order.

uvec2 wideAdd(uvec2 a, uvec2 b) {
  uint carry;
  uint low = uaddCarry(a.x, b.x, carry);
  return uvec2(low, a.y + b.y + carry);
}

// a - b, where a >= b.
uvec2 wideSubtract(uvec2 a, uvec2 b) {
  uint borrow;
  uint low = usubBorrow(a.x, b.x, borrow);
  return uvec2(low, a.y - b.y - borrow);
}

bool wideLess(uvec2 a, uvec2 b) {
  return a.y < b.y || (a.y == b.y && a.x < b.x);
}

// floor(a * fraction / 2^32).
uvec2 wideScale(uvec2 a, uint fraction) {
  uint highOfLow, lowOfLow, highOfHigh, lowOfHigh;
  umulExtended(a.x, fraction, highOfLow, lowOfLow);
  umulExtended(a.y, fraction, highOfHigh, lowOfHigh);
  return wideAdd(uvec2(lowOfHigh, highOfHigh), uvec2(highOfLow, 0u));
}

float wideFloat(uvec2 a) {
  return fma(float(a.y), 4294967296.0, float(a.x));
}

// The sum over a subgroup: by 16-bit limbs, which cannot overflow.
uvec2 wideSubgroupAdd(uvec2 a) {
  uvec4 limbs = subgroupAdd(uvec4(a.x & 0xffffu, a.x >> 16, a.y & 0xffffu, a.y >> 16));
  uvec2 sum = uvec2(limbs.x, 0u);
  sum = wideAdd(sum, uvec2(limbs.y << 16, limbs.y >> 16));
  return wideAdd(sum, uvec2(0u, limbs.z + (limbs.w << 16)));
}
