// The heads of a single row within attention-row.comp: norms and turns its queries, its key and its value, bit for bit as
// heads.comp does, and stores key and value. Each line (a head of one of them) has as many invocations as heads.comp gives it,
// which are whole subgroups, so that sums are added up in the same order. For states of f16 and heads of a power of two.
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "kv.glsl"

// What is done with the parts, three bits each: as in heads.comp.
layout(constant_id = 17) const uint form = 0;
layout(constant_id = 18) const bool interleaved = false;
layout(constant_id = 19) const uint pairs = 0;
// Invocations of a line.
layout(constant_id = 20) const uint lineSize = 32;
layout(constant_id = 21) const float epsilon = 0.0;
layout(constant_id = 22) const float offset = 0.0;

#define NORMED 1u
#define WEIGHTED 2u
#define TURNED 4u
const uint queryForm = form & 7u;
const uint keyForm = form >> 3 & 7u;
const uint valueForm = form >> 6 & 7u;

// Lines, the key and the value first, and the rounds in which their invocations take them: 3 are enough for 8 heads of 256.
const uint headLines = heads + 2u;
const uint linesAtOnce = invocations / lineSize;
const uint rounds = (headLines + linesAtOnce - 1u) / linesAtOnce;
#define MOST_ROUNDS 3
// Elements of a line that an invocation has, lineSize apart.
#define ELEMENTS 4
// Whether it has both elements of a pair, and how many elements further the second is: one or two.
const bool hasPartners = !interleaved && pairs % lineSize == 0u;
const uint partnerStep = pairs / lineSize;

// Key and value of the row: the bits of floats, and at last of halves, as the state holds them.
shared uvec4 ownRows[2u * (headDim / 4u)];
// Subgroups of a line at most: it has up to 64 invocations, and each of them at least 4.
#define LINE_SUBGROUPS 16
// Sums of the subgroups of each round.
const uint mostSubgroups = invocations / 4u;
shared float lineSums[mostSubgroups * rounds];

// Operands that no product makes.
struct Turning {
  vec2 turns[ELEMENTS];
  float queryWeights[ELEMENTS];
  float keyWeights[ELEMENTS];
};

uint elementOf(uint lane, uint k) {
  return lane % lineSize + k * lineSize;
}

Turning loadTurning(uint lane) {
  Turning turning;
  [[unroll]] for (uint k = 0; k < ELEMENTS; ++k) {
    uint i = elementOf(lane, k);
    turning.turns[k] = vec2(1.0, 0.0);
    if (i < 2u * pairs && i < headDim) {
      uint at = interleaved ? i / 2u : (i < pairs ? i : i - pairs);
      bool isFirst = interleaved ? (i & 1u) == 0u : i < pairs;
      float sine = table.at[pairs + at];
      turning.turns[k] = vec2(table.at[at], isFirst ? -sine : sine);
    }
    turning.queryWeights[k] = (queryForm & WEIGHTED) != 0u && i < headDim ? queryWeight.at[i] : 0.0;
    turning.keyWeights[k] = (keyForm & WEIGHTED) != 0u && i < headDim ? keyWeight.at[i] : 0.0;
  }
  return turning;
}

void putElement(uint line, uint i, float x) {
  if (line < 2u) {
    ownRows[line * (headDim / 4u) + (i >> 2)][i & 3u] = floatBitsToUint(x);
  } else {
    pool[scoreVectors + ((line - 2u) * headDim + i >> 2)][i & 3u] = x;
  }
}

float elementAt(uint line, uint i) {
  return line < 2u ? uintBitsToFloat(ownRows[line * (headDim / 4u) + (i >> 2)][i & 3u])
                   : pool[scoreVectors + ((line - 2u) * headDim + i >> 2)][i & 3u];
}

// Four elements of the row's key (line 0) or value (line 1), as they would be loaded; 0 beyond the head.
uvec2 ownHalf(uint line, uint quarter) {
  uvec4 bits = uvec4(0u);
  if (4u * quarter < headDim) bits = ownRows[line * (headDim / 4u) + quarter];
  return bits.xz | bits.yw << 16;
}

// Leaves queries in the pool, and key and value in ownRows; a barrier must follow. `stores`: this workgroup writes the state.
void takeHeads(uint lane, uint firstLine, uint ownHeads, uint kvHead, uint slot, bool stores, Turning turning) {
  float own[MOST_ROUNDS][ELEMENTS];
  [[unroll]] for (uint r = 0; r < MOST_ROUNDS; ++r) {
    if (r < rounds) {
      uint line = r * linesAtOnce + lane / lineSize;
      FloatsIn x = line == 0u ? ownKey : line == 1u ? ownValue : query;
      uint start = (line < 2u ? kvHead : firstLine + line - 2u) * headDim;
      [[unroll]] for (uint k = 0; k < ELEMENTS; ++k) {
        uint i = elementOf(lane, k);
        own[r][k] = line < ownHeads + 2u && i < headDim ? x.at[start + i] : 0.0;
      }
    }
  }

  if (((queryForm | keyForm | valueForm) & NORMED) != 0u) {
    float sums[MOST_ROUNDS];
    [[unroll]] for (uint r = 0; r < MOST_ROUNDS; ++r) {
      if (r < rounds) {
        precise float sum = 0.0;
        [[unroll]] for (uint k = 0; k < ELEMENTS; ++k) {
          if (elementOf(lane, k) < headDim) sum = fma(own[r][k], own[r][k], sum);
        }
        sums[r] = subgroupAdd(sum);
        if (lineSize > gl_SubgroupSize && subgroupElect()) lineSums[mostSubgroups * r + gl_SubgroupID] = sums[r];
      }
    }
    uint subgroups = lineSize / gl_SubgroupSize;
    if (subgroups > 1u) barrier();
    [[unroll]] for (uint r = 0; r < MOST_ROUNDS; ++r) {
      if (r < rounds) {
        uint line = r * linesAtOnce + lane / lineSize;
        uint todo = line == 0u ? keyForm : line == 1u ? valueForm : queryForm;
        precise float sum = sums[r];
        if (subgroups > 1u) {
          uint first = mostSubgroups * r + gl_SubgroupID / subgroups * subgroups;
          sum = lineSums[first];
          [[unroll]] for (uint i = 1; i < LINE_SUBGROUPS; ++i) {
            if (i < subgroups) sum += lineSums[first + i];
          }
        }
        precise float mean = sum / float(headDim);
        precise float factor = inversesqrt(mean + epsilon);
        [[unroll]] for (uint k = 0; k < ELEMENTS; ++k) {
          precise float y = own[r][k] * factor;
          float weight = line == 0u ? turning.keyWeights[k] : turning.queryWeights[k];
          if ((todo & WEIGHTED) != 0u) y *= offset + weight;
          if ((todo & NORMED) != 0u) own[r][k] = y;
        }
      }
    }
  }

  if (((queryForm | keyForm) & TURNED) != 0u) {
    if (hasPartners) {
      [[unroll]] for (uint r = 0; r < MOST_ROUNDS; ++r) {
        if (r < rounds) {
          uint line = r * linesAtOnce + lane / lineSize;
          uint todo = line == 0u ? keyForm : line == 1u ? valueForm : queryForm;
          float turned[ELEMENTS];
          [[unroll]] for (uint k = 0; k < ELEMENTS; ++k) {
            float partner = partnerStep == 1u ? own[r][k ^ 1u] : own[r][k ^ 2u];
            precise float y = fma(own[r][k], turning.turns[k].x, partner * turning.turns[k].y);
            turned[k] = y;
          }
          [[unroll]] for (uint k = 0; k < ELEMENTS; ++k) {
            if ((todo & TURNED) != 0u && k < 2u * partnerStep) own[r][k] = turned[k];
          }
        }
      }
    } else {
      [[unroll]] for (uint r = 0; r < MOST_ROUNDS; ++r) {
        if (r < rounds) {
          uint line = r * linesAtOnce + lane / lineSize;
          [[unroll]] for (uint k = 0; k < ELEMENTS; ++k) {
            uint i = elementOf(lane, k);
            if (line < headLines && i < headDim) putElement(line, i, own[r][k]);
          }
        }
      }
      barrier();
      [[unroll]] for (uint r = 0; r < MOST_ROUNDS; ++r) {
        if (r < rounds) {
          uint line = r * linesAtOnce + lane / lineSize;
          uint todo = line == 0u ? keyForm : line == 1u ? valueForm : queryForm;
          [[unroll]] for (uint k = 0; k < ELEMENTS; ++k) {
            uint i = elementOf(lane, k);
            if (line < headLines && (todo & TURNED) != 0u && i < 2u * pairs) {
              uint partner = interleaved ? i ^ 1u : (i < pairs ? i + pairs : i - pairs);
              precise float y = fma(own[r][k], turning.turns[k].x, elementAt(line, partner) * turning.turns[k].y);
              own[r][k] = y;
            }
          }
        }
      }
      // All invocations have read their partners.
      barrier();
    }
  }

  uint block = slot / blockTokens;
  bool isThere = block < poolBlocks;
  if (stores && !isThere && lane == 0u) noteFault(faults, FAULT_SLOT, slot, poolBlocks);
  [[unroll]] for (uint r = 0; r < MOST_ROUNDS; ++r) {
    if (r < rounds) {
      uint line = r * linesAtOnce + lane / lineSize;
      [[unroll]] for (uint k = 0; k < ELEMENTS; ++k) {
        uint i = elementOf(lane, k);
        if (line < headLines && i < headDim) {
          if (line < 2u) {
            uint bits = halfBits(own[r][k]);
            ownRows[line * (headDim / 4u) + (i >> 2)][i & 3u] = bits;
            uint to = kvRow(block, storedParts, line, kvHead, kvHeads, blockTokens, slot);
            if (stores && isThere) Halves(uvec2(state)).at[to * headDim + i] = uint16_t(bits);
          } else {
            putElement(line, i, own[r][k]);
          }
        }
      }
    }
  }
}
