// One element to one element: activations, glu, softcap, scale, and AltUp's inject. An invocation takes four elements, a
// workgroup apart, so that neighbours read neighbours and several loads are in flight.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"
#include "include/function.glsl"

layout(local_size_x_id = 0) in;
// As in src/kernel/elementwise.ts.
layout(constant_id = 1) const uint operation = 0;
layout(constant_id = 2) const uint activation = 0;
#define ACTIVATION 0u
#define GLU 1u
#define SOFTCAP 2u
#define SCALE 3u
#define INJECT 4u

layout(push_constant, scalar) uniform Arguments {
  FloatsIn x;
  // glu: up. inject: what is added. Else null.
  FloatsIn other;
  Floats result;
  uint count;
  // softcap: the cap; scale: the factor.
  float number;
  // inject: elements of a stream, and the stream left alone.
  uint streamElements;
  uint activeStream;
};

const uint elementsPerInvocation = 4;

void main() {
  uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
  uint first = group * (gl_WorkGroupSize.x * elementsPerInvocation) + gl_LocalInvocationID.x;
  for (uint k = 0; k < elementsPerInvocation; ++k) {
    uint i = first + k * gl_WorkGroupSize.x;
    if (i >= count) return;
    float value = x.at[i];
    precise float y;
    switch (operation) {
      case ACTIVATION:
        y = activate(activation, value);
        break;
      case GLU:
        y = activate(activation, value) * other.at[i];
        break;
      case SOFTCAP:
        y = softcapped(value, number);
        break;
      case SCALE:
        y = value * number;
        break;
      default: {
        uint stream = i / streamElements;
        y = stream == activeStream ? value : value + other.at[i - stream * streamElements];
      }
    }
    result.at[i] = y;
  }
}
