/** Whole attention layers over ragged steps: the same tokens in one chunk, in many, in company, in other blocks. */
import type { DeviceInfo } from '@unicorn-exec/tensor';
import type { InvarianceCase } from './invariance.js';

export function scenarioInvariances(_info: DeviceInfo): InvarianceCase[] {
  return [];
}
