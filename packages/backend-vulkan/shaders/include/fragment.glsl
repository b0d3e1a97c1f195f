// Matrices of 16 by 16 that a subgroup holds together: cooperative matrices of the hardware, or, where EMULATED is 1, plain
// arithmetic that a device without them can run, to test what walks over them. Factors lie in shared `tile`, an array of
// uvec4, a line each `lineVectors` from the next. Sums, `sums[MOST_M * MOST_N]`, pass through `tile` with lines of `resultVectors`, or
// through `partials`, a buffer of floats; a line of them is a token: 16 rows of the weight.
//
// Before it are declared: tile, lineVectors, resultVectors, partials. Loops over matrices are marked UNROLL.

#if EMULATED

#define UNROLL [[dont_unroll]]

// The place where a factor begins; it is read when it is used.
#define WeightFactor uint
#define TokenFactor uint
#define loadWeights(factor, place) factor = (place)
#define loadTokens(factor, place) factor = (place)

// Elements lane + i * (lanes of the subgroup) of each, counted along lines: subgroups of 4 at least.
#define MOST_ELEMENTS (SIDE * SIDE / 4)
float sums[MOST_M * MOST_N * MOST_ELEMENTS];
#define OWN_ELEMENTS(element, i) \
  for (uint i = 0, element = gl_SubgroupInvocationID; element < SIDE * SIDE; i++, element += gl_SubgroupSize)

void clearSums(uint index) {
  for (uint i = 0; i < MOST_ELEMENTS; i++) sums[index * MOST_ELEMENTS + i] = 0.0;
}

void addProduct(uint weights, uint tokens, uint index) {
  OWN_ELEMENTS(element, i) {
    uint weight = weights + element % SIDE * lineVectors;
    uint token = tokens + element / SIDE * lineVectors;
    float sum = sums[index * MOST_ELEMENTS + i];
    for (uint word = 0; word < SIDE / 2; word++) {
      vec2 a = unpackHalf2x16(tile[weight + word / 4][word % 4]);
      vec2 b = unpackHalf2x16(tile[token + word / 4][word % 4]);
      sum = fma(a.y, b.y, fma(a.x, b.x, sum));
    }
    sums[index * MOST_ELEMENTS + i] = sum;
  }
}

void storeSums(uint index, uint place) {
  OWN_ELEMENTS(element, i) {
    uint at = place + element / SIDE * resultVectors + element % SIDE / 4;
    tile[at][element % 4] = floatBitsToUint(sums[index * MOST_ELEMENTS + i]);
  }
}

void storePartial(uint index, uint place) {
  OWN_ELEMENTS(element, i) partials.at[place + element] = sums[index * MOST_ELEMENTS + i];
}

void addPartial(uint index, uint place) {
  OWN_ELEMENTS(element, i) {
    sums[index * MOST_ELEMENTS + i] = sums[index * MOST_ELEMENTS + i] + partials.at[place + element];
  }
}

#else

#define UNROLL [[unroll]]

#define WeightFactor coopmat<float16_t, gl_ScopeSubgroup, SIDE, SIDE, gl_MatrixUseA>
#define TokenFactor coopmat<float16_t, gl_ScopeSubgroup, SIDE, SIDE, gl_MatrixUseB>
#define Sums coopmat<float, gl_ScopeSubgroup, SIDE, SIDE, gl_MatrixUseAccumulator>
Sums sums[MOST_M * MOST_N];

#define loadWeights(factor, place) coopMatLoad(factor, tile, place, lineVectors, gl_CooperativeMatrixLayoutRowMajor)
#define loadTokens(factor, place) coopMatLoad(factor, tile, place, lineVectors, gl_CooperativeMatrixLayoutColumnMajor)
#define clearSums(index) sums[index] = Sums(0.0)
#define addProduct(weights, tokens, index) sums[index] = coopMatMulAdd(weights, tokens, sums[index])
#define storeSums(index, place) \
  coopMatStore(sums[index], tile, place, resultVectors, gl_CooperativeMatrixLayoutColumnMajor)
#define storePartial(index, place) \
  coopMatStore(sums[index], partials.at, place, SIDE, gl_CooperativeMatrixLayoutColumnMajor)

void addPartial(uint index, uint place) {
  Sums partial;
  coopMatLoad(partial, partials.at, place, SIDE, gl_CooperativeMatrixLayoutColumnMajor);
  sums[index] = sums[index] + partial;
}

#endif
