// Scores of one or two heads become weights without a wait between the two: each subgroup finds the largest score itself, and
// weighs the strands of keys whose values it sums. The twin of `weighLine` (attention-weigh.glsl), with its bits; before it
// come that, and `weighsTogether`.
#extension GL_KHR_shader_subgroup_arithmetic : require

// Weights, strand by strand: scores are still read for the largest while a subgroup writes the first of them.
shared vec4 weights[weighsTogether ? heads * sectionKeys / 4u : 1u];

// Floats as integers that compare as they do: some devices find the largest of a subgroup's integers in one instruction.
uint orderOf(float x) {
  uint bits = floatBitsToUint(x);
  return bits ^ ((bits >> 31) != 0u ? 0xffffffffu : 0x80000000u);
}

float ofOrder(uint order) {
  return uintBitsToFloat(order ^ ((order >> 31) != 0u ? 0x80000000u : 0xffffffffu));
}

// The largest score of a line; keys that it does not see have -infinity. As in weighLine no NaN is the largest.
float topOf(uint line) {
  float top = -infinity;
  for (uint i = gl_SubgroupInvocationID; i < sectionKeys / 4u; i += gl_SubgroupSize) {
    vec4 four = pool[line * lineVectors + i];
    [[unroll]] for (uint c = 0; c < 4u; ++c) {
      if (four[c] > top) top = four[c];
    }
  }
  return ofOrder(subgroupMax(orderOf(top)));
}

// Weights of the strands that the subgroup's invocations have: by four, as in weighLine (Mesa's compiler makes other bits of
// exactExp among other instructions).
void weighStrands(uint line, float top, ivec2 sight) {
  uint first = gl_SubgroupID * gl_SubgroupSize / rowLanes * strandKeys;
  uint end = first + (gl_SubgroupSize + rowLanes - 1u) / rowLanes * strandKeys;
  for (uint i = first / 4u + gl_SubgroupInvocationID; 4u * i < end; i += gl_SubgroupSize) {
    vec4 four = pool[line * lineVectors + i];
    [[unroll]] for (uint c = 0; c < 4u; ++c) {
      int key = int(keyAt(4u * i + c));
      precise float weight = 0.0;
      if (key >= sight.x && key <= sight.y) weight = exactExp(four[c] - top);
      four[c] = weight;
    }
    weights[line * (sectionKeys / 4u) + i] = four;
  }
}

// The sum of a line's weights, in the order of weighLine.
float sumWeights(uint line) {
  precise float sum = 0.0;
  for (uint i = gl_SubgroupInvocationID; i < sectionKeys / 4u; i += gl_SubgroupSize) {
    vec4 four = weights[line * (sectionKeys / 4u) + i];
    [[unroll]] for (uint c = 0; c < 4u; ++c) sum = sum + four[c];
  }
  for (uint distance = gl_SubgroupSize / 2u; distance > 0u; distance /= 2u)
    sum = sum + subgroupShuffleXor(sum, distance);
  return sum;
}
