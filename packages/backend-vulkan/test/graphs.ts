/** Graphs of this package's own tests, small enough to read as a plan, and the weights that go with them. */
import {
  elementCount,
  GraphBuilder,
  namedValues,
  type DType,
  type Graph,
  type Value,
} from '@unicorn-exec/tensor';
import type { DeviceTraits } from '../src/dispatch/dispatch.js';
import type { LoadedWeight, WeightTable } from '../src/weights/weight-table.js';
import { weightLayout } from '../src/weights/weight-layout.js';

/** A layer with grouped queries, rope, a paged cache and a gated unit, then a head and a sampler. */
export function decoderGraph(dtype: DType): Graph {
  const [hidden, heads, kvHeads, headDim, feedForward, vocabulary] = [64, 4, 2, 32, 96, 80];
  const builder = new GraphBuilder('layer');
  const matrix = (name: string, rows: number, columns: number): Value =>
    builder.weight(name, { dtype, shape: [rows, columns] });
  const norm = (x: Value, name: string, size = hidden): Value =>
    builder.rmsNorm(x, builder.weight(name, { dtype: 'bf16', shape: [size] }), { epsilon: 1e-6 });
  const positions = builder.input('positions', 'i32', ['tokens']);
  const frequencies = builder.constant(
    Float32Array.from({ length: headDim / 2 }, (_, i) => 10000 ** ((-2 * i) / headDim)),
  );
  const table = matrix('embed', vocabulary, hidden);
  let x = builder.embed(builder.input('ids', 'i32', ['tokens']), table);
  const normed = norm(x, 'norm.attention');
  const project = (name: string, count: number): Value =>
    builder.reshape(builder.matmul(normed, matrix(name, count * headDim, hidden)), [
      'tokens',
      count,
      headDim,
    ]);
  const turned = (head: Value, name: string): Value =>
    builder.rope(norm(head, name, headDim), positions, frequencies, {});
  const query = turned(project('query', heads), 'norm.query');
  const state = builder.kvWrite(
    builder.state('kv', 'f16', ['pool', 2, kvHeads, 16, headDim]),
    turned(project('key', kvHeads), 'norm.key'),
    project('value', kvHeads),
    builder.input('slots', 'i32', ['tokens']),
  );
  const starts = builder.input('starts', 'i32', ['sequences']);
  const blocks = builder.input('blocks', 'i32', ['sequences', 'columns']);
  const mixed = builder.attention({ query, state, positions, starts, blocks }, { scale: headDim ** -0.5 });
  const joined = builder.reshape(mixed, ['tokens', heads * headDim]);
  x = builder.add(x, norm(builder.matmul(joined, matrix('output', hidden, heads * headDim)), 'norm.after'));
  const inner = norm(x, 'norm.feedForward');
  const gate = builder.matmul(inner, matrix('gate', feedForward, hidden));
  const wide = builder.glu(gate, builder.matmul(inner, matrix('up', feedForward, hidden)), 'silu');
  x = builder.add(x, builder.matmul(wide, matrix('down', hidden, feedForward)));
  const last = builder.takeRows(x, builder.input('rows', 'i32', ['outputs']));
  const logits = builder.matmul(norm(last, 'norm'), table);
  const { ids } = builder.sample({
    logits,
    parameters: builder.input('parameters', 'f32', ['outputs', 7]),
    controls: builder.input('controls', 'i32', ['outputs', 7]),
    biasIds: builder.input('biasIds', 'i32', ['outputs', 1]),
    biasValues: builder.input('biasValues', 'f32', ['outputs', 1]),
    history: builder.state('history', 'i32', ['historyRows', 'capacity']),
  });
  builder.output('logits', logits);
  builder.output('next', ids);
  return builder.build();
}

/** The weights of a graph as if they were loaded. @param host names of those that stay in host memory */
export function tableOf(graph: Graph, host: readonly string[] = []): WeightTable {
  const weights = new Map<string, LoadedWeight>();
  let index = 0;
  for (const [name, [value]] of namedValues(graph, 'weight')) {
    const { source } = value!;
    if (source.kind !== 'weight') continue;
    const { dtype } = source.stored;
    const shape = source.stored.shape as readonly number[];
    const isVector = shape.length < 2;
    const [rows, columns] = isVector
      ? [1, elementCount(shape)]
      : [elementCount(shape.slice(0, -1)), shape.at(-1)!];
    const own = index++;
    const floats = !isVector || dtype === 'i32' ? undefined : dtype === 'f32' ? own : index++;
    const layout = weightLayout(dtype, rows, columns);
    weights.set(name, { index: own, dtype, layout, rows, columns, host: host.includes(name), floats });
  }
  const byteLength = [...weights.values()].reduce((sum, { layout }) => sum + layout.byteLength, 0);
  return { byteLength, loaded: (name) => weights.get(name)! };
}

/** A GPU as plans are made for. */
export const traits: DeviceTraits = {
  subgroupSize: 32,
  minSubgroupSize: 32,
  maxSubgroupSize: 32,
  computeUnits: 12,
  sharedMemoryBytes: 32_768,
  maxInvocations: 1024,
  integerDot: true,
  cooperativeMatrix: [],
  float16: true,
  software: false,
};
