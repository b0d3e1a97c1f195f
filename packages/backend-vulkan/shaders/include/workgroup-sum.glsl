// Sums over a workgroup, whatever the subgroup's size: the order of additions is fixed by the device and the workgroup's
// size, never by the grid. Needs `layout(local_size_x_id = 0) in`. All invocations must call them.
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require

// As many as there may be subgroups: 1,024 invocations in subgroups of 4.
shared vec2 subgroupSums[256];

vec2 workgroupSum(vec2 value) {
  precise vec2 sum = subgroupAdd(value);
  if (gl_NumSubgroups == 1) return sum;
  // All invocations have read the sums of the last call.
  barrier();
  if (subgroupElect()) subgroupSums[gl_SubgroupID] = sum;
  barrier();
  sum = subgroupSums[0];
  for (uint i = 1; i < gl_NumSubgroups; ++i) sum += subgroupSums[i];
  return sum;
}

float workgroupSum(float value) {
  return workgroupSum(vec2(value, 0.0)).x;
}
