/**
 * The plan that lowering makes of a graph for this backend: the steps that all backends share, and chains of row kernels for
 * everything else. It is plain data, which `text.ts` prints and `encode.ts` writes for the addon.
 */
import { stepNodes } from '@unicorn-exec/lowering';
import type { ArenaPlace, AttentionStep, MatmulStep, PlannedValue, SampleStep } from '@unicorn-exec/lowering';
import type { Dim } from '@unicorn-exec/tensor';

export interface RowOperand {
  /** Value id; absent operands are undefined. */
  readonly value: number | undefined;
  /** Axis of the rows, undefined where every row reads all of it. */
  readonly axis: number | undefined;
  readonly written?: boolean;
}

/** One kernel of a chain over rows. */
export interface RowLink {
  /** The op, or `ropeTable` and `copy`, which only this backend has. */
  readonly kernel: string;
  readonly operands: readonly RowOperand[];
  readonly numbers: readonly number[];
  /** Graph node; undefined for what lowering adds. */
  readonly node: number | undefined;
}

export interface RowsStep {
  readonly kind: 'rows';
  /** Number of rows that the pool splits; 1 when there is nothing to split. */
  readonly dim: Dim;
  readonly links: RowLink[];
}

export type Step = RowsStep | MatmulStep | AttentionStep | SampleStep;

/** Ids of the graph's nodes that a step computes. */
export function graphNodes(step: Step): number[] {
  return step.kind === 'rows' ? step.links.flatMap(({ node }) => node ?? []) : stepNodes(step);
}

export interface Plan {
  readonly name: string;
  readonly precision: 'f32' | 'fast';
  readonly values: readonly PlannedValue[];
  readonly steps: readonly Step[];
  readonly places: readonly ArenaPlace[];
  readonly arenaBytes: number;
  readonly bindingCount: number;
  readonly symbols: readonly string[];
  readonly maximumDims: Readonly<Record<string, number>>;
}
