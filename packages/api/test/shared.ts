/** Where the shared reference data lie, when they lie beside the checkout. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { cpuBackend } from '@unicorn-exec/backend-cpu';
import { vulkanBackend } from '@unicorn-exec/backend-vulkan';
import { referenceBackend, type Backend } from '@unicorn-exec/tensor';

const shared = fileURLToPath(new URL('../../../../shared/', import.meta.url));

export const sharedPath = (path: string): string => `${shared}${path}`;

export const hasShared = (path: string): boolean => existsSync(sharedPath(path));

export const sharedJson = <T>(path: string): T => JSON.parse(readFileSync(sharedPath(path), 'utf8')) as T;

const isUsable = async (backend: Backend): Promise<boolean> =>
  (await backend.probe()).some(({ usable }) => usable);

/**
 * The backends that every model test runs on; `cpu` is there only where its addon could be built, `vulkan` where there is
 * a driver too (mesa-vulkan-drivers will do, which computes on the CPU).
 */
export const backends: readonly { name: string; backend: Backend; usable: boolean }[] = [
  { name: 'reference', backend: referenceBackend, usable: true },
  { name: 'cpu', backend: cpuBackend, usable: await isUsable(cpuBackend) },
  { name: 'vulkan', backend: vulkanBackend, usable: await isUsable(vulkanBackend) },
];

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

export function standardDeviation(values: Float32Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/** Index of the largest value; of equal ones the first. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
