// Functions of one float to a few units in the last place on every device: Vulkan promises 3 + 2|x| units of exp, 2^-11 of
// sin and cos, and nothing of tanh. `precise` keeps compilers from rearranging them. It does not keep NaN: of a comparison
// and a selection they may make a minimum, which loses it. So wherever values are compared, NaN is taken past by its bits.
// Needs memory.glsl.

// 2^n for n in [-126, 127].
float powerOfTwo(int n) {
  return uintBitsToFloat(uint(n + 127) << 23);
}

// e^x: x = n ln 2 + r, |r| <= ln 2 / 2, with ln 2 in two parts of which the first times n is exact, and the polynomial of
// Cephes' expf for e^r. Within 2 units. No fma where the parts meet: Mesa does not keep `precise` for it, and adds them up.
float exactExp(float x) {
  precise float clamped = x > 89.0 ? 89.0 : (x < -104.0 ? -104.0 : x);
  precise float n = floor(fma(clamped, 1.44269504, 0.5));
  precise float r = clamped - n * 0.693359375;
  r = r + n * 2.12194440e-4;
  precise float p = fma(1.9875691500e-4, r, 1.3981999507e-3);
  p = fma(p, r, 8.3334519073e-3);
  p = fma(p, r, 4.1665795894e-2);
  p = fma(p, r, 1.6666665459e-1);
  p = fma(p, r, 5.0000001201e-1);
  p = fma(p, r * r, r);
  p = p + 1.0;
  // In two steps, since 2^n itself may be out of range.
  int exponent = clamp(int(n), -150, 130);
  int first = exponent / 2;
  precise float y = p * powerOfTwo(first);
  y = y * powerOfTwo(exponent - first);
  return isNaN(x) ? x : y;
}

// 1 - 2 / (e^2|x| + 1), and near 0, where that cancels, the polynomial of Cephes' tanhf.
float exactTanh(float x) {
  precise float size = abs(x);
  precise float y;
  if (size < 0.625) {
    precise float s = x * x;
    y = fma(-5.70498872745e-3, s, 2.06390887954e-2);
    y = fma(y, s, -5.37397155531e-2);
    y = fma(y, s, 1.33314422036e-1);
    y = fma(y, s, -3.33332819422e-1);
    y = fma(y * s, x, x);
    return y;
  }
  // From 10 on it is 1 in f32.
  precise float e = exactExp(size > 10.0 ? 20.0 : 2.0 * size);
  y = 1.0 - 2.0 / (e + 1.0);
  return isNaN(x) ? x : x < 0.0 ? -y : y;
}

float exactSigmoid(float x) {
  precise float y = 1.0 / (1.0 + exactExp(-x));
  return y;
}

// As `ActivationKind` of the graph: numbers are those of `activationCodes` in src/kernel/elementwise.ts.
#define ACTIVATION_SILU 0u
#define ACTIVATION_GELU_TANH 1u
#define ACTIVATION_RELU 2u
#define ACTIVATION_TANH 3u
#define ACTIVATION_SIGMOID 4u

float activate(uint kind, float x) {
  precise float y;
  switch (kind) {
    case ACTIVATION_SILU:
      y = x / (1.0 + exactExp(-x));
      break;
    case ACTIVATION_GELU_TANH: {
      // 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))); for x below -1e12 its cube is infinite, and tanh -1.
      precise float inner = 0.79788456 * fma(0.044715 * x * x, x, x);
      y = 0.5 * x * (1.0 + exactTanh(inner));
      break;
    }
    case ACTIVATION_RELU:
      // NaN stays, and -0 becomes 0.
      y = x > 0.0 || isNaN(x) ? x : 0.0;
      break;
    case ACTIVATION_TANH:
      y = exactTanh(x);
      break;
    default:
      y = exactSigmoid(x);
  }
  return y;
}

float softcapped(float x, float cap) {
  precise float y = cap * exactTanh(x / cap);
  return y;
}

// Words of 2 / pi after the point, most significant first.
const uint twoOverPi[6] = uint[](0xA2F9836Eu, 0x4E441529u, 0xFC2757D1u, 0xF534DDC0u, 0xDB629599u, 0x3C439041u);

// 32 bits of 2 / pi that begin at bit `start` after the point; bits before it (start < 0) are 0.
uint twoOverPiBits(int start) {
  int word = start >> 5;
  int shift = start & 31;
  uint high = word >= 0 && word < 6 ? twoOverPi[word] : 0u;
  uint low = word >= -1 && word < 5 ? twoOverPi[word + 1] : 0u;
  return shift == 0 ? high : (high << shift) | (low >> (32 - shift));
}

// (cos x, sin x), each within 2^-23, however large x is: the multiple of pi / 2 is taken off in integers (Payne and Hanek
// 1983), then the polynomials of Cephes' sinf and cosf serve for |r| <= pi / 4.
vec2 exactCosSin(float x) {
  uint bits = floatBitsToUint(x);
  uint exponent = (bits >> 23) & 255u;
  if (exponent == 255u) return vec2(uintBitsToFloat(0x7fc00000u));
  precise float r = abs(x);
  uint quadrant = 0u;
  if (r > 0.78539816) {
    // |x| = m 2^e. Of m 2^e (2 / pi) mod 4 are wanted 2 bits before and 30 after the point: with the product's bits from
    // 2^1 down. Bits of 2 / pi of weight 2^-j contribute from j = e - 1 on: earlier ones make multiples of 4.
    uint m = (bits & 0x7fffffu) | 0x800000u;
    int e = int(exponent) - 150;
    // 2 / pi from weight 2^-(e - 1) on, as a 96-bit number: bit j of weight 2^-j lies at index j - 1.
    int start = e - 2;
    uint h = twoOverPiBits(start);
    uint mid = twoOverPiBits(start + 32);
    uint low = twoOverPiBits(start + 64);
    // m * (h, mid, low), of which the 64 bits above `low`'s place are kept; whole multiples of 4 overflow.
    uint p0Low, p0High, p1Low, p1High;
    umulExtended(m, low, p0High, p0Low);
    umulExtended(m, mid, p1High, p1Low);
    uint carry;
    uint fraction = uaddCarry(p1Low, p0High, carry);
    uint top = m * h + p1High + carry;
    // `top` has 2 bits before the point: quarter turns, in units of 2^-30; rounded to the nearest.
    quadrant = ((top >> 29) + 1u) >> 1;
    int rest = int(top - (quadrant << 30));
    // rest + fraction 2^-32, in units of 2^-30 quarter turns.
    r = (float(rest) + float(fraction >> 8) * 5.9604644775390625e-8) * 1.4629180792671596e-9;
  }
  precise float s = r * r;
  precise float sine = fma(fma(fma(-1.9515295891e-4, s, 8.3321608736e-3), s, -1.6666654611e-1) * s, r, r);
  precise float cosine =
      fma(fma(fma(2.443315711809948e-5, s, -1.388731625493765e-3), s, 4.166664568298827e-2) * s, s, fma(-0.5, s, 1.0));
  vec2 turned = (quadrant & 1u) == 0u ? vec2(cosine, sine) : vec2(sine, cosine);
  // Quadrants 1 and 2 have a negative cosine, 2 and 3 a negative sine.
  if (((quadrant + 1u) & 2u) != 0u) turned.x = -turned.x;
  if ((quadrant & 2u) != 0u) turned.y = -turned.y;
  if (x < 0.0) turned.y = -turned.y;
  return turned;
}
