// softmax(scale q k^T) v over a paged KV state, causal, grouped-query, ragged, for few rows: a workgroup takes one row, up
// to `heads` query heads of one KV head, and one section of the keys (include/attention.glsl tells the arithmetic).
//
// `keyLanes` neighbouring invocations share a key and score it for all heads; then `rowLanes` share a row of values, and
// each group of them makes one strand. Each invocation loads eight vectors while it uses the eight before, and the first values
// while it makes the last scores. The result of a section goes to `partials`, unless there is only one; the workgroup that ends
// last merges the sections (`mergesHere`), or, where they are many, attention-merge.comp does.
//
// With HEADS it does what heads.comp does too, for a single row: keys and values of earlier steps are then loaded before the
// products end that make the row's heads.
//
// It is not a dense attention: encoders without a cache need another kernel.
//
// Loops over arrays have literal bounds, and specialization constants leave out what is too much: so the compiler unrolls
// them, and arrays are registers; a loop within a loop that cannot be unrolled, or a return, would prevent it. KEY_VECTORS is
// how many vectors of 8 elements of a key an invocation has.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#define ONLY_VECTORS
#include "include/chain.glsl"
#include "include/memory.glsl"
#include "include/function.glsl"
#include "include/fault.glsl"
#include "include/attention.glsl"
#include "include/attention-state.glsl"
#include "include/quantize.glsl"

const uint invocations = 256u;
layout(local_size_x = 256) in;
// Query heads that a workgroup takes, at most 8 and at most `keyLanes`.
layout(constant_id = 8) const uint heads = 8;
// At most `mergedHere` sections, merged by the last workgroup of a row and its heads.
layout(constant_id = 9) const bool mergesHere = false;
// The result is left as int8 products take it: heads are whole blocks, and no dispatch merges them after this.
layout(constant_id = 10) const bool quantizes = false;

// Sections that `mergesHere` can take.
const uint mergedHere = 128u;

const uint lines = heads;
// Heads whose strands pass through shared memory at once.
const uint headsAtOnce = 1u + uint(heads > 1u);
// Scores and queries; afterwards strands of value sums.
const uint scoreVectors = heads * (sectionKeys / 4u + 1u);
// With one or two heads each subgroup finds the weights of the values that it sums, and waits for no other. The sums'
// order is that of `weighLine`. Their strands then lie behind the scores, which others may still read.
const bool weighsTogether = HEADS == 1 && heads <= 2u;
const uint sumsStart = uint(weighsTogether) * scoreVectors;
const uint firstVectors = scoreVectors + heads * rowLanes * 2u;
const uint lastVectors = headsAtOnce * 512u + sumsStart;
const uint sectionVectors =
    firstVectors * uint(firstVectors >= lastVectors) + lastVectors * uint(firstVectors < lastVectors);
// When sections are merged: the heads that come of it, then of each section the factors of mergeSection and (m, l).
const uint mergeStart = (heads * headDim + 3u) / 4u;
const uint mergeVectors = uint(mergesHere) * (mergeStart + heads * mergedHere);
const uint poolVectors =
    sectionVectors * uint(sectionVectors >= mergeVectors) + mergeVectors * uint(sectionVectors < mergeVectors);
shared vec4 pool[poolVectors];
#include "include/attention-weigh.glsl"

shared uint keyRows[sectionKeys];
#if HEADS
#include "include/attention-heads.glsl"
#endif

// Vectors that an invocation loads at once, the keys that they are of, and how many keys are scored side by side.
#define LOADS 8
#define BATCH_KEYS (LOADS / KEY_VECTORS)
#if BATCH_KEYS > 4
#define KEYS 4
#else
#define KEYS BATCH_KEYS
#endif
// Keys of a group of lanes, and their batches.
const uint keyGroups = invocations / keyLanes;
const uint groupKeys = (sectionKeys + keyGroups - 1u) / keyGroups;
const uint batches = (groupKeys + BATCH_KEYS - 1) / BATCH_KEYS;
const uint queryLoads = (heads * paddedDim + invocations - 1u) / invocations;
// heads, rounded up to a power of two.
const uint headSlots = heads + uint(heads == 3u) + uint(heads > 4u) * (8u - heads);

// Heads on their way to be quantized; where sections are merged here they have the pool, which is free by then.
shared float endedHeads[quantizes && !mergesHere ? heads * headDim : 1];

void finish(uint firstLine, uint i, float value) {
  if (!quantizes) {
    result.at[firstLine * headDim + i] = value;
  } else if (mergesHere) {
    pool[i >> 2][i & 3u] = value;
  } else {
    endedHeads[i] = value;
  }
}

float finishedAt(uint i) {
  return mergesHere ? pool[i >> 2][i & 3u] : endedHeads[i];
}

// Quantizes the results of all lines of the workgroup, when each is finished: a row's heads are the columns of a product.
void quantizeLines(uint lane, uint firstLine, uint ownHeads) {
  barrier();
  uint row = firstLine / queryHeads;
  uint before = (firstLine - row * queryHeads) * headDim / 8u;
  for (uint i = lane; i < ownHeads * headDim / 8u; i += invocations) {
    vec4 low = vec4(finishedAt(8u * i), finishedAt(8u * i + 1u), finishedAt(8u * i + 2u), finishedAt(8u * i + 3u));
    vec4 high =
        vec4(finishedAt(8u * i + 4u), finishedAt(8u * i + 5u), finishedAt(8u * i + 6u), finishedAt(8u * i + 7u));
    putQuarter(WordPairsOut(result), queryHeads * headDim, row, before + i, quantizeQuarter(low, high));
  }
}

// Where (m, l) begin in `partials`.
uint numbersStart() {
  return rows * queryHeads * sections * headDim;
}

// One level of the tree that adds the strands of a score, for several heads: while there are as many heads as lanes, each
// half of the lanes goes on with half of the heads. Lane r ends with head r modulo headSlots.
#define ADD_STRANDS(dots, DISTANCE)                                            \
  {                                                                            \
    bool upper = (gl_SubgroupInvocationID & DISTANCE) != 0u;                   \
    if (headSlots >= 2u * DISTANCE) {                                          \
      [[unroll]] for (uint h = 0; h < DISTANCE; ++h) {                         \
        float mine = upper ? dots[h + DISTANCE] : dots[h];                     \
        float theirs = upper ? dots[h] : dots[h + DISTANCE];                   \
        precise float sum = mine + subgroupShuffleXor(theirs, DISTANCE);       \
        dots[h] = sum;                                                         \
      }                                                                        \
    } else {                                                                   \
      [[unroll]] for (uint h = 0; h < 4u; ++h) {                               \
        if (h < headSlots) {                                                   \
          precise float sum = dots[h] + subgroupShuffleXor(dots[h], DISTANCE); \
          dots[h] = sum;                                                       \
        }                                                                      \
      }                                                                        \
    }                                                                          \
  }

// The row in the state of a key's value.
uint valueRow(uint row) {
  return row < ownRow ? row + valueDistance() : row;
}

// Where an invocation's load of a batch of keys is.
uint batchKey(uint lane, uint batch, uint load) {
  return (batch * BATCH_KEYS + load / KEY_VECTORS) * keyGroups + lane / keyLanes;
}

uint batchEighth(uint lane, uint load) {
  return load % KEY_VECTORS * keyLanes + lane % keyLanes;
}

// What an invocation has loaded, or what is on its way. Bits of `owned`, one for each row that `raws` has elements of, tell
// which are of the row that this step brings: those are put in when they are there.
struct Loaded {
  Raw raws[LOADS];
  uint owned;
};

Loaded loadKeys(uint lane, uint batch) {
  Loaded loaded;
  loaded.owned = 0u;
  [[unroll]] for (uint i = 0; i < LOADS; ++i) {
    uint key = batchKey(lane, batch, i);
    uint row = key < sectionKeys ? keyRows[key] : noRow;
    loaded.raws[i] = loadRaw(row, batchEighth(lane, i));
    loaded.owned |= uint(row == ownRow) << i;
  }
  return loaded;
}

// The values of the lane's strand from `first` on.
Loaded loadValues(uint lane, uint first) {
  uint strand = lane / rowLanes;
  uint place = lane % rowLanes;
  Loaded loaded;
  loaded.owned = 0u;
  [[unroll]] for (uint i = 0; i < LOADS; ++i) {
    uint row = first + i < strandKeys ? keyRows[(first + i) * strands + strand] : noRow;
    loaded.owned |= uint(row == ownRow) << i;
    loaded.raws[i] = loadRaw(valueRow(row), place);
  }
  return loaded;
}

// What is used after a batch of keys: the next, or after the last the first values.
Loaded loadNext(uint lane, uint batch, uint keyBatches) {
  bool areValues = batches == 1u || batch + 1u == keyBatches;
  Loaded loaded;
  loaded.owned = 0u;
  [[unroll]] for (uint i = 0; i < LOADS; ++i) {
    uint value = i < strandKeys ? i * strands + lane / rowLanes : sectionKeys;
    uint key = areValues ? value : batchKey(lane, batch + 1u, i);
    uint row = key < sectionKeys ? keyRows[key] : noRow;
    loaded.raws[i] = loadRaw(areValues ? valueRow(row) : row, areValues ? lane % rowLanes : batchEighth(lane, i));
    loaded.owned |= uint(row == ownRow) << i;
  }
  return loaded;
}

#if HEADS
// Puts in the row's own key. Most subgroups have nothing of it.
void putOwnKeys(uint lane, inout Loaded loaded) {
  if (loaded.owned != 0u) {
    [[unroll]] for (uint i = 0; i < LOADS; ++i) {
      if ((loaded.owned >> i & 1u) != 0u) {
        uint eighth = batchEighth(lane, i);
        loaded.raws[i].bits = uvec4(ownHalf(0u, 2u * eighth), ownHalf(0u, 2u * eighth + 1u));
      }
    }
  }
}

// Puts in the row's own value.
void putOwnValues(uint lane, inout Loaded loaded) {
  if (loaded.owned != 0u) {
    uint place = lane % rowLanes;
    uvec4 own = uvec4(ownHalf(1u, 2u * place), ownHalf(1u, 2u * place + 1u));
    [[unroll]] for (uint i = 0; i < LOADS; ++i) {
      if ((loaded.owned >> i & 1u) != 0u) loaded.raws[i].bits = own;
    }
  }
}

#include "include/attention-strands.glsl"

float weightAt(uint line, uint place) {
  return weighsTogether ? weights[(line * sectionKeys + place) >> 2][place & 3u]
                        : pool[line * lineVectors + (place >> 2)][place & 3u];
}
#else
#define putOwnKeys(lane, loaded)
#define putOwnValues(lane, loaded)
// clang-format off
#define weightAt(line, place) pool[(line) * lineVectors + ((place) >> 2)][(place) & 3u]
// clang-format on
#endif

// One section of `ownHeads` lines from `firstLine` on; `inSection` is not empty. `loaded` and `upcoming` are the first batch of
// keys and what follows it, on their way; queries are in the pool.
void attendSection(uint lane, uint firstLine, uint ownHeads, ivec2 inSection, uint keyBatches, inout Loaded loaded,
                   inout Loaded upcoming) {
  uint partialLine = firstLine * sections + gl_WorkGroupID.x;
  uint keyLane = lane % keyLanes;
  uint keyGroup = lane / keyLanes;
  uint strand = lane / rowLanes;
  uint valueKeys = min(strandKeys, uint(inSection.y) / strands + 1u);
  for (uint batch = 0; batch < keyBatches; ++batch) {
    if (batch > 0u) upcoming = loadNext(lane, batch, keyBatches);
    putOwnKeys(lane, loaded);
    [[unroll]] for (uint first = 0; first < BATCH_KEYS; first += KEYS) {
      if (first < groupKeys) {
        precise float dots[KEYS][8];
        [[unroll]] for (uint k = 0; k < KEYS; ++k) {
          [[unroll]] for (uint h = 0; h < 8u; ++h) dots[k][h] = 0.0;
        }
        [[unroll]] for (uint v = 0; v < KEY_VECTORS; ++v) {
          uint eighth = v * keyLanes + keyLane;
          // Beyond the head both are 0.
          uint at = scoreVectors + 2u * (eighth % rowLanes);
          vec4 low[KEYS];
          vec4 high[KEYS];
          [[unroll]] for (uint k = 0; k < KEYS; ++k) {
            decodeRaw(loaded.raws[(first + k) * KEY_VECTORS + v], low[k], high[k]);
          }
          [[unroll]] for (uint h = 0; h < 8u; ++h) {
            if (h < heads) {
              vec4 q = pool[at + h * rowLanes * 2u];
              vec4 r = pool[at + h * rowLanes * 2u + 1u];
              [[unroll]] for (uint k = 0; k < KEYS; ++k) {
                precise float dot = dots[k][h];
                dot = fma(q.x, low[k].x, dot);
                dot = fma(q.y, low[k].y, dot);
                dot = fma(q.z, low[k].z, dot);
                dot = fma(q.w, low[k].w, dot);
                dot = fma(r.x, high[k].x, dot);
                dot = fma(r.y, high[k].y, dot);
                dot = fma(r.z, high[k].z, dot);
                dot = fma(r.w, high[k].w, dot);
                dots[k][h] = dot;
              }
            }
          }
        }
        [[unroll]] for (uint k = 0; k < KEYS; ++k) {
          if (keyLanes >= 8u) ADD_STRANDS(dots[k], 4u)
          if (keyLanes >= 4u) ADD_STRANDS(dots[k], 2u)
          if (keyLanes >= 2u) ADD_STRANDS(dots[k], 1u)
          uint key = (batch * BATCH_KEYS + first + k) * keyGroups + keyGroup;
          precise float score = dots[k][0];
          if (weighsTogether) {
            score = score * scale;
            if (int(key) < inSection.x || int(key) > inSection.y) score = -infinity;
          }
          if (keyLane < heads && key < sectionKeys) setScore(keyLane, key, score);
        }
      }
    }
    loaded = upcoming;
  }
  // The second values are on their way while scores become weights.
  if (LOADS < valueKeys) upcoming = loadValues(lane, LOADS);
  barrier();
  vec2 tops;
  vec2 weightSums;
#if HEADS
  if (weighsTogether) {
    [[unroll]] for (uint h = 0; h < 2u; ++h) {
      if (h < heads) {
        tops[h] = topOf(h);
        weighStrands(h, tops[h], inSection);
      }
    }
    subgroupMemoryBarrierShared();
    subgroupBarrier();
  }
#endif
  if (!weighsTogether) {
    for (uint h = gl_SubgroupID; h < heads; h += gl_NumSubgroups) weighLine(h, inSection);
    barrier();
  }

  precise vec4 lowSums[8];
  precise vec4 highSums[8];
  [[unroll]] for (uint h = 0; h < 8u; ++h) {
    lowSums[h] = vec4(0.0);
    highSums[h] = vec4(0.0);
  }
  for (uint first = 0; first < valueKeys; first += LOADS) {
    if (first > 0u && first + LOADS < valueKeys) upcoming = loadValues(lane, first + LOADS);
    putOwnValues(lane, loaded);
    [[unroll]] for (uint i = 0; i < LOADS; ++i) {
      if (i < strandKeys) {
        vec4 low, high;
        decodeRaw(loaded.raws[i], low, high);
        uint place = strand * strandKeys + first + i;
        [[unroll]] for (uint h = 0; h < 8u; ++h) {
          if (h < heads) {
            vec4 weight = vec4(weightAt(h, place));
            lowSums[h] = fma(weight, low, lowSums[h]);
            highSums[h] = fma(weight, high, highSums[h]);
          }
        }
      }
    }
    loaded = upcoming;
  }

  // The strands of two heads, added in order.
  for (uint pair = 0; pair < (heads + 1u) / 2u; ++pair) {
    if (!weighsTogether) barrier();
    [[unroll]] for (uint h = 0; h < 8u; ++h) {
      if (h < heads && h / 2u == pair) {
        pool[sumsStart + h % 2u * 512u + lane] = lowSums[h];
        pool[sumsStart + h % 2u * 512u + invocations + lane] = highSums[h];
      }
    }
    barrier();
#if HEADS
    if (weighsTogether) {
      [[unroll]] for (uint h = 0; h < 2u; ++h) {
        if (h < heads) weightSums[h] = sumWeights(h);
      }
    }
#endif
    uint ownElements = min(2u, max(ownHeads, 2u * pair) - 2u * pair) * headDim;
    for (uint index = lane; index < ownElements; index += invocations) {
      uint head = 2u * pair + index / headDim;
      uint d = index % headDim;
      uint at = sumsStart + index / headDim * 512u + (d >> 2 & 1u) * invocations + (d >> 3);
      precise float sum = 0.0;
      for (uint c = 0; c < strands; c += 4u) {
        [[unroll]] for (uint k = 0; k < 4u; ++k) sum = sum + pool[at + (c + k) * rowLanes][d & 3u];
      }
      if (sections == 1u) {
        precise float value = sum * (1.0 / (weighsTogether ? weightSums[head & 1u] : sectionSum[head]));
        finish(firstLine, head * headDim + d, value);
      } else {
        partials.at[(partialLine + head * sections) * headDim + d] = sum;
      }
    }
  }
  if (sections > 1u && lane < ownHeads) {
    uint index = numbersStart() + 2u * (partialLine + lane * sections);
    partials.at[index] = weighsTogether ? tops[lane & 1u] : sectionTop[lane];
    partials.at[index + 1u] = weighsTogether ? weightSums[lane & 1u] : sectionSum[lane];
  }
}

// The twin of attention-merge.comp, for few sections.
void mergeLines(uint lane, uint firstLine, uint ownHeads) {
  // The sums that an invocation merges first are on their way while factors are found.
  float begun[8];
  uint beginAt = (firstLine + lane / headDim) * sections * headDim + lane % headDim;
  [[unroll]] for (uint k = 0; k < 8u; ++k) {
    begun[k] = lane < ownHeads * headDim && k < sections ? partials.at[beginAt + k * headDim] : 0.0;
  }
  for (uint i = lane; i < ownHeads * sections; i += invocations) {
    uint index = i / sections * mergedHere + i % sections;
    uint numbers = numbersStart() + 2u * (firstLine * sections + i);
    pool[mergeStart + index].zw = vec2(partials.at[numbers], partials.at[numbers + 1u]);
  }
  barrier();
  for (uint i = lane; i < ownHeads * sections; i += invocations) {
    uint start = i / sections * mergedHere;
    uint index = start + i % sections;
    float before = -infinity;
    for (uint k = start; k < index; ++k) {
      vec2 numbers = pool[mergeStart + k].zw;
      if (!isNothing(numbers.y) && numbers.x > before) before = numbers.x;
    }
    float ignored = 0.0;
    vec2 numbers = pool[mergeStart + index].zw;
    pool[mergeStart + index].xy =
        isNothing(numbers.y) ? vec2(1.0, 0.0) : mergeSection(before, ignored, numbers.x, numbers.y);
  }
  barrier();
  for (uint i = lane; i < ownHeads * headDim; i += invocations) {
    uint own = i / headDim;
    uint start = (firstLine + own) * sections * headDim + i % headDim;
    float mergedSum = 0.0;
    float merged = 0.0;
    for (uint first = 0; first < sections; first += 8u) {
      float parts[8];
      [[unroll]] for (uint k = 0; k < 8u; ++k) {
        parts[k] = begun[k];
        if ((i != lane || first > 0u) && first + k < sections) parts[k] = partials.at[start + (first + k) * headDim];
      }
      [[unroll]] for (uint k = 0; k < 8u; ++k) {
        uint index = own * mergedHere + min(first + k, sections - 1u);
        vec4 of = pool[mergeStart + index];
        if (first + k < sections && !isNothing(of.w)) {
          precise float sum = fma(mergedSum, of.x, of.w * of.y);
          precise float value = fma(merged, of.x, parts[k] * of.y);
          mergedSum = sum;
          merged = value;
        }
      }
    }
    precise float inverse = 1.0 / mergedSum;
    precise float value = merged * inverse;
    finish(firstLine, i, isAny(mergedSum) ? value : 0.0);
  }
}

shared uint isLast;

void run() {
  // Neighbours in a subgroup share keys.
  uint lane = gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
  uint row = gl_WorkGroupID.z;
  uint group = queryHeads / kvHeads;
  uint chunks = (group + heads - 1u) / heads;
  uint kvHead = gl_WorkGroupID.y / chunks;
  uint headInGroup = (gl_WorkGroupID.y - kvHead * chunks) * heads;
  uint ownHeads = min(heads, group - headInGroup);
  uint firstLine = row * queryHeads + kvHead * group + headInGroup;

  // In a decode step row i is sequence i, and with one sequence all rows are its: what that guess needs is read at once.
  uint guess = min(row, sequences - 1u);
  int sequence = -1;
  int position = positions.at[row];
  int last = reachOf(row);
  int tableEntry = 0;
  uint section = gl_WorkGroupID.x;
  if (sequences > 0u) {
    int begin = starts.at[guess];
    int end = guess + 1u < sequences ? starts.at[guess + 1u] : int(rows);
    if (hasWindow) section += uint(sightOf(position, last).x) / sectionKeys;
    uint column = min((section * sectionKeys + lane) / blockTokens, tableColumns - 1u);
    if (tableColumns > 0u) tableEntry = blocks.at[guess * tableColumns + column];
    if (begin >= 0 && begin <= int(row) && end > int(row)) {
      sequence = int(guess);
    } else {
      sequence = sequenceOf(row);
      if (sequence >= 0 && tableColumns > 0u) tableEntry = blocks.at[uint(sequence) * tableColumns + column];
    }
  }
  ivec2 sight = sightOf(position, last);
  int firstKey = int(section * sectionKeys);
  ivec2 inSection = ivec2(max(sight.x - firstKey, 0), min(sight.y - firstKey, int(sectionKeys) - 1));
  bool isEmpty = inSection.x > inSection.y || sequence < 0;
  bool sees = !isEmpty && int(lane) >= inSection.x && int(lane) <= inSection.y;
  uint ofKey = sees ? keyRow(tableEntry, kvHead, uint(firstKey) + lane) : noRow;
#if HEADS
  uint slot = uint(slots.at[0]);
  uint block = slot / blockTokens;
  if (block < poolBlocks && ofKey == kvRow(block, storedParts, 0u, kvHead, kvHeads, blockTokens, slot)) ofKey = ownRow;
#endif
  if (lane < sectionKeys) keyRows[lane] = ofKey;
  // As many as the last key that is seen asks for.
  uint keyBatches = isEmpty ? 1u : min(batches, uint(inSection.y) / (BATCH_KEYS * keyGroups) + 1u);
  if (row == 0u && gl_WorkGroupID.x == 0u && gl_WorkGroupID.y == 0u) checkStarts();
#if HEADS
  // Keys beyond those that are scored are not seen.
  if (weighsTogether) {
    for (uint i = lane; i < scoreVectors; i += invocations) pool[i] = vec4(-infinity);
  }
  // Keys and values of steps before are there: only the row's own are not.
  barrier();
  Loaded loaded = loadKeys(lane, 0u);
  Loaded upcoming = loadNext(lane, 0u, keyBatches);
  Turning turning = loadTurning(lane);
  awaitEarlier(Chain(faults), before);
  takeHeads(lane, firstLine, ownHeads, kvHead, slot, headInGroup == 0u && gl_WorkGroupID.x == 0u, turning);
#else
  awaitEarlier(Chain(faults), before);
  // Where nothing was waited for, keyRows are not yet visible to all.
  barrier();
  float asked[LOADS];
  [[unroll]] for (uint i = 0; i < LOADS; ++i) {
    if (i < queryLoads) {
      uint index = i * invocations + lane;
      uint head = index / paddedDim;
      uint element = index % paddedDim;
      bool there = head < ownHeads && element < headDim;
      asked[i] = there ? query.at[(firstLine + head) * headDim + element] : 0.0;
    }
  }
  Loaded loaded = loadKeys(lane, 0u);
  Loaded upcoming = loadNext(lane, 0u, keyBatches);
  [[unroll]] for (uint i = 0; i < LOADS; ++i) {
    uint index = i * invocations + lane;
    if (i < queryLoads && index < heads * paddedDim) pool[scoreVectors + (index >> 2)][index & 3u] = asked[i];
  }
#endif
  barrier();
  if (!isEmpty) {
    attendSection(lane, firstLine, ownHeads, inSection, keyBatches, loaded, upcoming);
  } else if (sections == 1u) {
    for (uint i = lane; i < ownHeads * headDim; i += invocations) finish(firstLine, i, 0.0);
  } else if (lane < ownHeads) {
    uint line = (firstLine + lane) * sections + gl_WorkGroupID.x;
    partials.at[numbersStart() + 2u * line] = -infinity;
    partials.at[numbersStart() + 2u * line + 1u] = nothingSeen;
  }
  if (!mergesHere) {
    if (quantizes) quantizeLines(lane, firstLine, ownHeads);
    return;
  }

  // What this workgroup has written is there before it counts itself; who counts last reads what the others wrote.
  memoryBarrierBuffer();
  barrier();
  if (lane == 0u) {
    uint counter = row * gl_NumWorkGroups.y + gl_WorkGroupID.y;
    bool ended = atomicAdd(counters.at[counter], 1u) == sections - 1u;
    if (ended) counters.at[counter] = 0u;
    isLast = uint(ended);
  }
  barrier();
  if (isLast == 0u) return;
  memoryBarrierBuffer();
  mergeLines(lane, firstLine, ownHeads);
  if (quantizes) quantizeLines(lane, firstLine, ownHeads);
}

void main() {
  run();
  countEnded(Chain(faults));
}
