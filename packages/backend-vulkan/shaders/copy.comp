// Copies 16 bytes in each invocation as often as asked, to measure the rate of the device's memory. Tensors are not moved by
// it; transfers do that.
#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_scalar_block_layout : require

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint vectorsPerInvocation = 4;

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer VectorsIn {
  uvec4 at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 16) writeonly buffer Vectors {
  uvec4 at[];
};

layout(push_constant, scalar) uniform Arguments {
  VectorsIn source;
  Vectors target;
  uint vectors;
};

void main() {
  // Neighbours read neighbours: the stride between an invocation's vectors is the workgroup.
  uint group = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
  uint first = group * gl_WorkGroupSize.x * vectorsPerInvocation + gl_LocalInvocationID.x;
  for (uint i = 0; i < vectorsPerInvocation; ++i) {
    uint index = first + i * gl_WorkGroupSize.x;
    if (index < vectors) target.at[index] = source.at[index];
  }
}
