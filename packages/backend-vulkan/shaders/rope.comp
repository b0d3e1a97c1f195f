// Rotary embedding in two kernels: the cosines and sines of a step's positions, once for all layers that share the
// frequencies (TABLE), and the turning of heads by them.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"
#if TABLE
#include "include/function.glsl"
#endif

layout(local_size_x_id = 0) in;

#if TABLE

layout(push_constant, scalar) uniform Arguments {
  IntsIn positions;
  FloatsIn frequencies;
  Floats result;
  uint count;
  uint pairs;
  float magnitude;
};

void main() {
  uint i = (gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x) * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (i >= count) return;
  uint token = i / pairs;
  uint pair = i - token * pairs;
  // The angle is rounded to f32 before the sine, as checkpoints were trained with.
  precise float angle = float(positions.at[token]) * frequencies.at[pair];
  precise vec2 turn = exactCosSin(angle) * magnitude;
  uint row = token * 2 * pairs;
  result.at[row + pair] = turn.x;
  result.at[row + pairs + pair] = turn.y;
}

#else

layout(constant_id = 1) const bool interleaved = false;

layout(push_constant, scalar) uniform Arguments {
  FloatsIn x;
  FloatsIn table;
  Floats result;
  uint count;
  uint heads;
  uint headDim;
  uint pairs;
};

// One pair, or one of the elements that pass through, an invocation.
void main() {
  uint i = (gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x) * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (i >= count) return;
  uint line = i / (headDim - pairs);
  uint at = i - line * (headDim - pairs);
  uint start = line * headDim;
  if (at >= pairs) {
    result.at[start + pairs + at] = x.at[start + pairs + at];
    return;
  }
  uint row = line / heads * 2 * pairs;
  float cosine = table.at[row + at];
  float sine = table.at[row + pairs + at];
  uint first = start + (interleaved ? 2 * at : at);
  uint second = interleaved ? first + 1 : first + pairs;
  float a = x.at[first];
  float b = x.at[second];
  precise float turnedA = fma(a, cosine, -(b * sine));
  precise float turnedB = fma(b, cosine, a * sine);
  result.at[first] = turnedA;
  result.at[second] = turnedB;
}

#endif
