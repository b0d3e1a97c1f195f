// The gated delta rule, token by token: with S [keyDim, valueDim] of each head,
//   S <- exp(decay) S;  S <- S + k (beta (v - S^T k))^T;  y = S^T q.
// A workgroup takes `columns` columns of S of one head of one sequence through all of its rows, in registers: an invocation
// has elements of one column, `parts` apart, and sums over a column are added as a tree. The order of sums follows from keyDim.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "include/memory.glsl"
#include "include/function.glsl"
#include "include/fault.glsl"
#include "include/state-slots.glsl"

#define INVOCATIONS 256u
layout(local_size_x = 256) in;
// A power of two.
layout(constant_id = 1) const uint columns = 32;

// Elements of a column that an invocation has at most: keyDim * columns is at most 16 * 256.
#define ELEMENTS 16u

layout(push_constant, scalar) uniform Arguments {
  // [slots, heads, keyDim, valueDim].
  Floats state;
  FloatsIn query;
  FloatsIn key;
  FloatsIn value;
  FloatsIn decay;
  FloatsIn beta;
  IntsIn starts;
  IntsIn slots;
  // [rows, heads, valueDim].
  Floats result;
  Faults faults;
  uint rows;
  uint heads;
  uint keyHeads;
  uint keyDim;
  uint valueDim;
  uint sequences;
  uint slotCount;
};

const uint parts = INVOCATIONS / columns;
shared float partSums[INVOCATIONS];

// The sum over the parts of each column. All invocations call it.
float sumOfParts(float own) {
  uint lane = gl_LocalInvocationID.x;
  // All invocations have read the last sums.
  barrier();
  partSums[lane] = own;
  [[unroll]] for (uint reach = INVOCATIONS / 2u; reach > 0u; reach >>= 1) {
    if (reach < parts) {
      barrier();
      if (lane < reach * columns) {
        precise float sum = partSums[lane] + partSums[lane + reach * columns];
        partSums[lane] = sum;
      }
    }
  }
  barrier();
  return partSums[lane % columns];
}

void main() {
  uint lane = gl_LocalInvocationID.x;
  uint part = lane / columns;
  uint column = gl_WorkGroupID.x * columns + lane % columns;
  uint head = gl_WorkGroupID.y;
  uint index = gl_WorkGroupID.z;
  bool inside = column < valueDim;
  // Rows before the first sequence belong to none.
  if (index == 0u && part == 0u && inside) {
    uint first = sequences > 0u ? uint(clamp(starts.at[0], 0, int(rows))) : rows;
    for (uint row = 0; row < first; ++row) result.at[(row * heads + head) * valueDim + column] = 0.0;
  }
  if (sequences == 0u) return;
  Sequence sequence = sequenceAt(starts, slots, faults, index, sequences, rows, slotCount);
  if (!sequence.isValid) return;

  float held[ELEMENTS];
  [[unroll]] for (uint e = 0; e < ELEMENTS; ++e) {
    uint i = part + e * parts;
    bool isThere = inside && i < keyDim && sequence.from > 0u;
    held[e] = isThere ? state.at[((sequence.from * heads + head) * keyDim + i) * valueDim + column] : 0.0;
  }

  uint keyHead = head * keyHeads / heads;
  for (uint row = sequence.begin; row < sequence.end; ++row) {
    uint gate = row * heads + head;
    uint keyAt = (row * keyHeads + keyHead) * keyDim;
    float keys[ELEMENTS];
    float queries[ELEMENTS];
    [[unroll]] for (uint e = 0; e < ELEMENTS; ++e) {
      uint i = part + e * parts;
      keys[e] = i < keyDim ? key.at[keyAt + i] : 0.0;
      queries[e] = i < keyDim ? query.at[keyAt + i] : 0.0;
    }
    float wanted = inside ? value.at[gate * valueDim + column] : 0.0;
    precise float factor = exactExp(decay.at[gate]);
    precise float recalled = 0.0;
    [[unroll]] for (uint e = 0; e < ELEMENTS; ++e) {
      precise float faded = factor * held[e];
      held[e] = faded;
      recalled = fma(faded, keys[e], recalled);
    }
    recalled = sumOfParts(recalled);
    precise float correction = beta.at[gate] * (wanted - recalled);
    precise float sum = 0.0;
    [[unroll]] for (uint e = 0; e < ELEMENTS; ++e) {
      precise float corrected = fma(keys[e], correction, held[e]);
      held[e] = corrected;
      sum = fma(corrected, queries[e], sum);
    }
    sum = sumOfParts(sum);
    if (part == 0u && inside) result.at[gate * valueDim + column] = sum;
  }

  if (sequence.to == 0u || !inside) return;
  [[unroll]] for (uint e = 0; e < ELEMENTS; ++e) {
    uint i = part + e * parts;
    if (i < keyDim) state.at[((sequence.to * heads + head) * keyDim + i) * valueDim + column] = held[e];
  }
}
