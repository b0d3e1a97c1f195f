/** The types of a placement: what decides where nodes run, and the graphs for which it is known beforehand. */
import type { Graph, Phase } from '@unicorn-exec/tensor';
import type { NodePlaces } from './partition.js';

/** The index of the device of each node of a graph. Called once for each graph that is compiled. */
export type Place = (graph: Graph, phase: Phase) => NodePlaces;

/** A graph as it will be compiled, or one that reads and keeps as much. */
export interface ExpectedGraph {
  readonly graph: Graph;
  readonly phase: Phase;
}
