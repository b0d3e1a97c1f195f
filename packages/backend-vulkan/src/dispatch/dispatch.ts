/**
 * Dispatches: a shader with constants, arguments in the order of its push constants, and a grid. Kernels (`kernel/`) make
 * them from concrete shapes; `hazards.ts` puts barriers between them; `recording-words.ts` writes them for the addon.
 * Nothing here knows a graph.
 *
 * Every tensor argument is a 64-bit buffer device address. Bindings of 128 MiB, which descriptors are limited to on some
 * drivers, therefore do not matter, and a recording needs no descriptor sets.
 */

/** Where bytes live. */
export type Storage =
  /** The activations of one executable, placed by their lifetimes. */
  | { readonly kind: 'arena' }
  /** Memory that a submission binds, by index: inputs, outputs, states. */
  | { readonly kind: 'binding'; readonly index: number }
  /** A weight, by index in its set; planes are addressed by offsets (`weight-layout.ts`). */
  | { readonly kind: 'weight'; readonly index: number }
  /** Constants of the graph and of kernels, uploaded at compilation. */
  | { readonly kind: 'constants' }
  /** Memory that kernels of one executable leave to each other: zeroed at compilation, counters return to zero. */
  | { readonly kind: 'counters' }
  /**
   * What a submission brings along: the address of its fault record (`kernel/operand.ts`), inputs bound to host data, rows
   * of weights in host memory.
   */
  | { readonly kind: 'inputs' };

/** Bytes of one storage. `byteOffset` is a multiple of 4; of 16 wherever the storage's start is the tensor's. */
export interface Place {
  readonly storage: Storage;
  readonly byteOffset: number;
  readonly byteLength: number;
}

export type Access = 'read' | 'write' | 'readWrite';

/** A push constant: addresses of 8 bytes, which begin at multiples of 8 so that no padding is needed, and numbers of 4. */
export type Argument =
  | { readonly kind: 'address'; readonly place: Place; readonly access: Access; readonly isEarly?: true }
  /** An optional operand that is absent: address 0, which the shader tests. */
  | { readonly kind: 'null' }
  | { readonly kind: 'u32'; readonly value: number }
  | { readonly kind: 'i32'; readonly value: number }
  | { readonly kind: 'f32'; readonly value: number }
  /** u32: of a chained dispatch the workgroups of its chain that must have ended before it goes on (`chain.ts`). */
  | { readonly kind: 'before' };

/** A variant of `shaders/variants` with its specialization constants, by constant id. One pipeline each. */
export interface PipelineSpec {
  /** Name of the variant: the compiled blob. */
  readonly shader: string;
  /** Value of constant_id 0, 1, ...; id 0 is always the number of invocations of a workgroup (local_size_x). */
  readonly constants: readonly number[];
  /** Pins the subgroup size where the device lets it vary (VK_EXT_subgroup_size_control). */
  readonly subgroupSize?: number;
}

/** One vkCmdDispatch. */
export interface Dispatch {
  readonly pipeline: PipelineSpec;
  readonly arguments: readonly Argument[];
  /** Workgroups along x, y, z: each at most 65,535, which every device allows. */
  readonly groups: readonly [number, number, number];
  /** What profiles call it, for example `rmsNorm+matmul q4_0`. */
  readonly name: string;
  /** The variant for a chain; absent where the shader has none. */
  readonly chained?: Pick<Dispatch, 'pipeline' | 'arguments'> & { readonly groups?: Dispatch['groups'] };
  /** True when the dispatch is in a chain. */
  readonly isChained?: boolean;
}

/** Push constants that every device has. */
export const pushConstantBytes = 128;

/** Workgroups along one axis that every device allows (maxComputeWorkGroupCount of lavapipe). */
export const maximumGroups = 65_535;

/** What a kernel's form follows from on a device, so that a device that is only described can be planned for. */
export interface DeviceTraits {
  readonly subgroupSize: number;
  readonly minSubgroupSize: number;
  readonly maxSubgroupSize: number;
  readonly computeUnits: number;
  readonly sharedMemoryBytes: number;
  readonly maxInvocations: number;
  /** shaderIntegerDotProduct with 4x8-bit packed products accelerated by the hardware. */
  readonly integerDot: boolean;
  readonly cooperativeMatrix: readonly CooperativeMatrixShape[];
  readonly float16: boolean;
  /** True when the device may stop long submissions or drops loop passes beyond 65,535 (llvmpipe). */
  readonly software: boolean;
}

export interface CooperativeMatrixShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: 'f16' | 'bf16' | 'i8' | 'u8';
  readonly result: 'f16' | 'f32' | 'i32';
  readonly scope: 'subgroup' | 'workgroup';
}

export const read = (place: Place): Argument => ({ kind: 'address', place, access: 'read' });
export const write = (place: Place): Argument => ({ kind: 'address', place, access: 'write' });
export const readWrite = (place: Place): Argument => ({ kind: 'address', place, access: 'readWrite' });
export const optional = (place: Place | undefined): Argument => (place ? read(place) : { kind: 'null' });
/** Whether a chained variant may read a place before it waits: nothing writes weights and constants. */
export const early = (argument: Argument): Argument =>
  argument.kind === 'address' ? { ...argument, isEarly: true } : argument;
export const u32 = (value: number): Argument => ({ kind: 'u32', value });
export const i32 = (value: number): Argument => ({ kind: 'i32', value });
export const f32 = (value: number): Argument => ({ kind: 'f32', value });
