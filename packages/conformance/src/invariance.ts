/**
 * A row's result does not depend on the batch, on how a prompt was cut into chunks, or on the number of threads: not
 * within a tolerance, but bit for bit. Several ways to compute the same rows are run on several devices (the same one
 * opened with different threads), and all must agree.
 */
import {
  tensorBytes,
  type Device,
  type DimRange,
  type HostTensor,
  type Precision,
} from '@unicorn-exec/tensor';
import type { Case, Problem } from './case.js';
import { PreparedProblem } from './execute.js';
import { ConformanceFailure } from './failure.js';

/** One submission, and which rows of its outputs count. */
export interface InvariantStep {
  readonly problem: Problem;
  readonly take: readonly {
    readonly output: string;
    readonly axis: number;
    readonly rows: readonly number[];
  }[];
}

/** One way to compute the rows. States are carried from step to step by name. */
export interface Variant {
  readonly name: string;
  readonly steps: readonly InvariantStep[];
}

export interface InvarianceCase {
  readonly name: string;
  readonly op: string;
  readonly promise: string;
  make(): { readonly dims: Readonly<Record<string, DimRange>>; readonly variants: readonly Variant[] };
}

/** The rows of one axis, one after the other, whatever batch they came from. */
function rowBytes(tensor: HostTensor, axis: number, rows: readonly number[]): Uint8Array[] {
  const { shape, dtype } = tensor;
  const inner = tensorBytes(dtype, shape.slice(axis + 1));
  const outer = shape.slice(0, axis).reduce((a, b) => a * b, 1);
  return rows.map((row) => {
    const bytes = new Uint8Array(outer * inner);
    for (let i = 0; i < outer; i++) {
      const at = tensor.byteOffset + (i * shape[axis]! + row) * inner;
      bytes.set(tensor.bytes.subarray(at, at + inner), i * inner);
    }
    return bytes;
  });
}

/** For each output the bytes of the taken rows, in order. */
async function runVariant(prepared: PreparedProblem, variant: Variant): Promise<Map<string, Uint8Array[]>> {
  const taken = new Map<string, Uint8Array[]>();
  let states: Record<string, HostTensor> = {};
  for (const { problem, take } of variant.steps) {
    const { graph, dims, tensors } = problem;
    const results = await prepared.run({ graph, dims, tensors: { ...tensors, ...states } });
    states = Object.fromEntries(
      Object.keys(prepared.executable.signature.state).map((name) => [name, results[name]!]),
    );
    for (const { output, axis, rows } of take) {
      taken.set(output, [...(taken.get(output) ?? []), ...rowBytes(results[output]!, axis, rows)]);
    }
  }
  return taken;
}

function firstDifference(a: readonly Uint8Array[], b: readonly Uint8Array[]): string | undefined {
  if (a.length !== b.length) return `${a.length} rows against ${b.length}`;
  for (let row = 0; row < a.length; row++) {
    const at = a[row]!.findIndex((byte, i) => byte !== b[row]![i]);
    if (at >= 0) return `row ${row}, element ${Math.floor(at / 4)}`;
  }
  return undefined;
}

/**
 * Runs every variant on every device.
 *
 * @param devices the same device, opened with different numbers of threads, by a name for the message
 * @throws ConformanceFailure naming two variants whose rows differ
 */
export async function runInvariance(
  devices: readonly { readonly name: string; readonly device: Device }[],
  test: InvarianceCase,
  precision: Precision,
): Promise<void> {
  const { dims, variants } = test.make();
  let wanted: { name: string; taken: Map<string, Uint8Array[]> } | undefined;
  for (const { name: deviceName, device } of devices) {
    const prepared = await PreparedProblem.create(device, variants[0]!.steps[0]!.problem, precision, dims);
    try {
      for (const variant of variants) {
        const name = `${variant.name} on ${deviceName}`;
        const taken = await runVariant(prepared, variant);
        wanted ??= { name, taken };
        for (const [output, rows] of taken) {
          const difference = firstDifference(wanted.taken.get(output)!, rows);
          if (difference) {
            throw new ConformanceFailure(
              `${test.name}: "${output}" differs between ${wanted.name} and ${name} (${difference}). ` +
                `Promised: ${test.promise}`,
            );
          }
        }
      }
    } finally {
      prepared.dispose();
    }
  }
}

/**
 * Batches, by the content of their rows. 0 and 1 are the rows that are compared; the others are company that changes. The
 * sizes are those around which kernels compute differently: one row, two, an odd few, one past 16, one past 32; and none.
 */
const batches: readonly (readonly number[])[] = [
  [0, 1],
  [2, 0, 1],
  [0, 3, 4, ...Array.from({ length: 13 }, (_, i) => 10 + i), 1],
  [...Array.from({ length: 31 }, (_, i) => 40 + i), 0, 1],
  [0, ...Array.from({ length: 31 }, (_, i) => 80 + i), 1],
];

/** The largest value of each symbolic dim in any step. */
export function largestDims(variants: readonly Variant[]): Record<string, { readonly max: number }> {
  const dims: Record<string, { max: number }> = {};
  for (const { problem } of variants.flatMap(({ steps }) => steps)) {
    for (const [dim, value] of Object.entries(problem.dims)) {
      dims[dim] = { max: Math.max(value, dims[dim]?.max ?? 0) };
    }
  }
  return dims;
}

/** The invariance case of a row-wise case: each row alone, then in company. */
export function rowInvariance(test: Case): InvarianceCase | undefined {
  if (test.rows === undefined) return undefined;
  return {
    name: `${test.name} in any batch`,
    op: test.op,
    promise: 'A row is the same alone and in every batch, bit for bit.',
    make() {
      const step = (rows: readonly number[]): InvariantStep => {
        const problem = test.make(rows);
        const { graph } = problem;
        const at = [0, 1].map((row) => rows.indexOf(row)).filter((index) => index >= 0);
        const take = Object.entries(graph.outputs).map(([output, id]) => {
          const axis = graph.values[id]!.shape.indexOf('tokens');
          return { output, axis, rows: at };
        });
        return { problem, take };
      };
      const variants: Variant[] = [
        { name: 'each row alone', steps: [step([0]), step([]), step([1])] },
        ...batches.map((batch) => ({ name: `a batch of ${batch.length}`, steps: [step(batch)] })),
      ];
      return { dims: largestDims(variants), variants };
    },
  };
}
