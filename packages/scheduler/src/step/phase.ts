/**
 * Where a token stands: before the end of its request's prompt, or behind it. Nothing else chooses the program of a token
 * on devices that compute the two phases in different classes of bits: neither company nor chunks, neither a preemption
 * nor what the prefix cache had. So a token is the same bits whatever happens around it.
 */
import type { DeviceInfo, Phase } from '@unicorn-exec/tensor';

/**
 * What tells a device's programs apart: the phase where its classes of bits differ by it, else nothing. Steps of
 * different phases run in runners of their own.
 */
export type RunnerPhase = Phase | undefined;

/** The runners that a device needs. */
export function runnerPhases({ numerics }: Pick<DeviceInfo, 'numerics'>): readonly RunnerPhase[] {
  return numerics.prompt === numerics.token ? [undefined] : ['prompt', 'token'];
}
