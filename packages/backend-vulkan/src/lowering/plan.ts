/**
 * The plan that lowering makes of a graph for this backend: the steps that all backends share, and one step for each other
 * op. It is plain data with symbolic dims. `text.ts` prints it; `dispatches.ts` makes dispatches of it when the dims are known.
 */
import type { ArenaPlace, AttentionStep, MatmulStep, PlannedValue, SampleStep } from '@unicorn-exec/lowering';
import type { Attributes, Graph, Signature } from '@unicorn-exec/tensor';

export interface OpStep {
  readonly kind: 'op';
  /** Its name in the table of kernels: the op's, but for what lowering adds. */
  readonly kernel: string;
  /** Graph node; undefined for what lowering adds. */
  readonly node: number | undefined;
  /** Nodes that it computes in passing. */
  readonly also?: readonly number[];
  /** Operand name to value id. */
  readonly inputs: Readonly<Record<string, number>>;
  /** The state itself for `kvWrite`. */
  readonly out: number;
  /** Results of the op behind the first. */
  readonly others?: readonly number[];
  readonly attributes: Attributes;
}

/** Heads in a product's result: value ids. */
export interface PlannedHeads {
  readonly x: number;
  readonly normed: boolean;
  readonly weight: number | undefined;
  readonly turned: boolean;
}

/** Norm, rope and kvWrite of a layer's heads, between its products and its attention. */
export interface HeadsStep {
  readonly kind: 'heads';
  readonly nodes: readonly number[];
  readonly query?: PlannedHeads & { readonly out: number };
  readonly stored?: {
    readonly key: PlannedHeads;
    readonly value: PlannedHeads;
    readonly state: number;
    readonly slots: number;
    /** The state after the write. */
    readonly out: number;
  };
  readonly epsilon: number;
  readonly weightOffset: number;
  readonly rope?: { readonly table: number; readonly layout: 'half' | 'interleaved' };
}

export type Step = OpStep | HeadsStep | MatmulStep | AttentionStep | SampleStep;

/** Memory that a step itself needs, in bytes at the largest dims. */
export interface StepMemory {
  /** In the arena. */
  readonly scratchOffset: number;
  readonly scratchBytes: number;
  /** Among the counters. */
  readonly countersOffset: number;
  readonly counterBytes: number;
}

/** Rows of a weight in host memory that a submission brings along: `embed.inputs.table` reads them instead. */
export interface PlannedGather {
  /** Index in {@link Plan.steps}. */
  readonly step: number;
  readonly weight: string;
  /** Value id of the ids: an input that must be bound to host data. */
  readonly ids: number;
  readonly beyond: 'error' | 'firstRow';
  /** At the largest dims. */
  readonly byteLength: number;
}

/** Attention whose result a products step alone reads, and prepares before it does. The kernels decide what becomes of it. */
export interface InlinedPreparing {
  /** Indices in {@link Plan.steps}. */
  readonly attention: number;
  readonly products: number;
}

/** Heads that the attention after them alone reads, and may do first. The kernel decides whether it does. */
export interface InlinedHeads {
  /** Indices in {@link Plan.steps}. */
  readonly heads: number;
  readonly attention: number;
}

export interface Plan {
  readonly name: string;
  readonly precision: 'f32' | 'fast';
  readonly graph: Graph;
  readonly signature: Signature;
  readonly values: readonly PlannedValue[];
  readonly steps: readonly Step[];
  /** One for each step. */
  readonly memory: readonly StepMemory[];
  readonly gathers: readonly PlannedGather[];
  readonly inlinedPreparing: readonly InlinedPreparing[];
  readonly inlinedHeads: readonly InlinedHeads[];
  readonly places: readonly ArenaPlace[];
  readonly arenaBytes: number;
  readonly counterBytes: number;
  /** Constants back to back; value id of each root to its offset. */
  readonly constants: Uint8Array;
  readonly constantOffsets: ReadonlyMap<number, number>;
  /** `input:name` and so on to the index of the binding. */
  readonly bindings: ReadonlyMap<string, number>;
  readonly maximumDims: Readonly<Record<string, number>>;
}
