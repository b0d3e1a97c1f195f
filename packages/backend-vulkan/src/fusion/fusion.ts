/** Several nodes that become one step: what a pattern finds in a graph. The patterns lie beside this file. */
import type { Emitter } from '../kernel/declaration.js';

export interface Fusion {
  /** What is emitted right before a node, or in its place where the fusion covers it: by the node's id. */
  readonly steps: ReadonlyMap<number, readonly ((emitter: Emitter) => void)[]>;
  /** Nodes that have no step of their own. */
  readonly covered: ReadonlySet<number>;
}
