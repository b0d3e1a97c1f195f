// The arguments of every form of attention: a paged KV state [blocks, storedParts, kvHeads, blockTokens, headDim] of the type
// that STATE names, and which of its keys a row sees. Needs memory.glsl, function.glsl and fault.glsl.
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require

// constant_id 0 is the workgroup's size.
layout(constant_id = 1) const uint headDim = 128;
// Elements of a padded head over 8, a power of two: lanes that share a row of values.
layout(constant_id = 2) const uint rowLanes = 16;
// Rows of the state can be read 16 bytes at a time. Where ONLY_VECTORS is defined they can.
layout(constant_id = 3) const bool vectors = true;
layout(constant_id = 4) const bool hasWindow = false;
layout(constant_id = 5) const bool hasSoftcap = false;
// 2: keys, then values; 1: keys alone, which are the values too.
layout(constant_id = 6) const uint storedParts = 2;

// Set by attention-row.comp: one row of one sequence, whose heads are as products left them.
#ifndef HEADS
#define HEADS 0
#endif

#define STATE_F32 0
#define STATE_F16 1
#define STATE_BF16 2
#define STATE_Q8_0 3

#if STATE == STATE_F32
#define STORED FloatsIn
#else
#define STORED HalvesIn
#endif

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer VectorsIn {
  CHAIN_SHARED uvec4 at[];
};

// Memory through which workgroups of one dispatch pass results to each other.
layout(buffer_reference, scalar, buffer_reference_align = 4) coherent buffer SharedFloats {
  float at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) coherent buffer SharedCounters {
  uint at[];
};

#if HEADS
// Addresses fill the push constants: numbers that a model or its pool of blocks fixes are constants.
layout(constant_id = 11) const uint queryHeads = 1;
layout(constant_id = 12) const uint kvHeads = 1;
layout(constant_id = 13) const uint blockTokens = 16;
layout(constant_id = 14) const uint poolBlocks = 1;
layout(constant_id = 15) const uint window = 0;
layout(constant_id = 16) const float scale = 1.0;
const uint rows = 1u;
const uint sequences = 1u;
const float cap = 1.0;

layout(push_constant, scalar) uniform Arguments {
  FloatsIn query;
  STORED state;
  IntsIn positions;
  IntsIn starts;
  IntsIn blocks;
  IntsIn slots;
  Floats result;
  // These have the meaning that they have without HEADS, below.
  SharedFloats partials;
  SharedCounters counters;
  Faults faults;
  // [kv heads, headDim] each.
  FloatsIn ownKey;
  FloatsIn ownValue;
  // These have the meaning that they have in heads.comp.
  FloatsIn table;
  FloatsIn queryWeight;
  FloatsIn keyWeight;
  uint tableColumns;
#if CHAINED
  uint before;
#endif
};
#define sections gl_NumWorkGroups.x
#else
layout(push_constant, scalar) uniform Arguments {
  FloatsIn query;
  STORED state;
  IntsIn positions;
  IntsIn starts;
  IntsIn blocks;
  // Null: a query sees keys up to its own position.
  IntsIn reach;
  // [rows, query heads, headDim].
  Floats result;
  // Row form: [rows, query heads, sections, headDim], then (m, l) [rows, query heads, sections, 2]; null where there is one section.
  SharedFloats partials;
  // Row form: [rows, grid's heads]: workgroups that have ended, 0 before and after; null where nothing is merged here.
  SharedCounters counters;
  Faults faults;
  uint rows;
  uint queryHeads;
  uint kvHeads;
  uint sequences;
  uint tableColumns;
  uint poolBlocks;
  uint blockTokens;
  // No query sees a key at or beyond this position.
  uint keys;
  uint window;
  float scale;
  float cap;
#if CHAINED
  uint before;
};
#define sections gl_NumWorkGroups.x
#else
  // Sections that the row form has in its grid.
  uint sections;
};
#endif
#endif

const uint noRow = 0xffffffffu;
// The row that this step brings: it and what follows is not in memory.
const uint ownRow = 0xfffffffeu;

// Eight elements as they lie in memory, so that several can be on their way before the first is used.
struct Raw {
#if STATE == STATE_F32
  uvec4 low;
  uvec4 high;
#elif STATE == STATE_Q8_0
  uvec2 quants;
  uint scale;
#else
  uvec4 bits;
#endif
};

Raw rawZero() {
#if STATE == STATE_F32
  return Raw(uvec4(0u), uvec4(0u));
#elif STATE == STATE_Q8_0
  return Raw(uvec2(0u), 0u);
#else
  return Raw(uvec4(0u));
#endif
}

// Elements 8 * eighth to 8 * eighth + 7 of a row of the state; 0 beyond the head and where there is no row. It returns at its
// end only: loops that contain it could not be unrolled else.
Raw loadRaw(uint row, uint eighth) {
  Raw raw = rawZero();
  if (row < ownRow && 8u * eighth < headDim) {
#if STATE == STATE_Q8_0
    // By words, of which halves of 2 bytes are taken: a block of 34 bytes begins in the middle of a word if its number is odd,
    // its quants if it is even.
    uint block = row * (headDim / 32u) + (eighth >> 2);
    uint first = (17u * block + 1u + 4u * (eighth & 3u)) >> 1;
    WordsIn words = WordsIn(state);
    uvec2 q = uvec2(words.at[first], words.at[first + 1u]);
    uint blockScale = words.at[17u * block >> 1];
    raw.scale = blockScale >> 16;
    raw.quants = q;
    if ((block & 1u) == 0u) {
      raw.scale = blockScale & 0xffffu;
      raw.quants = uvec2((q.x >> 16) | (q.y << 16), (q.y >> 16) | (words.at[first + 2u] << 16));
    }
#elif STATE == STATE_F32
#ifndef ONLY_VECTORS
    if (!vectors) {
      uint start = row * headDim + 8u * eighth;
      [[dont_unroll]] for (uint i = 0; i < 4u; ++i) {
        if (8u * eighth + i < headDim) raw.low[i] = floatBitsToUint(state.at[start + i]);
        if (8u * eighth + 4u + i < headDim) raw.high[i] = floatBitsToUint(state.at[start + 4u + i]);
      }
    } else
#endif
    {
      uint first = row * (headDim / 4u) + 2u * eighth;
      raw.low = VectorsIn(state).at[first];
      // A row of f32 is whole vectors of 4, not of 8.
      if (8u * eighth + 4u < headDim) raw.high = VectorsIn(state).at[first + 1u];
    }
#else
#ifndef ONLY_VECTORS
    if (!vectors) {
      uint start = row * headDim + 8u * eighth;
      [[dont_unroll]] for (uint i = 0; i < 4u; ++i) {
        uint element = 8u * eighth + 2u * i;
        if (element < headDim) raw.bits[i] = uint(state.at[start + 2u * i]);
        if (element + 1u < headDim) raw.bits[i] |= uint(state.at[start + 2u * i + 1u]) << 16;
      }
    } else
#endif
    {
      raw.bits = VectorsIn(state).at[row * (headDim / 8u) + eighth];
    }
#endif
  }
  return raw;
}

void decodeRaw(Raw raw, out vec4 low, out vec4 high) {
#if STATE == STATE_F32
  low = uintBitsToFloat(raw.low);
  high = uintBitsToFloat(raw.high);
#elif STATE == STATE_F16
  low = vec4(unpackHalf2x16(raw.bits.x), unpackHalf2x16(raw.bits.y));
  high = vec4(unpackHalf2x16(raw.bits.z), unpackHalf2x16(raw.bits.w));
#elif STATE == STATE_BF16
  low = uintBitsToFloat(uvec4(raw.bits.x << 16, raw.bits.x & 0xffff0000u, raw.bits.y << 16, raw.bits.y & 0xffff0000u));
  high = uintBitsToFloat(uvec4(raw.bits.z << 16, raw.bits.z & 0xffff0000u, raw.bits.w << 16, raw.bits.w & 0xffff0000u));
#else
  float blockScale = unpackHalf2x16(raw.scale).x;
  ivec2 q = ivec2(raw.quants);
  low = vec4(ivec4((q.x << 24) >> 24, (q.x << 16) >> 24, (q.x << 8) >> 24, q.x >> 24)) * blockScale;
  high = vec4(ivec4((q.y << 24) >> 24, (q.y << 16) >> 24, (q.y << 8) >> 24, q.y >> 24)) * blockScale;
#endif
}

// The row of a key in the state, taken as rows of headDim elements, given its block; the value's lies `valueDistance()`
// further.
uint keyRow(int tableEntry, uint kvHead, uint position) {
  uint block = uint(tableEntry);
  if (block >= poolBlocks) {
    noteFault(faults, FAULT_SLOT, block * blockTokens, poolBlocks);
    return noRow;
  }
  return (storedParts * block * kvHeads + kvHead) * blockTokens + position % blockTokens;
}

uint valueDistance() {
  return (storedParts - 1u) * kvHeads * blockTokens;
}

// The first and the last key position that a row at `position` sees, as `attentionSight` of the reference says.
ivec2 sightOf(int position, int last) {
  int limit = int(tableColumns * blockTokens);
  if (last >= limit) noteFault(faults, FAULT_BLOCK_TABLE, uint(last), tableColumns);
#if !HEADS
  limit = min(limit, int(keys));
#endif
  return ivec2(hasWindow ? max(0, position - int(window) + 1) : 0, min(last, limit - 1));
}

int reachOf(uint row) {
#if HEADS
  return positions.at[row];
#else
  return uvec2(reach) != uvec2(0u) ? reach.at[row] : positions.at[row];
#endif
}

// Notes starts that do not ascend within the rows. One workgroup of a dispatch does.
void checkStarts() {
  for (uint i = gl_LocalInvocationID.x; i < sequences; i += gl_WorkGroupSize.x) {
    int begin = starts.at[i];
    int end = i + 1u < sequences ? starts.at[i + 1u] : int(rows);
    if (begin < 0 || begin > end || end > int(rows)) noteFault(faults, FAULT_STARTS, uint(begin), rows);
  }
}

shared int sharedSequence;

// The sequence that a row belongs to: the last that does not begin after it. -1 before the first. All invocations call it.
int sequenceOf(uint row) {
  if (gl_LocalInvocationID.x == 0u) sharedSequence = -1;
  barrier();
  int found = -1;
  for (uint i = gl_LocalInvocationID.x; i < sequences; i += gl_WorkGroupSize.x) {
    int begin = starts.at[i];
    if (begin >= 0 && begin <= int(row)) found = int(i);
  }
  if (found >= 0) atomicMax(sharedSequence, found);
  barrier();
  int sequence = sharedSequence;
  barrier();
  return sequence;
}
