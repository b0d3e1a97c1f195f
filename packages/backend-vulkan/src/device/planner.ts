/** The planner: what a Vulkan device supports and what it would take, from its description alone. */
import { expectPlanArguments, expectSegment, rooflineEstimate } from '@unicorn-exec/tensor';
import type {
  DeviceInfo,
  DeviceSpeed,
  Estimate,
  EstimateOptions,
  Graph,
  Node,
  Planner,
  PlanOptions,
  Segment,
  Support,
} from '@unicorn-exec/tensor';
import { supportOf } from './support.js';

/**
 * The rates of an integrated GPU of 2023 with two channels of DDR5, by its data sheet: a device of this backend is hardly
 * slower. A dispatch takes about 5 microseconds on such a device.
 */
const modelledSpeed: DeviceSpeed = {
  bytesPerSecond: 60e9,
  flopsPerSecond: { f32: 4e12, fast: 8e12 },
  submitSeconds: 5e-5,
  stepSeconds: 5e-6,
  basis: 'modelled',
};

export class VulkanPlanner implements Planner {
  constructor(private readonly info: DeviceInfo) {}

  supports(node: Node, graph: Graph, options: PlanOptions): Support {
    expectPlanArguments(node, graph, options);
    const { precision } = options;
    if (this.info.precisions.includes(precision)) return supportOf(node, graph);
    return { ok: false, reason: `the precision ${String(precision)}` };
  }

  estimate(segment: Segment, options: EstimateOptions): Estimate {
    expectSegment(segment, options);
    return rooflineEstimate(segment, this.info.speed ?? modelledSpeed, options);
  }
}
