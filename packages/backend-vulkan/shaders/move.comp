// Moves runs of elements: slice, concat, takeRows and copy are all `outer` x `inner` runs with a stride between them on
// either side. takeRows reads which inner run it wants. Units are 4 bytes, or 2 or 1 where runs are not whole words.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"
#include "include/fault.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool picks = false;

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
  SOURCE source;
  TARGET target;
  // i32 [inner]: the run to take for each, or null.
  IntsIn rows;
  Faults faults;
  // Units from here on; runs, not units, for `inner` and `sourceRuns`.
  uint count;
  uint run;
  uint inner;
  uint sourceStart;
  uint sourceOuterStride;
  uint sourceInnerStride;
  uint targetStart;
  uint targetOuterStride;
  // Runs of the axis that `rows` index.
  uint sourceRuns;
};

const uint unitsPerInvocation = 4;

void main() {
  uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
  uint first = group * (gl_WorkGroupSize.x * unitsPerInvocation) + gl_LocalInvocationID.x;
  for (uint k = 0; k < unitsPerInvocation; ++k) {
    uint i = first + k * gl_WorkGroupSize.x;
    if (i >= count) return;
    uint runIndex = i / run;
    uint at = i - runIndex * run;
    uint outerIndex = runIndex / inner;
    uint innerIndex = runIndex - outerIndex * inner;
    uint from = innerIndex;
    if (picks) {
      from = uint(rows.at[innerIndex]);
      if (from >= sourceRuns) {
        noteFault(faults, FAULT_ROW, from, sourceRuns);
        from = 0;
      }
    }
    target.at[targetStart + outerIndex * targetOuterStride + innerIndex * run + at] =
        source.at[sourceStart + outerIndex * sourceOuterStride + from * sourceInnerStride + at];
  }
}
