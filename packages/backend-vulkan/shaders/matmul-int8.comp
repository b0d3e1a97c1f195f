// The product of few rows of int8 activations with weights in planes, as fast as the weights can be read.
//
// `lanes` neighbours share a row of weights: lane l takes blocks l, l + lanes, ... of 32 columns, and for each
//   sum = fma(float(exact int32 dot), weightScale * activationScale, sum)      (twice where scales cover 16 columns)
//   sum = fma(weightMinimum, activationScale * float(activationSum), sum)      (types with minimums)
// then the sums of neighbours in a subgroup are added as a tree, those of subgroups one after the other. Nothing of this
// depends on the number of activation rows or their order, so a row's result is the same in every batch, bit for bit. Slow
// twin: matmul-float.comp over decoded weights.
//
// A workgroup takes runs of rows, one after the other. The first blocks of the next run are on their way while the sums of
// one are added up.
#version 460
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_integer_dot_product : require
#include "include/chain.glsl"
#include "include/matmul.glsl"

// The arrays of an invocation lie in registers, since their indices are all literals: macros write out what would be loops,
// up to literal bounds, under conditions of specialization constants. Drivers do not unroll long loops, and some keep an
// array in memory as soon as one index is a variable.

layout(local_size_x_id = 0) in;
// Neighbours that share a row within a subgroup, and subgroups that share it: lanes is their product.
layout(constant_id = 6) const uint width = 8;
layout(constant_id = 7) const uint parts = 1;
// Weight rows (of each bank) and activation rows of one invocation.
layout(constant_id = 8) const uint tileRows = 1;
layout(constant_id = 9) const uint tileTokens = 1;
// Blocks of a row that a lane loads before it uses the first; 1 of more than two activation rows, 2 of two, or more lines
// than two.
layout(constant_id = 10) const uint depth = 1;
// Banks of rows: 2 for a gated pair.
layout(constant_id = 11) const uint banks = 1;
// Products of the dispatch.
layout(constant_id = 12) const uint products = 1;

// The most of each that a tile has: `runnableTile` of src/kernel/lane-tile.ts. Line r * banks + bank is row r of a bank.
#define MOST_LINES 4
#define MOST_TOKENS 8
#define MOST_DEPTH 6
#define FEW_TOKENS 2

const uint lanes = width * parts;
const uint lines = banks * tileRows;

// Whether lanes pass sums through shared memory: those of several subgroups do, and too few for as many activation rows.
const bool meets = parts > 1 || width < tileTokens;
// Sums of lines and activation rows, of each subgroup, or width of one.
shared float partials[meets ? gl_WorkGroupSize.x / width * lines * tileTokens : 1];

struct Activations {
  ivec4 low;
  ivec4 high;
  uvec2 factors;  // scale, and the sums of quants
};

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer ActivationVectors {
  CHAIN_SHARED uvec4 at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer ActivationPairs {
  CHAIN_SHARED uvec2 at[];
};

// As matmul-prepare lays out int8.
Activations activationsAt(uint token, uint block) {
  uint blocks = columns / 32;
  uint start = token * (2 * blocks + (blocks + 1) / 2);
  uint at = start + block;
  ActivationVectors from = ActivationVectors(x);
  return Activations(ivec4(from.at[at]), ivec4(from.at[at + blocks]),
                     ActivationPairs(x).at[2 * (start + 2 * blocks) + block]);
}

// A block of a row of weights.
struct Line {
  int words[8];
  vec2 scales;
  float minimum;
};

Line lineOf(RawGroup raw) {
  Line line;
  line.scales = groupScales(raw);
  line.minimum = groupMinimum(raw);
  [[unroll]] for (uint i = 0; i < 8; i++) line.words[i] = int(unpack(raw, i));
  return line;
}

int dotHalf(int sum, int a0, int a1, int a2, int a3, ivec4 b) {
  sum += dotPacked4x8EXT(a0, b.x);
  sum += dotPacked4x8EXT(a1, b.y);
  sum += dotPacked4x8EXT(a2, b.z);
  sum += dotPacked4x8EXT(a3, b.w);
  return sum;
}

float added(float given, Line line, Activations a) {
  precise float sum = given;
  float scale = uintBitsToFloat(a.factors.x);
  int total = int(a.factors.y) >> 16;
#if PAIRS
  int lowTotal = bitfieldExtract(int(a.factors.y), 0, 16);
  int low = dotHalf(-QUANT_OFFSET * lowTotal, line.words[0], line.words[1], line.words[2], line.words[3], a.low);
  int high =
      dotHalf(-QUANT_OFFSET * (total - lowTotal), line.words[4], line.words[5], line.words[6], line.words[7], a.high);
  sum = fma(float(low), line.scales.x * scale, sum);
  sum = fma(float(high), line.scales.y * scale, sum);
#else
  int low = dotHalf(-QUANT_OFFSET * total, line.words[0], line.words[1], line.words[2], line.words[3], a.low);
  int both = dotHalf(low, line.words[4], line.words[5], line.words[6], line.words[7], a.high);
  sum = fma(float(both), line.scales.x * scale, sum);
#endif
#if MINIMUMS
  sum = fma(line.minimum, scale * float(total), sum);
#endif
  return sum;
}

// `t` is the activation row's number in the tile.
void put(Product product, uint firstToken, uint t, uint row, float value, float upValue) {
  if (row < product.rows && firstToken + t < tokens) {
    finish(product, firstToken + t, row, value, upValue);
  }
}

#define EACH_LINE(DO, a, b) DO(a, b, 0) DO(a, b, 1) DO(a, b, 2) DO(a, b, 3)
#define EACH_FEW_LINES(DO, a, b) DO(a, b, 0) DO(a, b, 1)
#define EACH_FEW_TOKEN(DO, a) DO(a, 0) DO(a, 1)
#define EACH_TOKEN(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
// The first two blocks have all lines of up to two activation rows, the others two lines of one.
#define EACH_DEPTH(DO)             \
  DO(0, EACH_LINE, EACH_FEW_TOKEN) \
  DO(1, EACH_LINE, EACH_FEW_TOKEN) \
  DO(2, EACH_FEW_LINES, ONE_TOKEN) \
  DO(3, EACH_FEW_LINES, ONE_TOKEN) \
  DO(4, EACH_FEW_LINES, ONE_TOKEN) \
  DO(5, EACH_FEW_LINES, ONE_TOKEN)
#define ONE_TOKEN(DO, a) DO(a, 0)

// glslang makes a precise array anew in each function that names it: one function does.
precise float sums[MOST_LINES * MOST_TOKENS];
RawGroup raw[MOST_DEPTH * MOST_LINES];
Line unpacked[MOST_LINES];
// Activations of a block. They come from the cache, so they are read when they are used.
Activations few[FEW_TOKENS];

// Loads a line of the place `ahead`. Blocks, rows and tokens past the end repeat the last one, and are not used.
#define LOAD_LINE(d, block, l)                                                                          \
  if (l < lines) {                                                                                      \
    uint weightRow = min(ahead.row + l / banks, ahead.product.rows - 1);                                \
    if (l % banks == 0) {                                                                               \
      raw[d * MOST_LINES + l] = loadGroup(one, ahead.product.rowStart + weightRow, firstBlock + block); \
    } else {                                                                                            \
      raw[d * MOST_LINES + l] = loadGroup(two, upRowStart + weightRow, firstBlock + block);             \
    }                                                                                                   \
  }
#define LOAD(d, SOME_LINES, SOME_TOKENS)                  \
  if (d < depth) {                                        \
    uint block = min(ahead.base + d * lanes, blocks - 1); \
    SOME_LINES(LOAD_LINE, d, block)                       \
  }
#define LOAD_TOKEN(d, t) \
  if (t < tileTokens) few[t] = activationsAt(min(firstToken + t, tokens - 1), block);

#define UNPACK_LINE(d, t, l) \
  if (l < lines) unpacked[l] = lineOf(raw[d * MOST_LINES + l]);
#define ADD_FEW_LINE(d, t, l)                                                \
  if (l < lines) {                                                           \
    float more = added(sums[l * MOST_TOKENS + t], unpacked[l], few[t]);      \
    sums[l * MOST_TOKENS + t] = isInside ? more : sums[l * MOST_TOKENS + t]; \
  }
#define ADD(d, SOME_LINES, SOME_TOKENS)                 \
  if (d < depth && tileTokens <= FEW_TOKENS) {          \
    uint block = min(now.base + d * lanes, blocks - 1); \
    SOME_TOKENS(LOAD_TOKEN, d)                          \
    bool isInside = now.base + d * lanes < blocks;      \
    SOME_LINES(UNPACK_LINE, d, 0)                       \
    SOME_LINES(ADD_FEW_LINE, d, 0)                      \
    if (d < 2 && 1 < tileTokens) {                      \
      SOME_LINES(ADD_FEW_LINE, d, 1)                    \
    }                                                   \
  }
#define ADD_MANY_LINE(d, t, l) \
  if (l < lines) sums[l * MOST_TOKENS + t] = added(sums[l * MOST_TOKENS + t], unpacked[l], a);
#define ADD_MANY(t)                                                           \
  if (t < tileTokens) {                                                       \
    Activations a = activationsAt(min(firstToken + t, tokens - 1), now.base); \
    EACH_LINE(ADD_MANY_LINE, 0, t)                                            \
  }

// Neighbours that differ in bit `step` halve the activation rows: the one goes on with the sums of the first half, the other
// with those of the second. Every sum is added up in the same order as if all had all.
#define FOLD_LINE(t, half, l)                                        \
  if (l < lines) {                                                   \
    float first = sums[l * MOST_TOKENS + t];                         \
    float second = sums[l * MOST_TOKENS + t + half];                 \
    float theirs = subgroupShuffleXor(upper ? first : second, step); \
    sums[l * MOST_TOKENS + t] = (upper ? second : first) + theirs;   \
  }
#define FOLD_4(half) EACH_LINE(FOLD_LINE, 0, half) EACH_LINE(FOLD_LINE, 1, half) FOLD_LATER(half)
#define FOLD_LATER(half) EACH_LINE(FOLD_LINE, 2, half) EACH_LINE(FOLD_LINE, 3, half)
#define FOLD_2(half) EACH_LINE(FOLD_LINE, 0, half) EACH_LINE(FOLD_LINE, 1, half)
#define FOLD_1(half) EACH_LINE(FOLD_LINE, 0, half)
// clang-format off
#define FOLD(half)                   \
  {                                  \
    bool upper = (lane & step) != 0; \
    FOLD_##half(half)                \
    kept = half;                     \
    firstToHave += upper ? half : 0; \
    step /= 2;                       \
  }
// clang-format on

#define SUM_LINE(t, b, l) \
  if (l < lines)          \
    sums[l * MOST_TOKENS + t] = sums[l * MOST_TOKENS + t] + subgroupShuffleXor(sums[l * MOST_TOKENS + t], step);
#define SUM(t)                      \
  if (t < tileTokens && t < kept) { \
    EACH_LINE(SUM_LINE, t, 0)       \
  }

#define FIND_LINE(found, wanted, l) \
  if (l == (wanted)) found = sums[l * MOST_TOKENS];

#define SHARE_LINE(t, b, l) \
  if (l < lines) partials[(place / width * lines + l) * tileTokens + firstToHave + t] = sums[l * MOST_TOKENS + t];
#define SHARE(t)                                             \
  if (t < kept && firstToHave + t < tileTokens && isFirst) { \
    EACH_LINE(SHARE_LINE, t, 0)                              \
  }

#define CLEAR_SUMS [[unroll]] for (uint i = 0; i < MOST_LINES * MOST_TOKENS; i++) sums[i] = 0.0;

// The place of an invocation in a product: its first row, and the block that it takes first of the next `depth`.
struct Place {
  Product product;
  uint row;
  uint base;
};

const uint rowsAtOnce = gl_WorkGroupSize.x / lanes * tileRows;

// The begin of a run, of all that the products have.
Place placeOf(uint at) {
  uint run = at;
  Product product = productOf(products, rowsAtOnce, run);
  uint place = placeInGroup();
  return Place(product, run * rowsAtOnce + place / lanes * tileRows, place % lanes);
}

void multiply(uint firstToken) {
  uint place = placeInGroup();
  uint lane = place % lanes;
  uint blocks = columns / 32;
  uint firstBlock = products > 1 ? 0 : columnStart / 32;
  uint rowColumns = products > 1 ? columns : storedColumns;
  uint runs = runsOf(products, rowsAtOnce);
  uint at = gl_WorkGroupID.y;
  Place ahead = placeOf(at);
  Matrix one = matrixAt(ahead.product.weight, ahead.product.storedRows, rowColumns);
  Matrix two = matrixAt(up, storedRows, rowColumns);
  EACH_DEPTH(LOAD)
  awaitEarlier(chainOf(products), chainBefore);
  CLEAR_SUMS
  // The same for all of the workgroup: passes, and whether there are more.
  bool more = true;
  uint begun = 0;
  do {
    Place now = ahead;
    begun += lanes * depth;
    bool ends = begun >= blocks;
    ahead.base += lanes * depth;
    if (ends) {
      begun = 0;
      at += gl_NumWorkGroups.y;
      more = at < runs;
      if (more) {
        ahead = placeOf(at);
        if (products > 1) one = matrixAt(ahead.product.weight, ahead.product.storedRows, rowColumns);
      }
    }
    EACH_DEPTH(ADD)
    if (more && tileTokens <= FEW_TOKENS) {
      EACH_DEPTH(LOAD)
    }
    if (tileTokens > FEW_TOKENS) {
      EACH_LINE(UNPACK_LINE, 0, 0)
      if (more) LOAD(0, EACH_LINE, 0)
      if (now.base < blocks) {
        EACH_TOKEN(ADD_MANY)
      }
    }
    if (!ends) continue;

    // Over the width as a tree: first by halving, then all that is kept, whose first activation row is `firstToHave`.
    uint step = width / 2;
    uint kept = MOST_TOKENS;
    uint firstToHave = 0;
    if (tileTokens > 4 && step > 0) FOLD(4)
    if (tileTokens > 2 && step > 0) FOLD(2)
    if (tileTokens > 1 && step > 0) FOLD(1)
    bool isFirst = step == 0 || (lane & (2 * step - 1)) == 0;
    for (; step > 0; step /= 2) {
      EACH_TOKEN(SUM)
    }

    if (!meets) {
      // The first of the neighbours that have the same sums puts them out: of one activation row, since all was halved.
      if (isFirst && firstToHave < tileTokens) {
        for (uint line = 0; line < lines; line += banks) {
          float value = 0.0;
          float upValue = 0.0;
          EACH_LINE(FIND_LINE, value, line)
          EACH_LINE(FIND_LINE, upValue, line + banks - 1)
          put(now.product, firstToken, firstToHave, now.row + line / banks, value, upValue);
        }
      }
    } else {
      // All invocations have read the sums of the last run.
      barrier();
      EACH_TOKEN(SHARE)
      barrier();
      for (uint i = lane; i < tileRows * tileTokens; i += lanes) {
        uint r = i / tileTokens;
        uint t = i % tileTokens;
        uint at = (place / lanes * parts * lines + r * banks) * tileTokens + t;
        precise float value = partials[at];
        precise float upValue = banks > 1 ? partials[at + tileTokens] : 0.0;
        for (uint part = 1; part < parts; part++) {
          at += lines * tileTokens;
          value = value + partials[at];
          if (banks > 1) upValue = upValue + partials[at + tileTokens];
        }
        put(now.product, firstToken, t, now.row + r, value, upValue);
      }
    }
    CLEAR_SUMS
  } while (more);
}

void main() {
  uint firstToken = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * tileTokens;
  if (firstToken < tokens) {
    multiply(firstToken);
  } else {
    awaitEarlier(chainOf(products), chainBefore);
  }
  countEnded(chainOf(products));
}
