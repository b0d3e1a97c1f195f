// The layout of what the two kernels of logProbabilities pass on, and their order of tokens. Needs memory.glsl.

// Tokens of the vocabulary that one workgroup of log-probabilities-scan takes; in src/kernel/log-probabilities.ts too.
const uint stretchTokens = 2048u;

// Larger for larger logits, never 0 of a number; -0 is 0.
uint rankKey(float logit) {
  uint bits = floatBitsToUint(logit);
  if (bits == 0x80000000u) bits = 0u;
  return (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
}

const uint noToken = 0xffffffffu;

// As many as there may be subgroups: 256 invocations in subgroups of 4.
shared uvec2 bestOfSubgroup[64];

// The token with the largest key, of equal ones the one with the lowest id; (0, noToken) where there is none. All
// invocations call it, and all get it.
uvec2 bestOfWorkgroup(uint key, uint id) {
  uint subgroupKey = subgroupMax(key);
  uint subgroupId = subgroupMin(key == subgroupKey ? id : noToken);
  // All invocations have read the last best tokens.
  barrier();
  if (subgroupElect()) bestOfSubgroup[gl_SubgroupID] = uvec2(subgroupKey, subgroupId);
  barrier();
  uvec2 best = bestOfSubgroup[0];
  for (uint i = 1; i < gl_NumSubgroups; ++i) {
    uvec2 other = bestOfSubgroup[i];
    if (other.x > best.x || (other.x == best.x && other.y < best.y)) best = other;
  }
  return best;
}
