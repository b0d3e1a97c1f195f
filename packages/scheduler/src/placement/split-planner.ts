/** What several devices can do together and what it takes, each answering for the nodes that are placed on it. */
import type {
  Estimate,
  EstimateOptions,
  Graph,
  Node,
  Phase,
  Planner,
  PlanOptions,
  Segment,
  Support,
} from '@unicorn-exec/tensor';
import { expectPlanArguments, expectSegment } from '@unicorn-exec/tensor';
import { expectPlaces, type NodePlaces } from './partition.js';
import type { Place } from './place.js';

const phases = ['prompt', 'token'] as const satisfies readonly Phase[];

/** Asks, of each node, those on which it is placed. */
export class PlacedSupport {
  /** Graphs are asked about node by node. */
  readonly #placed = new WeakMap<Graph, Readonly<Record<Phase, NodePlaces>>>();

  /** @param devices or their planners, in the order of the indices that `place` gives */
  constructor(
    private readonly devices: readonly Pick<Planner, 'supports'>[],
    private readonly place: Place,
  ) {}

  supports(node: Node, graph: Graph, options: PlanOptions): Support {
    expectPlanArguments(node, graph, options);
    const places = this.placesOf(graph);
    for (const phase of phases) {
      const support = this.devices[places[phase][node.id]!]!.supports(node, graph, options);
      if (!support.ok) return support;
    }
    return { ok: true };
  }

  placesOf(graph: Graph): Readonly<Record<Phase, NodePlaces>> {
    const known = this.#placed.get(graph);
    if (known) return known;
    const places = { prompt: this.place(graph, 'prompt'), token: this.place(graph, 'token') };
    for (const phase of phases) expectPlaces(graph, places[phase], this.devices.length);
    this.#placed.set(graph, places);
    return places;
  }
}

export class SplitPlanner implements Planner {
  readonly #support: PlacedSupport;

  /** @param planners of the devices, in the order of the indices that `place` gives */
  constructor(
    private readonly planners: readonly Planner[],
    place: Place,
  ) {
    this.#support = new PlacedSupport(planners, place);
  }

  supports(node: Node, graph: Graph, options: PlanOptions): Support {
    return this.#support.supports(node, graph, options);
  }

  /** One after the other, in the phase `token`: what overlaps between submissions is not counted. */
  estimate(segment: Segment, options: EstimateOptions): Estimate {
    expectSegment(segment, options);
    const { graph, nodes } = segment;
    const { token } = this.#support.placesOf(graph);
    const parts = this.planners.flatMap((planner, index) => {
      const own = nodes.filter((id) => token[id] === index);
      return own.length > 0 ? [planner.estimate({ graph, nodes: own }, options)] : [];
    });
    if (parts.length === 0) return { seconds: 0, bytes: 0, limit: 'launch', basis: 'modelled' };
    const longest = parts.reduce((a, b) => (b.seconds > a.seconds ? b : a));
    return {
      seconds: parts.reduce((sum, { seconds }) => sum + seconds, 0),
      bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
      limit: longest.limit,
      basis: parts.every(({ basis }) => basis === 'measured') ? 'measured' : 'modelled',
    };
  }
}
