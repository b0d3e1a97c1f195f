// What all forms of the product share: arguments, and what is done with a result. The twin of src/kernel/matmul.ts.
#include "include/memory.glsl"
#include "include/function.glsl"
#include "include/weights.glsl"

layout(push_constant, scalar) uniform Arguments {
  // Activations: f32 rows, or what matmul-prepare made of them.
  Vectors x;
  // f32 [columns] or 0: of a norm that is done on the way.
  FloatsIn normWeight;
  Vectors weight;
  // The second weight of a gated pair.
  Vectors up;
  // f32 [tokens, rows]
  Floats result;
  FloatsIn bias;
  FloatsIn residual;
  // Of a post that is a gated unit: f32 [tokens, rows].
  FloatsIn other;
  uint tokens;
  // Of the part of the weight that is meant.
  uint columns;
  uint rows;
  // Of the whole weight; `storedColumns` is the stride of a row in elements.
  uint storedRows;
  uint storedColumns;
  uint rowStart;
  uint columnStart;
  uint upRowStart;
  float epsilon;
  float normOffset;
  float firstNumber;
  float secondNumber;
};

#define POST_NONE 0u
#define POST_SOFTCAP 1u
#define POST_SCALE 2u
// Plus the activation.
#define POST_ACTIVATION 16u
#define POST_GLU 32u

// Of a gated pair POST_GLU plus its activation; else POST_NONE.
layout(constant_id = 1) const uint gate = POST_NONE;
layout(constant_id = 2) const bool hasBias = false;
layout(constant_id = 3) const bool hasResidual = false;
layout(constant_id = 4) const uint firstPost = POST_NONE;
layout(constant_id = 5) const uint secondPost = POST_NONE;

// `upValue` is the second product of a gated pair.
void finish(uint token, uint row, float value, float upValue) {
  uint index = token * rows + row;
  precise float sum = value;
  // A loop, so that the functions are there once; its kinds are constants, and nothing of it is left.
  for (uint stage = 0; stage < 3; stage++) {
    uint post = stage == 0 ? gate : stage == 1 ? firstPost : secondPost;
    float number = stage == 1 ? firstNumber : secondNumber;
    if (post == POST_SOFTCAP) sum = softcapped(sum, number);
    if (post == POST_SCALE) sum = sum * number;
    if (post >= POST_ACTIVATION) {
      sum = activate(post & 15u, sum);
      if (post >= POST_GLU) sum = sum * (stage == 0 ? upValue : other.at[index]);
    }
    if (stage == 0 && hasBias) sum = sum + bias.at[row];
    if (stage == 0 && hasResidual) sum = sum + residual.at[index];
  }
  result.at[index] = sum;
}

// An invocation's place in its workgroup such that neighbours are neighbours in a subgroup.
uint placeInGroup() {
  return gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
}
