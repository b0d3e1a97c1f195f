// Copies 16 bytes an invocation as often as asked: what the memory yields, measured on the device at hand. Not a way to
// move tensors; transfers do that.
#version 460

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint vectorsPerInvocation = 4;

layout(std430, set = 0, binding = 0) readonly buffer Source {
  uvec4 source[];
};
layout(std430, set = 0, binding = 1) writeonly buffer Target {
  uvec4 target[];
};
layout(push_constant) uniform Push {
  uint vectors;
};

void main() {
  // Neighbours read neighbours: the stride between an invocation's vectors is the workgroup.
  uint first = gl_WorkGroupID.x * gl_WorkGroupSize.x * vectorsPerInvocation + gl_LocalInvocationID.x;
  for (uint i = 0; i < vectorsPerInvocation; ++i) {
    uint index = first + i * gl_WorkGroupSize.x;
    if (index < vectors) target[index] = source[index];
  }
}
