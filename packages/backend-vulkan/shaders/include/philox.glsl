// Philox4x32-10 (Salmon et al. 2011), the twin of philox.ts of @unicorn-exec/tensor.

// The 24 bits of the draw for a position of a sequence: the draw is so many 2^-24.
uint uniformBitsAt(uint seedLow, uint seedHigh, uint position) {
  uvec4 c = uvec4(position, 0u, 0u, 0u);
  uint k0 = seedLow;
  uint k1 = seedHigh;
  for (uint round_ = 0; round_ < 10u; ++round_) {
    uint high0, low0, high1, low1;
    umulExtended(0xd2511f53u, c.x, high0, low0);
    umulExtended(0xcd9e8d57u, c.z, high1, low1);
    c = uvec4(high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0);
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  return c.x >> 8;
}
