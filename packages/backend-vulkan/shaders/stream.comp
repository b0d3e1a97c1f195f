// Across the first axis of [streams, ...]: mean, and AltUp's predict and correct. One invocation takes one element of all
// streams.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"

layout(local_size_x_id = 0) in;
// As in src/kernel/stream.ts.
layout(constant_id = 1) const uint operation = 0;
#define MEAN 0u
#define PREDICT 1u
#define CORRECT 2u

layout(push_constant, scalar) uniform Arguments {
  // [streams, tokens, features]
  FloatsIn x;
  // predict: [tokens, streams * streams], row b * streams + a. correct: [tokens, streams].
  FloatsIn coefficients;
  // correct: [tokens, features].
  FloatsIn activated;
  Floats result;
  // Elements of one stream.
  uint count;
  uint streams;
  uint features;
  uint activeStream;
};

void main() {
  uint i = (gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x) * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (i >= count) return;
  if (operation == MEAN) {
    precise float sum = 0.0;
    for (uint a = 0; a < streams; ++a) sum += x.at[a * count + i];
    result.at[i] = sum / float(streams);
    return;
  }
  uint token = i / features;
  if (operation == PREDICT) {
    for (uint b = 0; b < streams; ++b) {
      uint row = (token * streams + b) * streams;
      precise float sum = 0.0;
      for (uint a = 0; a < streams; ++a) sum = fma(coefficients.at[row + a], x.at[a * count + i], sum);
      precise float y = x.at[b * count + i] + sum;
      result.at[b * count + i] = y;
    }
    return;
  }
  precise float innovation = activated.at[i] - x.at[activeStream * count + i];
  for (uint b = 0; b < streams; ++b) {
    precise float factor = 1.0 + coefficients.at[token * streams + b];
    precise float y = fma(factor, innovation, x.at[b * count + i]);
    result.at[b * count + i] = y;
  }
}
