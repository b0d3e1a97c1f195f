/**
 * Measures error, time and bytes of the cases at the sizes of real models. It needs no test framework and gives no
 * verdict. A time is that of the fastest of many submissions, all with the same bindings.
 */
import {
  evaluateGraph,
  HostTensor,
  nodeCost,
  resolveShape,
  rowBytes,
  tensorBytes,
  UnicornError,
  type Backend,
  type Binding,
  type Device,
  type DeviceBuffer,
  type Precision,
} from '@unicorn-exec/tensor';
import { copyTensor, defaultProblem, type Case, type Problem } from './case.js';
import { benchmarkCases } from './cases/index.js';
import { PreparedProblem } from './execute.js';
import { unsupportedReason } from './run.js';
import { normalizedError } from './tolerance.js';

export interface BenchmarkOptions {
  /** Device to open; the first usable one by default. */
  readonly device?: string;
  readonly threads?: number;
  /** `fast` by default. */
  readonly precision?: Precision;
  /** Only cases whose name matches. */
  readonly only?: RegExp;
  /** Time for each case, 0.3 s by default; at least three submissions are made. */
  readonly secondsPerCase?: number;
  /** Receives each line of the table; standard output by default. */
  readonly print?: (line: string) => void;
}

export interface BenchmarkRow {
  readonly name: string;
  /** Mean squared error over mean square, the largest of the f32 outputs. */
  readonly error: number;
  /** Shortest submission. */
  readonly seconds: number;
  /** Bytes that the ops say must cross memory, and operations that they need. */
  readonly bytes: number;
  readonly flops: number;
}

/** The outputs that the reference computes, without bounds: those would cost more than the case. */
function referenceOutputs(problem: Problem): Record<string, HostTensor> {
  const weights = new Map(
    problem.weights.map(({ name, dtype, shape, source }) => [
      name,
      new HostTensor(dtype, shape, source.kind === 'bytes' ? source.bytes : new Uint8Array()),
    ]),
  );
  const states = new Set(
    problem.graph.values.flatMap(({ source }) => (source.kind === 'state' ? [source.name] : [])),
  );
  const tensors = Object.fromEntries(
    Object.entries(problem.tensors).map(([name, tensor]) => [
      name,
      states.has(name) ? copyTensor(tensor) : tensor,
    ]),
  );
  const steps = evaluateGraph(problem.graph, { tensors, weight: (name) => weights.get(name)! }, problem.dims);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

async function measure(device: Device, test: Case, options: BenchmarkOptions): Promise<BenchmarkRow> {
  const problem = defaultProblem(test);
  const prepared = await PreparedProblem.create(device, problem, options.precision ?? 'fast');
  const buffers: DeviceBuffer[] = [];
  try {
    const expected = referenceOutputs(problem);
    const { signature } = prepared.executable;
    const bindings: Record<string, Binding> = {};
    const bind = async (name: string, byteLength: number, content?: Uint8Array): Promise<void> => {
      const buffer = device.allocate(byteLength);
      buffers.push(buffer);
      bindings[name] = buffer;
      if (content) await device.write(buffer, 0, content);
    };
    for (const name of [...Object.keys(signature.inputs), ...Object.keys(signature.state)]) {
      const content = problem.tensors[name]!.denseBytes();
      await bind(name, content.byteLength, content);
    }
    for (const [name, { dtype, shape }] of Object.entries(signature.outputs)) {
      await bind(name, tensorBytes(dtype, resolveShape(shape, problem.dims)));
    }
    const submission = { dims: problem.dims, buffers: bindings };
    await prepared.executable.submit(submission).done;
    let error = 0;
    for (const [name, tensor] of Object.entries(expected)) {
      if (tensor.dtype !== 'f32') continue;
      const byteLength = tensor.rows * rowBytes('f32', tensor.columns);
      const bytes = await device.read(bindings[name] as DeviceBuffer, 0, byteLength);
      error = Math.max(error, normalizedError(new HostTensor('f32', tensor.shape, bytes), tensor));
    }
    let best = Infinity;
    const end = performance.now() + 1000 * (options.secondsPerCase ?? 0.3);
    for (let count = 0; count < 3 || performance.now() < end; count++) {
      const start = performance.now();
      await prepared.executable.submit(submission).done;
      best = Math.min(best, performance.now() - start);
    }
    const costs = problem.graph.nodes.map((node) => nodeCost(node, problem.graph, problem.dims));
    return {
      name: test.name,
      error,
      seconds: best / 1000,
      bytes: costs.reduce((sum, { bytes }) => sum + bytes, 0),
      flops: costs.reduce((sum, { flops }) => sum + flops, 0),
    };
  } finally {
    for (const buffer of buffers) buffer.dispose();
    prepared.dispose();
  }
}

const header = [
  'error'.padStart(9),
  'ms'.padStart(10),
  'MB'.padStart(9),
  'GB/s'.padStart(8),
  'GFLOP/s'.padStart(8),
  'case',
];

function formatRow({ name, error, seconds, bytes, flops }: BenchmarkRow): string {
  return [
    error.toExponential(1).padStart(9),
    (1e3 * seconds).toFixed(3).padStart(10),
    (bytes / 1e6).toFixed(2).padStart(9),
    (bytes / seconds / 1e9).toFixed(2).padStart(8),
    (flops / seconds / 1e9).toFixed(2).padStart(8),
    name,
  ].join(' ');
}

/**
 * Times every benchmark case on a device and prints one line each as it ends. Cases that the device does not support
 * are printed with the reason and left out of the result.
 *
 * @throws UnicornError `device/unavailable` when the device cannot be opened
 */
export async function benchBackend(
  backend: Backend,
  options: BenchmarkOptions = {},
): Promise<BenchmarkRow[]> {
  const print = options.print ?? ((line: string) => void process.stdout.write(`${line}\n`));
  const devices = await backend.probe();
  const description = devices.find(({ id, usable }) =>
    options.device === undefined ? usable : id === options.device,
  );
  if (!description?.usable) {
    const reason =
      description?.reason ?? devices.map((device) => (device.usable ? '' : device.reason)).join('; ');
    throw new UnicornError(
      'device/unavailable',
      `${backend.name} has no usable device: ${reason || 'none listed'}.`,
    );
  }
  const device = await backend.open(
    description.id,
    options.threads === undefined ? {} : { threads: options.threads },
  );
  try {
    const rows: BenchmarkRow[] = [];
    print(`${backend.name}: ${device.info.name}, precision ${options.precision ?? 'fast'}`);
    print(header.join(' '));
    for (const test of benchmarkCases(device.info)) {
      if (options.only && !options.only.test(test.name)) continue;
      const refused = unsupportedReason(device, test, options.precision ?? 'fast');
      if (refused !== undefined) {
        print(`${'unsupported'.padEnd(48)} ${test.name}: ${refused}`);
        continue;
      }
      const row = await measure(device, test, options);
      rows.push(row);
      print(formatRow(row));
    }
    return rows;
  } finally {
    await device.close();
  }
}
