/**
 * The roofline estimate (Williams, Waterman, Patterson 2009): each node takes the longer of its bytes at the device's
 * bandwidth and its operations at the device's rate, and a submission and its steps are paid once. Planners of devices
 * without a model of their own answer with it.
 */
import { UnicornError } from '../error.js';
import { nodeCost } from '../graph/cost.js';
import type { DeviceSpeed } from './device-info.js';
import type { Estimate, EstimateOptions, Segment } from './planner.js';

/**
 * @param steps fused steps that the device makes of the segment; its number of nodes by default
 * @throws UnicornError `usage/dims` when a symbolic dim of the segment has no value, `unsupported/precision` when the
 * device has no rate for the precision
 */
export function rooflineEstimate(
  { graph, nodes }: Segment,
  speed: DeviceSpeed,
  { precision, dims }: EstimateOptions,
  steps = nodes.length,
): Estimate {
  const rates = speed.flopsPerSecond;
  const rate = Object.hasOwn(rates, precision) ? rates[precision] : undefined;
  if (rate === undefined) {
    throw new UnicornError(
      'unsupported/precision',
      `The device has no rate for the precision ${String(precision)}.`,
      {
        fields: { precision: String(precision) },
      },
    );
  }
  let [compute, memory, bytes] = [0, 0, 0];
  for (const id of nodes) {
    const cost = nodeCost(graph.nodes[id]!, graph, dims);
    const [computing, moving] = [cost.flops / rate, cost.bytes / speed.bytesPerSecond];
    if (computing > moving) compute += computing;
    else memory += moving;
    bytes += cost.bytes;
  }
  const launch = speed.submitSeconds + steps * speed.stepSeconds;
  const longest = Math.max(compute, memory, launch);
  return {
    seconds: compute + memory + launch,
    bytes,
    limit: longest === compute ? 'compute' : longest === memory ? 'memory' : 'launch',
    basis: speed.basis,
  };
}
