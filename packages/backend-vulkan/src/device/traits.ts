/** Translates what the addon tells of a device into the info of the Backend contract and into the traits of kernels. */
import { hostPool, kvDTypes, type DeviceInfo, type DeviceSpeed } from '@unicorn-exec/tensor';
import type { PhysicalDevice } from '../addon.js';
import type { CooperativeMatrixShape, DeviceTraits } from '../dispatch/dispatch.js';
import { bindingAlignment } from './buffer.js';
import { planeDTypes } from '../weights/weight-layout.js';

/** The values of VkComponentTypeKHR that some kernel uses. */
const componentTypes: Readonly<Record<number, string>> = {
  0: 'f16',
  1: 'f32',
  3: 'i8',
  5: 'i32',
  7: 'u8',
  1_000_141_000: 'bf16',
};

/** VkScopeKHR. */
const scopes: Readonly<Record<number, string>> = { 2: 'workgroup', 3: 'subgroup' };

function matrixShapes({ cooperativeMatrix }: PhysicalDevice): CooperativeMatrixShape[] {
  return cooperativeMatrix.flatMap(([m, n, k, aType, resultType, scopeType]) => {
    const a = componentTypes[aType];
    const result = componentTypes[resultType];
    const scope = scopes[scopeType];
    if (a === undefined || result === undefined || scope === undefined) return [];
    return [{ m, n, k, a, result, scope } as CooperativeMatrixShape];
  });
}

export function deviceTraits(device: PhysicalDevice): DeviceTraits {
  const { subgroupSize, minSubgroupSize, maxSubgroupSize, computeUnits } = device;
  const { sharedMemoryBytes, maxInvocations, integerDot, float16 } = device;
  return {
    subgroupSize,
    minSubgroupSize,
    maxSubgroupSize,
    computeUnits,
    sharedMemoryBytes,
    maxInvocations,
    integerDot,
    cooperativeMatrix: matrixShapes(device),
    float16,
    software: device.kind === 'cpu',
  };
}

/**
 * @param id under which the backend lists the device
 * @param speed its rates, where they were measured
 */
export function deviceInfo(device: PhysicalDevice, id: string, speed?: DeviceSpeed): DeviceInfo {
  const heaps = device.heaps.map(({ bytes, deviceLocal, hostVisible }, index) => ({
    name: `${deviceLocal ? 'device' : 'host'}${index}`,
    bytes,
    // Only a card of its own has memory that is not the system's.
    pool: deviceLocal && device.kind === 'discrete' ? id : hostPool,
    hostVisible,
    ...(deviceLocal && speed ? { bytesPerSecond: speed.bytesPerSecond } : {}),
  }));
  const largest = Math.max(0, ...device.heaps.filter((heap) => heap.deviceLocal).map(({ bytes }) => bytes));
  const features = [
    ...(device.float16 ? ['float16'] : []),
    ...(device.integerDot ? ['integerDot'] : []),
    ...(device.cooperativeMatrix.length > 0 ? ['cooperativeMatrix'] : []),
    ...(device.memoryBudget ? ['memoryBudget'] : []),
    ...(device.kind === 'cpu' ? ['software'] : []),
  ];
  return {
    backend: 'vulkan',
    id,
    name: `${device.kind === 'cpu' ? 'software rasterizer ' : ''}${device.name} (${device.driver}, Vulkan ${device.apiVersion})`,
    dtypes: { weights: ['f32', 'f16', 'bf16', ...planeDTypes], kv: kvDTypes },
    precisions: ['f32', 'fast'],
    activations: {
      f32: { kind: 'float', dtype: 'f32' },
      fast: { kind: 'int8', scale: 'block', blockSize: 32 },
    },
    numerics: { prompt: `vulkan ${device.name}`, token: `vulkan ${device.name}` },
    shapes: 'dynamic',
    rows: { kind: 'any' },
    alignmentBytes: bindingAlignment,
    maxBufferBytes: Math.min(device.maxAllocationBytes, largest),
    heaps,
    hardware: {
      vendorId: device.vendorId,
      deviceId: device.deviceId,
      uuid: device.uuid,
      driver: device.driver,
      isSoftware: device.kind === 'cpu',
    },
    ...(speed ? { speed } : {}),
    features,
  };
}
