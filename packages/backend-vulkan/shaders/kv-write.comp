// Stores keys and values, or keys alone, in their slots of a paged KV state. Each invocation stores an element; 32 of them
// make a block of q8_0. Heads that are normed or turned before are stored by heads.comp in the same pass; this is its plain
// twin.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"
#include "include/fault.glsl"
#include "include/kv.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant, scalar) uniform Arguments {
  KvState state;
  FloatsIn key;
  // Null where keys are stored alone.
  FloatsIn value;
  IntsIn slots;
  Faults faults;
  // Elements of all parts together.
  uint count;
  // 2: keys, then values; 1: keys alone.
  uint parts;
  uint heads;
  uint headDim;
  uint blocks;
  uint blockTokens;
};

#if STATE == STATE_Q8_0
// Sizes of the numbers of each block, to find the largest.
shared uint sizes[256];
#endif

void main() {
  uint i = (gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x) * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  bool inside = i < count;
  uint ofPart = count / parts;
  uint part = inside && i >= ofPart ? 1u : 0u;
  uint element = min(i - part * ofPart, ofPart - 1u);
  float x = part == 0u ? key.at[element] : value.at[element];
  uint line = element / headDim;
  uint column = element - line * headDim;
  uint token = line / heads;
  uint head = line - token * heads;
  uint slot = uint(slots.at[token]);
  uint block = slot / blockTokens;
  if (block >= blocks) {
    if (inside) noteFault(faults, FAULT_SLOT, slot, blocks);
    inside = false;
  }
  uint row = kvRow(block, parts, part, head, heads, blockTokens, slot);

#if STATE == STATE_Q8_0
  uint lane = gl_LocalInvocationID.x;
  sizes[lane] = floatBitsToUint(x) & 0x7fffffffu;
  barrier();
  for (uint step_ = 16u; step_ > 0u; step_ >>= 1) {
    uint larger = 0u;
    bool folds = (lane & 31u) < step_;
    if (folds) larger = max(sizes[lane], sizes[lane + step_]);
    barrier();
    if (folds) sizes[lane] = larger;
    barrier();
  }
  if (inside) storeQuant(state, row, headDim, column, x, sizes[lane & ~31u]);
#else
  if (inside) storeElement(state, row * headDim + column, x);
#endif
}
