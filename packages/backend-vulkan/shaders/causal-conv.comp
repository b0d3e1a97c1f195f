// A short causal convolution of each channel over the rows of its sequence and the inputs that its slot of the state has kept.
// Each invocation makes an element of the result. causal-conv-keep.comp writes the slots afterwards, when all have read.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"
#include "include/fault.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant, scalar) uniform Arguments {
  // [slots, width - 1, channels].
  FloatsIn state;
  FloatsIn x;
  // [channels, width].
  FloatsIn weight;
  IntsIn starts;
  IntsIn slots;
  Floats result;
  // Elements of the result.
  uint count;
  uint channels;
  uint width;
  uint sequences;
  uint slotCount;
};

// The last sequence that does not begin after the row; -1 before the first.
int sequenceOf(uint row) {
  uint low = 0u;
  uint high = sequences;
  while (low < high) {
    uint middle = (low + high) / 2u;
    if (starts.at[middle] <= int(row)) {
      low = middle + 1u;
    } else {
      high = middle;
    }
  }
  return int(low) - 1;
}

void main() {
  uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
  uint i = group * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (i >= count) return;
  uint row = i / channels;
  uint channel = i - row * channels;
  int sequence = sequenceOf(row);
  precise float sum = 0.0;
  if (sequence >= 0) {
    // Starts and slots that are out of range are noted by causal-conv-keep.comp; here they are only not followed.
    int begin = max(starts.at[sequence], 0);
    uint slot = uint(slots.at[2 * sequence]);
    if (slot >= slotCount) slot = 0u;
    for (uint k = 0; k < width; ++k) {
      int from = int(row + k) - int(width - 1u);
      float value = 0.0;
      if (from >= begin) {
        value = x.at[uint(from) * channels + channel];
      } else if (slot > 0u) {
        uint kept = uint(from - begin + int(width - 1u));
        value = state.at[(slot * (width - 1u) + kept) * channels + channel];
      }
      sum = fma(weight.at[channel * width + k], value, sum);
    }
  }
  result.at[i] = sum;
}
