// The mean of the rows of each segment, 0 of an empty one. Each invocation takes a column of a segment, and adds its rows in
// order.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "include/memory.glsl"
#include "include/fault.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant, scalar) uniform Arguments {
  FloatsIn x;
  IntsIn starts;
  // [segments, columns].
  Floats result;
  Faults faults;
  // Elements of the result.
  uint count;
  uint rows;
  uint columns;
  uint segments;
};

// Rows that an invocation loads before it adds the first.
#define AT_ONCE 4u

void main() {
  uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
  uint i = group * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (i >= count) return;
  uint segment = i / columns;
  uint column = i - segment * columns;
  int begin = starts.at[segment];
  int end = segment + 1u < segments ? starts.at[segment + 1u] : int(rows);
  if (begin < 0 || begin > end || end > int(rows)) {
    noteFault(faults, FAULT_STARTS, uint(end > int(rows) ? end : begin), rows);
    return;
  }
  precise float sum = 0.0;
  for (uint row = uint(begin); row < uint(end); row += AT_ONCE) {
    float values[AT_ONCE];
    [[unroll]] for (uint k = 0; k < AT_ONCE; ++k) {
      values[k] = row + k < uint(end) ? x.at[(row + k) * columns + column] : 0.0;
    }
    [[unroll]] for (uint k = 0; k < AT_ONCE; ++k) {
      if (row + k < uint(end)) sum += values[k];
    }
  }
  precise float mean = begin < end ? sum / float(end - begin) : 0.0;
  result.at[i] = mean;
}
