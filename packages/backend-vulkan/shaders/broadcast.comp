// a + b and a * b with numpy's broadcasting. Axes that need not be told apart have been merged: most calls have one or two.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool multiplies = false;
layout(constant_id = 2) const uint rank = 1;
layout(constant_id = 3) const bool aIsInteger = false;
layout(constant_id = 4) const bool bIsInteger = false;

const uint maximumRank = 8;

layout(push_constant, scalar) uniform Arguments {
  FloatsIn a;
  FloatsIn b;
  Floats result;
  uint count;
  // Sizes and strides of the merged axes, the innermost first. A stride of 0 repeats.
  uint dims[maximumRank];
  uint aStrides[maximumRank];
  uint bStrides[maximumRank];
};

const uint elementsPerInvocation = 4;

float load(FloatsIn from, uint index, bool isInteger) {
  float value = from.at[index];
  return isInteger ? float(floatBitsToInt(value)) : value;
}

void main() {
  uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
  uint first = group * (gl_WorkGroupSize.x * elementsPerInvocation) + gl_LocalInvocationID.x;
  for (uint k = 0; k < elementsPerInvocation; ++k) {
    uint i = first + k * gl_WorkGroupSize.x;
    if (i >= count) return;
    uint rest = i;
    uint aIndex = 0;
    uint bIndex = 0;
    for (uint axis = 0; axis + 1 < rank; ++axis) {
      uint quotient = rest / dims[axis];
      uint at = rest - quotient * dims[axis];
      aIndex += at * aStrides[axis];
      bIndex += at * bStrides[axis];
      rest = quotient;
    }
    aIndex += rest * aStrides[rank - 1];
    bIndex += rest * bStrides[rank - 1];
    float left = load(a, aIndex, aIsInteger);
    float right = load(b, bIndex, bIsInteger);
    precise float y;
    if (multiplies) {
      y = left * right;
    } else {
      y = left + right;
    }
    result.at[i] = y;
  }
}
