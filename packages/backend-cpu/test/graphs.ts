/** Graphs of this package's own tests: one layer of each family, small enough to read as a plan. */
import { GraphBuilder, type DType, type Graph, type Value } from '@unicorn-exec/tensor';

export interface LayerShape {
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly feedForward: number;
  readonly vocabulary: number;
}

export const smallShape: LayerShape = {
  hidden: 64,
  heads: 4,
  kvHeads: 2,
  headDim: 32,
  feedForward: 96,
  vocabulary: 80,
};

/** A Llama layer with head and sampler; with `norms` a Gemma or Qwen one (norms on heads and after the parts, bias). */
export function decoderGraph(dtype: DType, options: { norms?: boolean; shape?: LayerShape } = {}): Graph {
  const { hidden, heads, kvHeads, headDim, feedForward, vocabulary } = options.shape ?? smallShape;
  const { norms = false } = options;
  const builder = new GraphBuilder(norms ? 'normed layer' : 'layer');
  const matrix = (name: string, rows: number, columns: number): Value =>
    builder.weight(name, { dtype, shape: [rows, columns] });
  const vector = (name: string, size: number): Value => builder.weight(name, { dtype: 'f32', shape: [size] });
  const norm = (x: Value, name: string, size = hidden): Value =>
    builder.rmsNorm(x, vector(name, size), { epsilon: 1e-6, weightOffset: norms ? 1 : 0 });

  const ids = builder.input('ids', 'i32', ['tokens']);
  const positions = builder.input('positions', 'i32', ['tokens']);
  const table = matrix('embed', vocabulary, hidden);
  const frequencies = builder.constant(
    Float32Array.from({ length: headDim / 2 }, (_, i) => 10000 ** ((-2 * i) / headDim)),
  );
  let x = builder.embed(ids, table, norms ? { scale: 8 } : {});

  const normed = norm(x, 'norm.attention');
  const project = (name: string, count: number): Value => {
    const product = builder.matmul(normed, matrix(name, count * headDim, hidden));
    const biased = norms ? builder.add(product, vector(`${name}.bias`, count * headDim)) : product;
    return builder.reshape(biased, ['tokens', count, headDim]);
  };
  const turned = (head: Value, name: string): Value =>
    builder.rope(norms ? norm(head, name, headDim) : head, positions, frequencies, {});
  const query = turned(project('query', heads), 'norm.query');
  const state = builder.kvWrite(
    builder.state('kv', 'f16', ['pool', 2, kvHeads, 16, headDim]),
    turned(project('key', kvHeads), 'norm.key'),
    project('value', kvHeads),
    builder.input('slots', 'i32', ['tokens']),
  );
  const mixed = builder.attention(
    {
      query,
      state,
      positions,
      starts: builder.input('starts', 'i32', ['sequences']),
      blocks: builder.input('blocks', 'i32', ['sequences', 'columns']),
    },
    { scale: headDim ** -0.5, window: norms ? 24 : undefined },
  );
  const after = (part: Value, name: string): Value => (norms ? norm(part, name) : part);
  const joined = builder.reshape(mixed, ['tokens', heads * headDim]);
  const attended = builder.matmul(joined, matrix('output', hidden, heads * headDim));
  x = builder.add(x, after(attended, 'norm.afterAttention'));

  const inner = norm(x, 'norm.feedForward');
  const gate = builder.matmul(inner, matrix('gate', feedForward, hidden));
  const up = builder.matmul(inner, matrix('up', feedForward, hidden));
  const wide = builder.glu(gate, up, norms ? 'geluTanh' : 'silu');
  x = builder.add(
    x,
    after(builder.matmul(wide, matrix('down', hidden, feedForward)), 'norm.afterFeedForward'),
  );

  const last = builder.takeRows(x, builder.input('rows', 'i32', ['outputs']));
  const raw = builder.matmul(norm(last, 'norm'), table);
  const logits = norms ? builder.softcap(raw, 30) : raw;
  const { ids: next } = builder.sample({
    logits,
    parameters: builder.input('parameters', 'f32', ['outputs', 7]),
    controls: builder.input('controls', 'i32', ['outputs', 7]),
    biasIds: builder.input('biasIds', 'i32', ['outputs', 1]),
    biasValues: builder.input('biasValues', 'f32', ['outputs', 1]),
    history: builder.state('history', 'i32', ['historyRows', 'capacity']),
  });
  builder.output('logits', logits);
  builder.output('next', next);
  return builder.build();
}

/** What Gemma 3n adds: AltUp streams, a router, LAuReL, per-layer inputs, a sparse gate. */
export function altUpGraph(dtype: DType, hidden = 64): Graph {
  const builder = new GraphBuilder('altUp');
  const matrix = (name: string, rows: number, columns: number): Value =>
    builder.weight(name, { dtype, shape: [rows, columns] });
  const norm = (x: Value, name: string): Value =>
    builder.rmsNorm(x, builder.weight(name, { dtype: 'f32', shape: [hidden] }), { epsilon: 1e-6 });
  const x = builder.input('x', 'f32', ['tokens', hidden]);
  const extra = [1, 2].map((i) =>
    builder.reshape(builder.matchRms(builder.matmul(x, matrix(`stream.${i}`, hidden, hidden)), x, {}), [
      1,
      'tokens',
      hidden,
    ]),
  );
  const streams = builder.concat([builder.reshape(x, [1, 'tokens', hidden]), ...extra], 0);
  const active = (all: Value): Value => builder.reshape(builder.slice(all, 0, 0, 1), ['tokens', hidden]);
  const router = (value: Value): Value =>
    builder.activation(
      builder.matmul(builder.scale(norm(value, 'norm.router'), 1 / hidden), matrix('router', 32, hidden)),
      'tanh',
    );
  const predictions = builder.altUpPredict(
    streams,
    builder.matmul(router(active(streams)), matrix('predict', 9, 32)),
  );
  const normed = norm(active(predictions), 'norm.input');
  const laurel = builder.add(
    normed,
    builder.matmul(
      builder.matmul(normed, matrix('laurel.left', 32, hidden)),
      matrix('laurel.right', hidden, 32),
    ),
  );
  const gate = builder.gaussianTopK(builder.matmul(normed, matrix('gate', 96, hidden)), 0.5);
  const wide = builder.glu(gate, builder.matmul(normed, matrix('up', 96, hidden)), 'geluTanh');
  const down = builder.matmul(wide, matrix('down', hidden, 96));
  const activated = builder.scale(builder.add(builder.add(active(predictions), down), laurel), Math.SQRT1_2);
  const corrected = builder.altUpCorrect(
    predictions,
    activated,
    builder.matmul(router(activated), matrix('correct', 3, 32)),
  );
  const perLayer = builder.input('perLayer', 'f32', ['tokens', 2, 32]);
  const gated = builder.glu(
    builder.matmul(active(corrected), matrix('perLayer.gate', 32, hidden)),
    builder.reshape(builder.slice(perLayer, 1, 1, 1), ['tokens', 32]),
    'geluTanh',
  );
  const injected = builder.altUpInject(
    corrected,
    norm(builder.matmul(gated, matrix('perLayer.project', hidden, 32)), 'norm.perLayer'),
  );
  builder.output('mean', builder.mean(injected));
  builder.output('streams', injected);
  return builder.build();
}
