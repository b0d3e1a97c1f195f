/** Runs single cases without a test framework: for `conformBackend`, and for authors who debug a kernel. */
import { isUnicornError, type Device, type Precision } from '@unicorn-exec/tensor';
import { defaultProblem, type Case } from './case.js';
import { PreparedProblem } from './execute.js';
import { ConformanceFailure } from './failure.js';
import { expectedResults } from './oracle.js';
import { productFormat } from './product-format.js';
import { compare, noiseElements, noiseLimit, normalizedError } from './tolerance.js';

export interface CaseResult {
  /** Largest distance from the reference, or noise, as a part of what is allowed: 1 is the limit. */
  readonly worst: number;
}

/** Why the device does not support a case; undefined when it does. */
export function unsupportedReason(device: Device, test: Case, precision: Precision): string | undefined {
  const { graph } = defaultProblem(test);
  for (const node of graph.nodes) {
    const support = device.supports(node, graph, { precision });
    if (!support.ok) return `${node.op}: ${support.reason}`;
  }
  return undefined;
}

async function expectRejection(prepared: PreparedProblem, test: Case): Promise<CaseResult> {
  try {
    await prepared.run(defaultProblem(test));
  } catch (error) {
    if (isUnicornError(error) && error.code === test.rejects) return { worst: 0 };
    throw new ConformanceFailure(`${test.name}: expected ${test.rejects}, got ${String(error)}`, {
      cause: error,
    });
  }
  throw new ConformanceFailure(`${test.name}: expected ${test.rejects}, but the submission succeeded.`);
}

/**
 * Runs one case and compares outputs and states with the reference.
 *
 * @throws ConformanceFailure naming the first element out of bounds, the guard that was overwritten, or the error that
 * should have come
 */
export async function runCase(device: Device, test: Case, precision: Precision): Promise<CaseResult> {
  const problem = defaultProblem(test);
  const prepared = await PreparedProblem.create(device, problem, precision);
  try {
    if (test.rejects) return await expectRejection(prepared, test);
    const { results, storing } = expectedResults(problem, productFormat(device.info, precision));
    const limit = test.noise && noiseLimit(test.noise, storing);
    const actual = await prepared.run(problem);
    let worst = 0;
    for (const [name, bounded] of Object.entries(results)) {
      const comparison = compare(actual[name]!, bounded);
      if (comparison.fault) {
        const promise = test.promise ? ` Promised: ${test.promise}` : '';
        throw new ConformanceFailure(`${test.name}: "${name}" ${comparison.fault}.${promise}`);
      }
      worst = Math.max(worst, comparison.worst);
      const judged = bounded.tensor.dtype === 'f32' && Object.hasOwn(problem.graph.outputs, name);
      if (limit === undefined || !judged || bounded.tensor.elements < noiseElements) continue;
      const noise = normalizedError(actual[name]!, bounded.tensor, bounded.errors);
      if (!(noise <= limit)) {
        throw new ConformanceFailure(
          `${test.name}: "${name}" has a relative mean squared error of ${noise.toPrecision(3)}; ` +
            `${limit.toPrecision(3)} is allowed.`,
        );
      }
      worst = Math.max(worst, noise / limit);
    }
    return { worst };
  } finally {
    prepared.dispose();
  }
}
