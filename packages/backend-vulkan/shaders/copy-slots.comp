// Copies slots of a state to others of it, in place. No slot is both source and target. Units are 4 bytes, or 2 or 1 where
// slots are not whole words.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"
#include "include/fault.glsl"
#include "include/state-slots.glsl"

layout(local_size_x_id = 0) in;

#if UNIT_BYTES == 4
#define STATE Words
#elif UNIT_BYTES == 2
#define STATE Halves
#else
#define STATE Bytes
#endif

layout(push_constant, scalar) uniform Arguments {
  STATE state;
  // i32 [count / run, 2]: from, to.
  IntsIn pairs;
  Faults faults;
  // Units of all copies, and of each.
  uint count;
  uint run;
  uint slotCount;
};

const uint unitsPerInvocation = 4;

void main() {
  uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
  uint first = group * (gl_WorkGroupSize.x * unitsPerInvocation) + gl_LocalInvocationID.x;
  for (uint k = 0; k < unitsPerInvocation; ++k) {
    uint i = first + k * gl_WorkGroupSize.x;
    if (i >= count) return;
    uint pair = i / run;
    uint from = uint(pairs.at[2u * pair]);
    uint to = uint(pairs.at[2u * pair + 1u]);
    uint larger = max(from, to);
    if (larger >= slotCount) {
      noteFault(faults, FAULT_STATE_SLOT, larger, slotCount);
      continue;
    }
    uint at = i - pair * run;
    state.at[to * run + at] = state.at[from * run + at];
  }
}
