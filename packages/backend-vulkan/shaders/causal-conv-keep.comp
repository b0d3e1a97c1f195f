// The second half of causalConv: the last inputs of each sequence go into the slot that it writes. Each invocation takes a
// channel of a sequence. It moves the inputs kept before towards the front, so that a slot may be both read and written.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"
#include "include/fault.glsl"
#include "include/state-slots.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant, scalar) uniform Arguments {
  // [slots, width - 1, channels].
  Floats state;
  FloatsIn x;
  IntsIn starts;
  IntsIn slots;
  Faults faults;
  // Channels of all sequences.
  uint count;
  uint rows;
  uint channels;
  uint width;
  uint sequences;
  uint slotCount;
};

void main() {
  uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
  uint i = group * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (i >= count) return;
  uint index = i / channels;
  uint channel = i - index * channels;
  Sequence sequence = sequenceAt(starts, slots, faults, index, sequences, rows, slotCount);
  if (!sequence.isValid || sequence.to == 0u) return;
  uint length_ = sequence.end - sequence.begin;
  uint kept = width - 1u;
  for (uint k = 0; k < kept; ++k) {
    // Among the inputs kept before, with those of the step behind them.
    uint from = k + length_;
    float value = 0.0;
    if (from >= kept) {
      value = x.at[(sequence.begin + from - kept) * channels + channel];
    } else if (sequence.from > 0u) {
      value = state.at[(sequence.from * kept + from) * channels + channel];
    }
    state.at[(sequence.to * kept + k) * channels + channel] = value;
  }
}
