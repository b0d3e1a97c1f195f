/** Fusions: several nodes of a graph that become one step. The patterns that find them lie beside this file. */
import type { Emitter } from '../kernel/declaration.js';

export interface Fusion {
  /** By the id of a node, the steps that are emitted right before it, or in its place where the fusion covers it. */
  readonly steps: ReadonlyMap<number, readonly ((emitter: Emitter) => void)[]>;
  /** Nodes that have no step of their own. */
  readonly covered: ReadonlySet<number>;
}
