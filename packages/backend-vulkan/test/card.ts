/** A large discrete GPU, for what is planned for one without having it: an H200. */
import type { DeviceTraits } from '../src/dispatch/dispatch.js';

export const card: DeviceTraits = {
  subgroupSize: 32,
  minSubgroupSize: 32,
  maxSubgroupSize: 32,
  computeUnits: 132,
  sharedMemoryBytes: 49_152,
  maxInvocations: 1024,
  integerDot: true,
  cooperativeMatrix: [{ m: 16, n: 16, k: 16, a: 'f16', result: 'f32', scope: 'subgroup' }],
  float16: true,
  software: false,
};
