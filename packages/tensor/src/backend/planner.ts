/** What a device could do and what it would take, asked without opening it. */
import type { Graph, Node } from '../graph/graph.js';
import type { DimValues } from '../shape.js';
import type { Precision } from './device-info.js';

/**
 * Where a step stands in a generation: `prompt` when the position of its tokens is before their prompt's end, `token`
 * otherwise. Nothing else tells the phases apart, neither the number of rows nor who else is in the step.
 */
export type Phase = 'prompt' | 'token';

export interface PlanOptions {
  readonly precision: Precision;
  /** Values of the symbolic dims, where they are known. */
  readonly dims?: DimValues;
}

/** Unsupported is a value: partitioning reads it. */
export type Support = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** Nodes of a graph that are submitted as one, in the graph's order. */
export interface Segment {
  readonly graph: Graph;
  /** Ids of nodes, ascending. */
  readonly nodes: readonly number[];
}

export interface EstimateOptions extends PlanOptions {
  readonly dims: DimValues;
}

/** What one submission of a segment takes. */
export interface Estimate {
  readonly seconds: number;
  /** Bytes that cross the device's memory. */
  readonly bytes: number;
  /** What the time goes to. */
  readonly limit: 'compute' | 'memory' | 'launch';
  readonly basis: 'measured' | 'modelled';
}

/** Pure: every answer follows from the info that the planner was made for. It opens nothing and may be kept. */
export interface Planner {
  /** @throws UnicornError `usage/graph`, `usage/option` for arguments of other kinds: a mistake is not a refusal */
  supports(node: Node, graph: Graph, options: PlanOptions): Support;
  /**
   * The cost of a segment at given dims; a node alone has none, since a submission and its fused steps are paid once.
   *
   * @throws UnicornError `usage/dims` when a symbolic dim of the segment has no value, `usage/graph` and `usage/option` for
   * arguments of other kinds
   */
  estimate(segment: Segment, options: EstimateOptions): Estimate;
}
