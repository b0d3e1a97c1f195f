// The logarithm of one float to a few units in the last place on every device: Vulkan promises an error of 2^-21 near 1.
// Needs memory.glsl.

// ln x of a positive, normal x: x = m 2^e with m in [sqrt(1/2), sqrt(2)), and the polynomial of Cephes' logf for ln m. NaN stays.
float exactLog(float x) {
  uint bits = floatBitsToUint(x);
  // With m in [1/2, 1) at first.
  int exponent = int(bits >> 23) - 126;
  precise float m = uintBitsToFloat((bits & 0x7fffffu) | 0x3f000000u);
  if (m < 0.70710678) {
    exponent -= 1;
    m = m + m;
  }
  precise float r = m - 1.0;
  precise float s = r * r;
  precise float p = fma(7.0376836292e-2, r, -1.1514610310e-1);
  p = fma(p, r, 1.1676998740e-1);
  p = fma(p, r, -1.2420140846e-1);
  p = fma(p, r, 1.4249322787e-1);
  p = fma(p, r, -1.6668057665e-1);
  p = fma(p, r, 2.0000714765e-1);
  p = fma(p, r, -2.4999993993e-1);
  p = fma(p, r, 3.3333331174e-1);
  precise float y = p * r * s;
  y = y + float(exponent) * -2.12194440e-4;
  y = y - 0.5 * s;
  y = r + y;
  y = y + float(exponent) * 0.693359375;
  return isNaN(x) ? x : y;
}
