/**
 * What the planner says that a step takes, beside what it takes: decoders of known shapes with weights of zeros, prompts of
 * several lengths and single tokens behind contexts of several lengths. Rates are measured first, and not kept.
 *
 *     npx esbuild tools/compare-estimates.ts --bundle --platform=node --format=esm --outfile=compare-estimates.mjs
 *     UNICORN_CPU_ADDON=$PWD/build/Release/unicorn_cpu.node node compare-estimates.mjs [--shapes smollm2,llama-1b]
 *                                                               [--precision fast|f32] [--threads N] [--only PATTERN] [--parts]
 *
 * --only   steps whose name matches
 * --parts  the measured time of each kind of step
 */
import { parseArgs } from 'node:util';
import { GraphBuilder, resolveShape, tensorBytes } from '@unicorn-exec/tensor';
import type { Binding, Device, DeviceSpeed, DType, Graph, Precision, Value } from '@unicorn-exec/tensor';
import { cpuBackend } from '../src/index.js';
import { measureSpeed } from '../src/measure-speed.js';

interface Shape {
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly feedForward: number;
  readonly vocabulary: number;
  readonly weights: DType;
}

const shapes: Readonly<Record<string, Shape>> = {
  smollm2: {
    layers: 30,
    hidden: 576,
    heads: 9,
    kvHeads: 3,
    headDim: 64,
    feedForward: 1536,
    vocabulary: 49_152,
    weights: 'q4_1',
  },
  'llama-1b': {
    layers: 16,
    hidden: 2048,
    heads: 32,
    kvHeads: 8,
    headDim: 64,
    feedForward: 8192,
    vocabulary: 128_256,
    weights: 'q4_0',
  },
};

const blockTokens = 16;

/** Logits of the last row of one sequence. */
function decoder(shape: Shape): Graph {
  const { layers, hidden, heads, kvHeads, headDim, feedForward, vocabulary } = shape;
  const b = new GraphBuilder('decoder');
  const matrix = (name: string, rows: number, columns: number): Value =>
    b.weight(name, { dtype: shape.weights, shape: [rows, columns] });
  const norm = (name: string, x: Value): Value =>
    b.rmsNorm(x, b.weight(name, { dtype: 'f32', shape: [hidden] }), { epsilon: 1e-5 });
  const positions = b.input('positions', 'i32', ['tokens']);
  const slots = b.input('slots', 'i32', ['tokens']);
  const starts = b.input('starts', 'i32', [1]);
  const blocks = b.input('blocks', 'i32', [1, 'blocks']);
  const frequencies = b.constant(
    Float32Array.from({ length: headDim / 2 }, (_, i) => 1e4 ** ((-2 * i) / headDim)),
  );
  const table = matrix('embedding', vocabulary, hidden);
  let x = b.embed(b.input('ids', 'i32', ['tokens']), table);
  for (let layer = 0; layer < layers; layer++) {
    const product = (name: string, from: Value, rows: number): Value =>
      b.matmul(from, matrix(`${layer}.${name}`, rows, from.shape.at(-1) as number));
    const split = (from: Value, count: number): Value => b.reshape(from, ['tokens', count, headDim]);
    const normed = norm(`${layer}.attention.norm`, x);
    const turned = (name: string, count: number): Value =>
      b.rope(split(product(name, normed, count * headDim), count), positions, frequencies, {
        layout: 'half',
      });
    const query = turned('query', heads);
    const before = b.state(`kv.${layer}`, 'f16', ['pool', 2, kvHeads, blockTokens, headDim]);
    const value = split(product('value', normed, kvHeads * headDim), kvHeads);
    const state = b.kvWrite(before, turned('key', kvHeads), value, slots);
    const seen = b.attention({ query, state, positions, starts, blocks }, { scale: headDim ** -0.5 });
    x = b.add(x, product('output', b.reshape(seen, ['tokens', heads * headDim]), hidden));
    const fed = norm(`${layer}.feedForward.norm`, x);
    const gated = b.glu(product('gate', fed, feedForward), product('up', fed, feedForward), 'silu');
    x = b.add(x, product('down', gated, hidden));
  }
  const last = b.takeRows(x, b.input('rows', 'i32', [1]));
  b.output('logits', b.matmul(norm('norm', last), table));
  return b.build();
}

interface Step {
  readonly name: string;
  /** Tokens of the step, behind so many that are in the cache. */
  readonly tokens: number;
  readonly past: number;
}

const steps: readonly Step[] = [
  { name: 'prompt of 32', tokens: 32, past: 0 },
  { name: 'prompt of 128', tokens: 128, past: 0 },
  { name: 'prompt of 512', tokens: 512, past: 0 },
  { name: '128 behind 1,024', tokens: 128, past: 1024 },
  { name: 'token behind 16', tokens: 1, past: 16 },
  { name: 'token behind 512', tokens: 1, past: 512 },
  { name: 'token behind 4,096', tokens: 1, past: 4096 },
];

const milliseconds = (seconds: number): string => `${(1e3 * seconds).toFixed(2)} ms`.padStart(11);

async function compare(
  device: Device,
  speed: DeviceSpeed,
  name: string,
  precision: Precision,
): Promise<void> {
  const graph = decoder(shapes[name]!);
  const planner = cpuBackend.planner({ ...device.info, speed });
  const specs = new Map(
    graph.values.flatMap(({ source }) => (source.kind === 'weight' ? [[source.name, source.stored]] : [])),
  );
  const weights = await device.load(
    [...specs].map(([weight, { dtype, shape }]) => {
      const concrete = shape as readonly number[];
      const bytes = new Uint8Array(tensorBytes(dtype, concrete));
      return { name: weight, dtype, shape: concrete, source: { kind: 'bytes', bytes } };
    }),
  );
  const largest = Math.ceil(Math.max(...steps.map(({ tokens, past }) => tokens + past)) / blockTokens);
  const executable = await device.compile(graph, weights, {
    dims: { tokens: { max: 512 }, blocks: { max: largest }, pool: largest + 1 },
    precision,
    profile: values.parts,
  });
  const { state, outputs } = executable.signature;
  const whole = { tokens: 1, blocks: 1, pool: largest + 1 };
  const buffers: Record<string, Binding> = {};
  for (const [buffer, { dtype, shape }] of Object.entries({ ...state, ...outputs })) {
    buffers[buffer] = device.allocate(tensorBytes(dtype, resolveShape(shape, whole)));
  }
  const nodes = graph.nodes.map(({ id }) => id);
  const chosen = steps.filter(({ name: what }) => new RegExp(values.only).test(what));
  const rows = chosen.map(({ name: what, tokens, past }) => {
    const count = Math.ceil((past + tokens) / blockTokens);
    const positions = Int32Array.from({ length: tokens }, (_, i) => past + i);
    const bindings = {
      dims: { tokens, blocks: count, pool: largest + 1 },
      buffers: {
        ...buffers,
        ids: new Int32Array(tokens),
        positions,
        slots: positions.map((position) => position + blockTokens),
        starts: Int32Array.of(0),
        blocks: Int32Array.from({ length: count }, (_, i) => i + 1),
        rows: Int32Array.of(tokens - 1),
      },
    };
    return { what, bindings, measured: Infinity };
  });
  // In rounds, so that the runs of a step lie apart: what else the machine does for a while spoils some of them only.
  for (let round = 0; round < 3; round++) {
    for (const row of rows) {
      const end = performance.now() + 500;
      for (let run = 0; run < 3 || performance.now() < end; run++) {
        const begin = performance.now();
        await executable.submit(row.bindings).done;
        row.measured = Math.min(row.measured, (performance.now() - begin) / 1e3);
      }
    }
  }
  for (const { what, bindings, measured } of rows) {
    const { seconds, limit } = planner.estimate({ graph, nodes }, { precision, dims: bindings.dims });
    const ratio = (seconds / measured).toFixed(2);
    console.log(
      `${name.padEnd(10)} ${what.padEnd(18)} measured${milliseconds(measured)}  estimated${milliseconds(seconds)}  ratio ${ratio}  (${limit})`,
    );
  }
  if (values.parts) {
    for (const { step, detail, seconds, calls, flops, bytes } of executable.profile()) {
      console.log(
        `  ${(step + ' ' + (detail ?? '')).padEnd(70)} ${milliseconds(seconds / calls)}  ${(flops / seconds / 1e9).toFixed(1)} GFLOPS  ${(bytes / seconds / 1e9).toFixed(1)} GB/s`,
      );
    }
  }
}

const { values } = parseArgs({
  options: {
    shapes: { type: 'string', default: 'smollm2' },
    precision: { type: 'string', default: 'fast' },
    threads: { type: 'string' },
    only: { type: 'string', default: '' },
    parts: { type: 'boolean', default: false },
  },
});
const device = await cpuBackend.open('cpu', values.threads ? { threads: Number(values.threads) } : {});
console.log(device.info.name);
const speed = await measureSpeed(device);
console.log(JSON.stringify(speed));
for (const name of values.shapes.split(',')) {
  await compare(device, speed, name, values.precision as Precision);
}
await device.close();
