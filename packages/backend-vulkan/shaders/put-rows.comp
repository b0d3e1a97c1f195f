// Puts rows in the place of others: row at[i] of the result becomes row i of `rows`. The other rows are there already. Units
// are 4 bytes, or 2 or 1 where rows are not whole words.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"
#include "include/fault.glsl"

layout(local_size_x_id = 0) in;

#if UNIT_BYTES == 4
#define SOURCE WordsIn
#define TARGET Words
#elif UNIT_BYTES == 2
#define SOURCE HalvesIn
#define TARGET Halves
#else
#define SOURCE BytesIn
#define TARGET Bytes
#endif

layout(push_constant, scalar) uniform Arguments {
  SOURCE rows;
  // i32 [count / run]: the row of the target that each becomes.
  IntsIn at;
  TARGET target;
  Faults faults;
  // Units of all rows, and of each.
  uint count;
  uint run;
  uint targetRows;
};

const uint unitsPerInvocation = 4;

void main() {
  uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
  uint first = group * (gl_WorkGroupSize.x * unitsPerInvocation) + gl_LocalInvocationID.x;
  for (uint k = 0; k < unitsPerInvocation; ++k) {
    uint i = first + k * gl_WorkGroupSize.x;
    if (i >= count) return;
    uint row = i / run;
    uint to = uint(at.at[row]);
    if (to >= targetRows) {
      noteFault(faults, FAULT_ROW, to, targetRows);
      continue;
    }
    target.at[to * run + i - row * run] = rows.at[i];
  }
}
