// Scores of a section in shared memory, and what becomes of them: for the row and the tile form. Before it come attention.glsl,
// attention-state.glsl, and `lines`, how many lines a workgroup has; and `pool`, the shared vec4s that begin with the scores.
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require

// Lanes that share a row of keys: at most 8, and no more than a subgroup has.
layout(constant_id = 7) const uint keyLanes = 8;

const uint paddedDim = rowLanes * 8u;
// Strands of value sums in a section, one for each rowLanes of 256 invocations, and the keys of each: with two lanes one.
const uint strands = 256u / rowLanes;
const uint strandKeys = sectionKeys / strands;

// Scores lie strand by strand, so that the keys of a strand are neighbours; a gap after each line moves it to other banks.
const uint lineVectors = sectionKeys / 4u + 1u;

uint scorePlace(uint line, uint key) {
  return 4u * lineVectors * line + key % strands * strandKeys + key / strands;
}

// The key at a place of a line.
uint keyAt(uint place) {
  return place % strandKeys * strands + place / strandKeys;
}

void setScore(uint line, uint key, float score) {
  uint place = scorePlace(line, key);
  pool[place >> 2][place & 3u] = score;
}

shared float sectionTop[lines];
shared float sectionSum[lines];

// Turns the sums of products of a line into scores, those into weights, and finds m and l. One subgroup calls it; `sight` are
// the first and last key of the section that the line sees, first > last where none.
void weighLine(uint line, ivec2 sight) {
  uint start = line * lineVectors;
  float top = -infinity;
  for (uint i = gl_SubgroupInvocationID; i < sectionKeys / 4u; i += gl_SubgroupSize) {
    precise vec4 four = pool[start + i] * scale;
    pool[start + i] = four;
    if (hasSoftcap) {
      [[dont_unroll]] for (uint c = 0; c < 4u; ++c) pool[start + i][c] = softcapped(pool[start + i][c], cap);
      four = pool[start + i];
    }
    [[unroll]] for (uint c = 0; c < 4u; ++c) {
      int key = int(keyAt(4u * i + c));
      if (key >= sight.x && key <= sight.y && four[c] > top) top = four[c];
    }
  }
  for (uint distance = gl_SubgroupSize / 2u; distance > 0u; distance /= 2u) {
    float other = subgroupShuffleXor(top, distance);
    if (other > top) top = other;
  }
  precise float sum = 0.0;
  for (uint i = gl_SubgroupInvocationID; i < sectionKeys / 4u; i += gl_SubgroupSize) {
    vec4 four = pool[start + i];
    [[unroll]] for (uint c = 0; c < 4u; ++c) {
      int key = int(keyAt(4u * i + c));
      precise float weight = 0.0;
      if (key >= sight.x && key <= sight.y) weight = exactExp(four[c] - top);
      sum = sum + weight;
      four[c] = weight;
    }
    pool[start + i] = four;
  }
  for (uint distance = gl_SubgroupSize / 2u; distance > 0u; distance /= 2u)
    sum = sum + subgroupShuffleXor(sum, distance);
  if (gl_SubgroupInvocationID == 0u) {
    sectionTop[line] = top;
    sectionSum[line] = sight.x <= sight.y ? sum : nothingSeen;
  }
}
