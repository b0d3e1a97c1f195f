/**
 * Places a model's graph on two devices by layer: layers in front of a cut on the one, those behind it and the head on the
 * other. Of a model it knows only which layer a weight belongs to.
 */
import type { Graph } from '@unicorn-exec/tensor';
import type { NodePlaces } from './partition.js';

/** Where a model is cut. */
export interface LayerCut {
  /** The first layer behind the cut. */
  readonly layer: number;
  /** The layer that a weight belongs to; undefined for those of none (embedding, final norm, head). */
  layerOf(weight: string): number | undefined;
}

/** 0 for the nodes in front of the cut, 1 for those behind it. */
export function placesByLayer(graph: Graph, cut: LayerCut): NodePlaces {
  const first = firstBehind(graph, cut);
  const behind = graph.nodes.map(({ id }) => id >= first);
  const readers = graph.values.map((): number[] => []);
  for (const node of graph.nodes) for (const id of Object.values(node.inputs)) readers[id]!.push(node.id);
  const returned = new Set(Object.values(graph.outputs));
  // What the first layer behind only looks at (one of several streams) is picked there from what crosses anyway.
  for (let id = first - 1; id >= 0; id--) {
    const node = graph.nodes[id]!;
    const isRead = node.outputs.some((value) => readers[value]!.length > 0);
    const isMovable =
      isRead &&
      node.outputs.every(
        (value) => !returned.has(value) && readers[value]!.every((reader) => behind[reader]),
      ) &&
      Object.values(node.inputs).every((value) => {
        const { kind } = graph.values[value]!.source;
        if (kind !== 'node') return kind === 'input' || kind === 'constant';
        return readers[value]!.some((reader) => behind[reader]);
      });
    if (isMovable) behind[id] = true;
  }
  return behind.map(Number);
}

/**
 * The first node that reads a weight of a layer behind the cut. Where none does (a size left those layers out, or nothing
 * is computed after them), the first that reads a weight of no layer after the layers in front.
 */
function firstBehind(graph: Graph, { layer, layerOf }: LayerCut): number {
  let afterLayers: number | undefined;
  for (const node of graph.nodes) {
    const layers = Object.values(node.inputs).flatMap((id) => {
      const { source } = graph.values[id]!;
      return source.kind === 'weight' ? [layerOf(source.name)] : [];
    });
    if (layers.some((one) => one !== undefined && one >= layer)) return node.id;
    if (layers.some((one) => one !== undefined)) afterLayers = undefined;
    else if (layers.length > 0) afterLayers ??= node.id;
  }
  return afterLayers ?? graph.nodes.length;
}
