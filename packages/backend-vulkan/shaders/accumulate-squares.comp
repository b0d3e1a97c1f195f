// Adds the sum over rows of x^2 to a state, in place. Each invocation takes a column, and adds its rows in order.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "include/memory.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant, scalar) uniform Arguments {
  // [columns].
  Floats state;
  FloatsIn x;
  uint rows;
  uint columns;
};

// Rows that an invocation loads before it adds the first.
#define AT_ONCE 8u

void main() {
  uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
  uint column = group * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (column >= columns) return;
  precise float sum = 0.0;
  for (uint row = 0; row < rows; row += AT_ONCE) {
    float values[AT_ONCE];
    [[unroll]] for (uint k = 0; k < AT_ONCE; ++k) {
      values[k] = row + k < rows ? x.at[(row + k) * columns + column] : 0.0;
    }
    [[unroll]] for (uint k = 0; k < AT_ONCE; ++k) sum = fma(values[k], values[k], sum);
  }
  state.at[column] += sum;
}
