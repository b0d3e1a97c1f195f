// Reads stored weights as src/weights/weight-layout.ts lays them out, by the type that DTYPE names. A group is 32 columns of a
// row, the unit that has a scale. Needs memory.glsl.
#extension GL_EXT_control_flow_attributes : require

#define F32 1
#define F16 2
#define BF16 3
#define Q4_0 13
#define Q4_1 14
#define Q5_0 15
#define Q5_1 16
#define Q8_0 17
#define Q4_K 20
#define Q5_K 21
#define Q6_K 22
#define IQ4_NL 30

#define PLANES (DTYPE >= Q4_0)

// Bytes of an element of types without planes.
#if DTYPE == F32
#define ELEMENT_BYTES 4
#else
#define ELEMENT_BYTES 2
#endif

// 16-byte vectors of quants in a group.
#if DTYPE == Q8_0
#define QUANT_VECTORS 2
#else
#define QUANT_VECTORS 1
#endif

// Words of a group in the plane of high bits.
#if DTYPE == Q6_K
#define HIGH_WORDS 2
#elif DTYPE == Q5_0 || DTYPE == Q5_1 || DTYPE == Q5_K
#define HIGH_WORDS 1
#else
#define HIGH_WORDS 0
#endif

// One f16 for 256 columns, and small integers for their groups.
#define SUPERS (DTYPE == Q4_K || DTYPE == Q5_K || DTYPE == Q6_K)
#define MINIMUMS (DTYPE == Q4_1 || DTYPE == Q5_1 || DTYPE == Q4_K || DTYPE == Q5_K)
// Two scales a group: one for each 16 columns.
#define PAIRS (DTYPE == Q6_K)

// What is to be taken off a quant; nothing where it is signed as it comes out of `unpack`.
#if DTYPE == Q4_0
#define QUANT_OFFSET 8
#elif DTYPE == Q5_0
#define QUANT_OFFSET 16
#elif DTYPE == Q6_K
#define QUANT_OFFSET 32
#else
#define QUANT_OFFSET 0
#endif

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer Vectors {
  uvec4 at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer WordPairsIn {
  uvec2 at[];
};

layout(buffer_reference, scalar, buffer_reference_align = 4) readonly buffer StoredWords {
  uint at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) readonly buffer StoredHalves {
  uint16_t at[];
};

// The f16 in the lower or upper half of a word, exactly; subnormal ones too, which scales of K types often are.
float lowHalf(uint word) {
  return unpackHalf2x16(word).x;
}
float highHalf(uint word) {
  return unpackHalf2x16(word).y;
}

#if PLANES

// A stored matrix: indices of the planes from its start, in the units in which they are read.
struct Matrix {
  Vectors start;
  uint rowGroups;  // groups of a stored row
  uint high;       // in words
  uint scales;     // in f16s, pairs of them, or (K types) vectors
  uint supers;     // in f16s or pairs of them
};

Matrix matrixAt(Vectors start, uint rows, uint columns) {
  Matrix m;
  m.start = start;
  m.rowGroups = columns / 32u;
  uint groups = rows * m.rowGroups;
  uint vectors = groups * QUANT_VECTORS;
  m.high = 4u * vectors;
  vectors += (groups * HIGH_WORDS + 3u) / 4u;
#if SUPERS
  m.scales = vectors;
  vectors += groups / 8u;
#endif
  uint last = MINIMUMS ? 4u * vectors : 8u * vectors;
#if SUPERS
  m.supers = last;
#else
  m.scales = last;
#endif
  return m;
}

// A group as it lies in memory, so that several can be on their way before the first is used.
struct RawGroup {
  uvec4 quants[QUANT_VECTORS];
#if HIGH_WORDS == 2
  uvec2 high;
#elif HIGH_WORDS == 1
  uint high;
#endif
  uint scales;  // bits of the f16 or pair; K types: two small integers
#if SUPERS
  uint supers;
#endif
};

RawGroup loadGroup(Matrix m, uint row, uint group) {
  RawGroup raw;
  uint index = row * m.rowGroups + group;
#if QUANT_VECTORS == 2
  raw.quants[0] = m.start.at[2u * index];
  raw.quants[1] = m.start.at[2u * index + 1u];
#else
  raw.quants[0] = m.start.at[index];
#endif
#if HIGH_WORDS == 2
  raw.high = WordPairsIn(m.start).at[m.high / 2u + index];
#elif HIGH_WORDS == 1
  raw.high = StoredWords(m.start).at[m.high + index];
#endif
#if SUPERS
  raw.scales = uint(StoredHalves(m.start).at[8u * m.scales + index]);
#if MINIMUMS
  raw.supers = StoredWords(m.start).at[m.supers + index / 8u];
#else
  raw.supers = uint(StoredHalves(m.start).at[m.supers + index / 8u]);
#endif
#elif MINIMUMS
  raw.scales = StoredWords(m.start).at[m.scales + index];
#else
  raw.scales = uint(StoredHalves(m.start).at[m.scales + index]);
#endif
  return raw;
}

// Scale of columns 0 to 15 and 16 to 31. Exact: an f16 times a small integer.
vec2 groupScales(RawGroup raw) {
#if PAIRS
  float super = lowHalf(raw.supers);
  int both = int(raw.scales);
  return vec2(super * float(bitfieldExtract(both, 0, 8)), super * float(bitfieldExtract(both, 8, 8)));
#elif SUPERS
  return vec2(lowHalf(raw.supers) * float(raw.scales & 255u));
#else
  return vec2(lowHalf(raw.scales));
#endif
}

// What is added to every scaled quant.
float groupMinimum(RawGroup raw) {
#if !MINIMUMS
  return 0.0;
#elif SUPERS
  return -(highHalf(raw.supers) * float(raw.scales >> 8));
#else
  return highHalf(raw.scales);
#endif
}

#if DTYPE == IQ4_NL
// The value of the type for a nibble, as a byte, out of four words: -127, -104, -83, -65; -49, -35, -22, -10; 1, 13, 25,
// 38; 53, 69, 89, 113. Selections, since neighbours that index a table differently wait for each other.
uint valueOf(uint nibble) {
  uint negative = (nibble & 4u) == 0u ? 0xbfad9881u : 0xf6eaddcfu;
  uint positive = (nibble & 4u) == 0u ? 0x26190d01u : 0x71594535u;
  return (((nibble & 8u) == 0u ? negative : positive) >> (8u * (nibble & 3u))) & 255u;
}

uint lookUp(uint nibbles) {
  return valueOf(nibbles & 15u) | (valueOf((nibbles >> 8) & 15u) << 8) | (valueOf((nibbles >> 16) & 15u) << 16) |
         (valueOf(nibbles >> 24) << 24);
}
#endif

// Columns 4 word to 4 word + 3 of the group as bytes, before QUANT_OFFSET is taken off. `word` is a constant.
uint unpack(RawGroup raw, uint word) {
#if DTYPE == Q8_0
  return raw.quants[word / 4u][word & 3u];
#else
  uint quants = (raw.quants[0][word & 3u] >> (word < 4u ? 0 : 4)) & 0x0f0f0f0fu;
#if HIGH_WORDS == 1
  quants |= ((raw.high >> word) & 0x01010101u) << 4;
#elif HIGH_WORDS == 2
  quants |= ((raw.high[word / 4u] >> (2u * (word & 3u))) & 0x03030303u) << 4;
#endif
#if DTYPE == IQ4_NL
  quants = lookUp(quants);
#endif
  return quants;
#endif
}

// Columns 4 word to 4 word + 3 as numbers: one rounding, where there is a minimum, as the scalar decoder has.
vec4 decode(RawGroup raw, uint word, float scale, float minimum) {
  uint quants = unpack(raw, word);
#if DTYPE == Q8_0 || DTYPE == IQ4_NL
  int q = int(quants);
  vec4 values = vec4(ivec4(bitfieldExtract(q, 0, 8), bitfieldExtract(q, 8, 8), bitfieldExtract(q, 16, 8), q >> 24));
#else
  vec4 values = vec4(ivec4(quants & 255u, (quants >> 8) & 255u, (quants >> 16) & 255u, quants >> 24) - QUANT_OFFSET);
#endif
#if MINIMUMS
  precise vec4 products = scale * values;
  precise vec4 sums = products + minimum;
  return sums;
#else
  return scale * values;
#endif
}

#else

float elementAt(Vectors start, uint index) {
#if DTYPE == F32
  return FloatsIn(start).at[index];
#elif DTYPE == F16
  return lowHalf(uint(HalvesIn(start).at[index]));
#else
  return uintBitsToFloat(uint(HalvesIn(start).at[index]) << 16);
#endif
}

// Elements of 16 bytes.
#define VECTOR_ELEMENTS (16 / ELEMENT_BYTES)

// Elements `pair` and `pair + 1` of a vector of two-byte types; `pair` is even and a constant.
vec2 twoOf(uvec4 vector, uint pair) {
  uint word = vector[pair / 2u];
#if DTYPE == BF16
  return vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xffff0000u));
#else
  return unpackHalf2x16(word);
#endif
}

#endif
