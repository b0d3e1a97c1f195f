// Reads weights into the last-level cache, beside a dispatch that leaves the memory idle, so that the next reader finds them
// there. It changes nothing, and depends on nothing. The twin of src/dispatch/prefetch.ts.
#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x_id = 0) in;

// 16-byte vectors that an invocation has under way at once: `vectorsPerInvocation` of src/dispatch/prefetch.ts.
#define VECTORS 4

// What one entry of the tables that translate addresses covers at most on the devices that this is for, in vectors of 16
// bytes: 2 MiB.
#define PAGE_VECTORS 131072u

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer Vectors {
  uvec4 at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) writeonly buffer Words {
  uint at[];
};

layout(push_constant, scalar) uniform Arguments {
  // Up to three ranges, the others empty.
  Vectors first;
  Vectors second;
  Vectors third;
  Words sink;
  // To be read, by range, and vectors of the whole of which one a page is touched.
  uint vectors[3];
  uint touched[3];
  // 0: no value that is read has a bit in it, and nothing is ever written. The driver cannot know, so it leaves the reads.
  uint never;
};

Vectors rangeAt(uint i) {
  if (i == 0u) return first;
  if (i == 1u) return second;
  return third;
}

void main() {
  const uint runLength = gl_WorkGroupSize.x * VECTORS;
  uint place = gl_LocalInvocationID.x;
  uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
  uint run = group;
  uvec4 folded = uvec4(0);
  for (uint range = 0; range < 3; range++) {
    uint runs = (vectors[range] + runLength - 1) / runLength;
    if (run < runs) {
      Vectors from = rangeAt(range);
      uint begin = run * runLength + place;
      uvec4 read[VECTORS];
      [[unroll]] for (uint i = 0; i < VECTORS; i++) {
        read[i] = from.at[min(begin + i * gl_WorkGroupSize.x, vectors[range] - 1)];
      }
      [[unroll]] for (uint i = 0; i < VECTORS; i++) folded |= read[i];
      break;
    }
    run -= runs;
  }
  // Compute units have tables of their own, by clusters, and neighbouring workgroups go to different ones: so many
  // neighbours touch a page, and others the others.
  const uint neighbours = 16;
  uint shares = (gl_NumWorkGroups.x * gl_NumWorkGroups.y + neighbours - 1) / neighbours;
  uint page = group / neighbours + place * shares;
  for (uint range = 0; range < 3; range++) {
    Vectors from = rangeAt(range);
    uint pages = (touched[range] + PAGE_VECTORS - 1) / PAGE_VECTORS;
    for (uint at = page; at < pages; at += gl_WorkGroupSize.x * shares) folded |= from.at[at * PAGE_VECTORS];
  }
  uint all = folded.x | folded.y | folded.z | folded.w;
  if ((all & never) != 0u) sink.at[0] = all;
}
