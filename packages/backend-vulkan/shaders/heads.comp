// All that lies between a layer's products and its attention, in one pass over each head: the norm of queries, keys and
// values, the turning of queries and keys by their position, and the encoding of keys and values into the KV state. Each
// workgroup takes a head of a row and keeps it in registers. The result is bit for bit that of norm.comp, rope.comp and
// kv-write.comp one after the other: the workgroup has the size of the norm's, so that sums are added up in the same order.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "include/chain.glsl"
#include "include/memory.glsl"
#include "include/fault.glsl"
#include "include/kv.glsl"
#include "include/workgroup-sum.glsl"

layout(local_size_x_id = 0) in;
// As in src/kernel/heads.ts: what is done with the parts, three bits each.
layout(constant_id = 1) const uint form = 0;
layout(constant_id = 2) const bool interleaved = false;
// Room for a head: elements of an invocation times invocations.
layout(constant_id = 3) const uint room = 128;

#define QUERY 0u
#define KEY 1u
#define VALUE 2u
#define NORMED 1u
#define WEIGHTED 2u
#define TURNED 4u

layout(push_constant, scalar) uniform Arguments {
  FloatsIn query;
  Floats queryResult;
  FloatsIn key;
  FloatsIn value;
  KvState state;
  IntsIn slots;
  Faults faults;
  // [rows, 2, pairs]: cosines, then sines.
  FloatsIn table;
  FloatsIn queryWeight;
  FloatsIn keyWeight;
  FloatsIn valueWeight;
  uint rows;
  uint queryHeads;
  // Heads of the keys, and as many of the values.
  uint heads;
  uint headDim;
  uint pairs;
  uint blocks;
  uint blockTokens;
  float epsilon;
  float offset;
#if CHAINED
  uint before;
#endif
};

// Elements that an invocation keeps, a workgroup apart.
const uint elements = 4;

shared float head[room];

// The cosine and the sine that element i is turned by; a negative sine for the first of its pair.
vec2 turnOf(uint row, uint i) {
  if (i >= 2 * pairs) return vec2(1.0, 0.0);
  uint at = interleaved ? i / 2 : (i < pairs ? i : i - pairs);
  bool isFirst = interleaved ? (i & 1u) == 0u : i < pairs;
  uint start = row * 2 * pairs;
  float sine = table.at[start + pairs + at];
  return vec2(table.at[start + at], isFirst ? -sine : sine);
}

void run() {
  uint lines = queryHeads + 2 * heads;
  uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
  // Workgroups beyond the last row are in the grid, and wait as all do.
  uint row = min(group / lines, rows - 1u);
  uint line = group - row * lines;
  bool isThere = line < lines;

  uint part = QUERY;
  FloatsIn x = query;
  FloatsIn weight = queryWeight;
  uint start = (row * queryHeads + line) * headDim;
  if (line >= queryHeads) {
    line -= queryHeads;
    part = KEY;
    x = key;
    weight = keyWeight;
    if (line >= heads) {
      line -= heads;
      part = VALUE;
      x = value;
      weight = valueWeight;
    }
    start = (row * heads + line) * headDim;
  }
  uint todo = (form >> (3 * part)) & 7u;
  bool isNormed = (todo & NORMED) != 0u;
  bool isWeighted = (todo & WEIGHTED) != 0u;
  bool isTurned = (todo & TURNED) != 0u;

  // Every load before the first use: they wait for memory together, and what products do not write waits for them besides.
  float weights[elements];
  vec2 turns[elements];
  [[unroll]] for (uint k = 0; k < elements; ++k) {
    uint i = gl_LocalInvocationID.x + k * gl_WorkGroupSize.x;
    weights[k] = i < headDim && isWeighted ? weight.at[i] : 0.0;
    turns[k] = i < headDim && isTurned ? turnOf(row, i) : vec2(1.0, 0.0);
  }
  uint slot = part == QUERY ? 0u : uint(slots.at[row]);
  awaitEarlier(Chain(faults), before);
  if (!isThere) return;
  float own[elements];
  [[unroll]] for (uint k = 0; k < elements; ++k) {
    uint i = gl_LocalInvocationID.x + k * gl_WorkGroupSize.x;
    own[k] = i < headDim ? x.at[start + i] : 0.0;
  }

  if (isNormed) {
    precise vec2 sums = vec2(0.0);
    [[unroll]] for (uint k = 0; k < elements; ++k) {
      if (gl_LocalInvocationID.x + k * gl_WorkGroupSize.x < headDim) sums.x = fma(own[k], own[k], sums.x);
    }
    sums = workgroupSum(sums);
    precise float mean = sums.x / float(headDim);
    precise float factor = inversesqrt(mean + epsilon);
    [[unroll]] for (uint k = 0; k < elements; ++k) {
      precise float y = own[k] * factor;
      if (isWeighted) y *= offset + weights[k];
      own[k] = y;
    }
  }

  if (isTurned) {
    [[unroll]] for (uint k = 0; k < elements; ++k) head[gl_LocalInvocationID.x + k * gl_WorkGroupSize.x] = own[k];
    barrier();
    [[unroll]] for (uint k = 0; k < elements; ++k) {
      uint i = gl_LocalInvocationID.x + k * gl_WorkGroupSize.x;
      if (i < 2 * pairs) {
        uint partner = interleaved ? i ^ 1u : (i < pairs ? i + pairs : i - pairs);
        precise float y = fma(own[k], turns[k].x, head[partner] * turns[k].y);
        own[k] = y;
      }
    }
  }

  if (part == QUERY) {
    [[unroll]] for (uint k = 0; k < elements; ++k) {
      uint i = gl_LocalInvocationID.x + k * gl_WorkGroupSize.x;
      if (i < headDim) queryResult.at[start + i] = own[k];
    }
    return;
  }

  uint block = slot / blockTokens;
  if (block >= blocks) {
    if (gl_LocalInvocationID.x == 0) noteFault(faults, FAULT_SLOT, slot, blocks);
    return;
  }
  uint to = kvRow(block, 2u, part - KEY, line, heads, blockTokens, slot);
#if STATE == STATE_Q8_0
  // All invocations have read their partners.
  barrier();
  [[unroll]] for (uint k = 0; k < elements; ++k) head[gl_LocalInvocationID.x + k * gl_WorkGroupSize.x] = own[k];
  barrier();
  [[unroll]] for (uint k = 0; k < elements; ++k) {
    uint i = gl_LocalInvocationID.x + k * gl_WorkGroupSize.x;
    if (i >= headDim) break;
    uint top = 0u;
    [[unroll]] for (uint j = 0; j < 32; ++j) {
      top = max(top, floatBitsToUint(head[(i & ~31u) + j]) & 0x7fffffffu);
    }
    storeQuant(state, to, headDim, i, own[k], top);
  }
#else
  [[unroll]] for (uint k = 0; k < elements; ++k) {
    uint i = gl_LocalInvocationID.x + k * gl_WorkGroupSize.x;
    if (i < headDim) storeElement(state, to * headDim + i, own[k]);
  }
#endif
}

void main() {
  run();
  countEnded(Chain(faults));
}
