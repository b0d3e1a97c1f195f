/** Short chains of ops as decoders have them, since backends fuse: what is lost between the ops shows only here. */
import {
  sampleControls,
  sampleParameters,
  HostTensor,
  type DeviceInfo,
  type DType,
} from '@unicorn-exec/tensor';
import { below, normal, outlierColumns, Sketch, type Case, type Fill } from '../case.js';
import { productNoise, type Noise } from '../tolerance.js';
import { decoderLayer, feedForward, type LayerShape, type StepShape } from '../decoder.js';

/** Formats whose rows divide by the widths used here, the most used first. */
function chainWeights({ dtypes }: DeviceInfo): DType[] {
  const wanted: readonly DType[] = ['f32', 'bf16', 'q8_0', 'q4_0', 'q4_1'];
  return wanted.filter((dtype) => dtypes.weights.includes(dtype));
}

function rowChain(label: string, products: number, rows: number, build: (sketch: Sketch) => void): Case {
  const name = `chain ${label}`;
  return {
    name,
    op: 'chain',
    rows,
    noise: productNoise(products),
    make(batch) {
      const sketch = new Sketch(name, batch);
      build(sketch);
      return sketch.problem();
    },
  };
}

function normMatmul(dtype: DType): Case {
  return rowChain(`norm and matmul ${dtype}`, 1, 5, (sketch) => normAndProduct(sketch, dtype, 64, normal));
}

function outlierNormMatmul(dtype: DType): Case {
  return rowChain(`norm and matmul ${dtype} outlier columns`, 1, 2, (sketch) =>
    normAndProduct(sketch, dtype, 1024, outlierColumns),
  );
}

function normAndProduct(sketch: Sketch, dtype: DType, width: number, fill: Fill): void {
  const x = sketch.input('x', ['tokens', width], fill);
  const normed = sketch.builder.rmsNorm(x, sketch.weight('norm', 'f32', [width]), { epsilon: 1e-6 });
  sketch.output('y', sketch.builder.matmul(normed, sketch.weight('w', dtype, [37, width])));
  // The norm has a second reader: a fused step must still leave it.
  sketch.output('normed', normed);
}

function sharedNorm(dtype: DType): Case {
  return rowChain(`norm and three products ${dtype}`, 1, 3, (sketch) => {
    const x = sketch.input('x', ['tokens', 96]);
    const normed = sketch.builder.rmsNorm(x, sketch.weight('norm', 'f32', [96]), { epsilon: 1e-6 });
    for (const [name, rows] of [
      ['query', 64],
      ['key', 32],
      ['value', 32],
    ] as const) {
      sketch.output(name, sketch.builder.matmul(normed, sketch.weight(`w.${name}`, dtype, [rows, 96])));
    }
  });
}

function feedForwardChain(dtype: DType, kind: LayerShape['kind'], fill: Fill = normal): Case {
  return rowChain(
    `feed-forward ${kind} ${dtype}${fill === outlierColumns ? ' outlier columns' : ''}`,
    2,
    7,
    (sketch) => {
      const { builder } = sketch;
      const x = sketch.input('x', ['tokens', 64], fill);
      const normed = builder.rmsNorm(x, sketch.weight('norm', 'f32', [64]), { epsilon: 1e-6 });
      const fed = feedForward(sketch, normed, { weights: dtype, hidden: 64, feedForward: 160, kind });
      sketch.output('y', builder.add(x, fed));
    },
  );
}

/** A MatFormer size: the first rows of gate and up, the first columns of down. */
function elasticFeedForward(dtype: DType): Case {
  return rowChain(`elastic feed-forward ${dtype}`, 2, 3, (sketch) => {
    const { builder } = sketch;
    const x = sketch.input('x', ['tokens', 64]);
    const part = { rows: 96 };
    const gate = builder.matmul(x, sketch.weight('gate', dtype, [160, 64], part));
    const up = builder.matmul(x, sketch.weight('up', dtype, [160, 64], part));
    const down = sketch.weight('down', dtype, [64, 160], { columns: 96 });
    sketch.output('y', builder.matmul(builder.glu(gate, up, 'geluTanh'), down));
  });
}

/** Gemma 3n: sparse gate, the up projection, and the product of both. */
function sparseFeedForward(dtype: DType): Case {
  return rowChain(`sparse feed-forward ${dtype}`, 2, 3, (sketch) => {
    const { builder } = sketch;
    const x = sketch.input('x', ['tokens', 64]);
    const gate = builder.gaussianTopK(builder.matmul(x, sketch.weight('gate', dtype, [160, 64])), 1.6448536);
    const up = builder.matmul(x, sketch.weight('up', dtype, [160, 64]));
    const inner = builder.glu(gate, up, 'geluTanh');
    sketch.output('y', builder.matmul(inner, sketch.weight('down', dtype, [64, 160])));
  });
}

/** Gemma 3n: predict the streams, run the active one through something, correct the others, inject. */
function altUp(dtype: DType): Case {
  return rowChain(`AltUp ${dtype}`, 2, 3, (sketch) => {
    const { builder } = sketch;
    const [streams, features] = [4, 64];
    const x = sketch.input('x', [streams, 'tokens', features]);
    const first = builder.reshape(builder.slice(x, 0, 0, 1), ['tokens', features]);
    const routed = (name: string, value: typeof x) => {
      const normed = builder.rmsNorm(value, sketch.weight(`${name}.norm`, 'f32', [features]), {
        epsilon: 1e-6,
      });
      const scaled = builder.scale(normed, 1 / features);
      return builder.activation(
        builder.matmul(scaled, sketch.weight(`${name}.router`, 'f32', [streams, features])),
        'tanh',
      );
    };
    const predict = builder.matmul(
      routed('predict', first),
      sketch.weight('predict', 'f32', [streams ** 2, streams]),
    );
    const predictions = builder.altUpPredict(x, predict);
    const active = builder.reshape(builder.slice(predictions, 0, 0, 1), ['tokens', features]);
    const laurel = builder.matmul(
      builder.matmul(active, sketch.weight('laurel.left', dtype, [32, features])),
      sketch.weight('laurel.right', dtype, [features, 32]),
    );
    const activated = builder.scale(builder.add(active, laurel), Math.SQRT1_2);
    const correct = builder.matmul(
      routed('correct', activated),
      sketch.weight('correct', 'f32', [streams, streams]),
    );
    const corrected = builder.altUpCorrect(predictions, activated, correct);
    const injected = builder.altUpInject(corrected, laurel);
    sketch.output('streams', injected);
    // The end of the stack: streams brought to one magnitude, then their mean.
    const rest = builder.slice(injected, 0, 1, 3);
    const model = builder.slice(injected, 0, 0, 1);
    const even = builder.matchRms(rest, builder.concat([model, model, model], 0));
    sketch.output('y', builder.mean(builder.concat([model, even], 0)));
  });
}

/** Gemma 3n: one row of a wide table for all layers, of which each layer takes its part. */
function perLayerEmbedding(dtype: DType): Case {
  return rowChain(`per-layer embedding ${dtype}`, 1, 5, (sketch) => {
    const { builder } = sketch;
    const ids = sketch.integers('ids', ['tokens'], below(40));
    const table = sketch.weight('table', dtype, [31, 3 * 32]);
    const rows = builder.embed(ids, table, { scale: Math.sqrt(32), beyond: 'firstRow' });
    const second = builder.reshape(builder.slice(builder.reshape(rows, ['tokens', 3, 32]), 1, 1, 1), [
      'tokens',
      32,
    ]);
    const x = sketch.input('x', ['tokens', 64]);
    const gate = builder.activation(builder.matmul(x, sketch.weight('gate', dtype, [32, 64])), 'geluTanh');
    sketch.output('y', builder.multiply(gate, second));
  });
}

const llama: Omit<LayerShape, 'weights' | 'kv'> = {
  hidden: 64,
  heads: 6,
  kvHeads: 2,
  headDim: 32,
  feedForward: 96,
  kind: 'silu',
  rope: 'interleaved',
};

const gemma: Omit<LayerShape, 'weights' | 'kv'> = {
  ...llama,
  heads: 4,
  kind: 'geluTanh',
  rope: 'half',
  headNorms: true,
  sandwich: true,
  window: 9,
};

/** Layers of the families, by a name for the case. */
export const layerFamilies = {
  llama,
  qwen: { ...llama, rope: 'half', biases: true, softcap: 20 },
  gemma,
} as const;

const raggedStep: StepShape = {
  sequences: [
    { id: 1, past: 0, rows: 11 },
    { id: 2, past: 23, rows: 1 },
    { id: 3, past: 6, rows: 4 },
  ],
  blockTokens: 4,
  blocks: 'chain',
  filler: 'junk',
};

/**
 * Query and key, attention's own queries, output, gate and up, down: five in a row. A key that is off by a rounding may
 * be stored as its neighbour, which costs more than f32 arithmetic: no limit there but in an f32 cache.
 */
function layerNoise(kv: DType): Noise {
  return kv === 'f32' ? productNoise(5) : { stored: 5 };
}

function layerChain(family: keyof typeof layerFamilies, weights: DType, kv: DType, step = raggedStep): Case {
  const name = `chain ${family} layer ${weights} with KV ${kv}${step === raggedStep ? '' : ' at length'}`;
  return {
    name,
    op: 'chain',
    noise: layerNoise(kv),
    make: () => decoderLayer(name, { ...layerFamilies[family], weights, kv }, step).problem(),
  };
}

/** The head of a step: the rows that are wanted, norm, logits, softcap, the best token, appended to the history. */
function greedyHead(dtype: DType): Case {
  const name = `chain head ${dtype} and greedy sample`;
  return {
    name,
    op: 'chain',
    noise: productNoise(1),
    make() {
      const sketch = new Sketch(name, [], { rows: 7, outputs: 3, historyRows: 4, capacity: 5 });
      const { builder } = sketch;
      const rows = sketch.given('rows', 'i32', ['outputs'], [0, 3, 6]);
      const taken = builder.takeRows(sketch.input('x', ['rows', 64]), rows);
      const normed = builder.rmsNorm(taken, sketch.weight('norm', 'f32', [64]), { epsilon: 1e-6 });
      const logits = builder.softcap(builder.matmul(normed, sketch.weight('head', dtype, [197, 64])), 30);
      const neutral = [0, 1, 0, 1, 1, 0, 0];
      const controls = (row: number): number[] => [0, 1, 2, 3, 2 - row, row, 0];
      const history = HostTensor.i32(
        [4, 5],
        Array.from({ length: 20 }, (_, i) => i),
      );
      const sampled = builder.sample({
        logits,
        parameters: sketch.given(
          'parameters',
          'f32',
          ['outputs', sampleParameters.length],
          [neutral, neutral, neutral].flat(),
        ),
        controls: sketch.given(
          'controls',
          'i32',
          ['outputs', sampleControls.length],
          [0, 1, 2].flatMap(controls),
        ),
        biasIds: sketch.given('biasIds', 'i32', ['outputs', 0], []),
        biasValues: sketch.given('biasValues', 'f32', ['outputs', 0], []),
        history: sketch.state('history', ['historyRows', 'capacity'], history),
      });
      sketch.output('logits', logits);
      sketch.output('ids', sampled.ids);
      return sketch.problem();
    },
  };
}

export function chainCases(info: DeviceInfo): Case[] {
  const families = Object.keys(layerFamilies) as (keyof typeof layerFamilies)[];
  const [kv] = info.dtypes.kv;
  return [
    ...chainWeights(info).flatMap((dtype) => [
      normMatmul(dtype),
      sharedNorm(dtype),
      feedForwardChain(dtype, 'silu'),
      feedForwardChain(dtype, 'geluTanh'),
      outlierNormMatmul(dtype),
      feedForwardChain(dtype, 'silu', outlierColumns),
      elasticFeedForward(dtype),
      sparseFeedForward(dtype),
      altUp(dtype),
      perLayerEmbedding(dtype),
      greedyHead(dtype),
      ...(kv ? families.map((family) => layerChain(family, dtype, kv)) : []),
    ]),
    ...(info.dtypes.weights.includes('f32')
      ? info.dtypes.kv.slice(1).flatMap((other) => families.map((family) => layerChain(family, 'f32', other)))
      : []),
  ];
}

/** One layer as in models of a billion parameters, decoding one token and prefilling 64. */
export function chainBenchmarks(info: DeviceInfo): Case[] {
  const kv = info.dtypes.kv.find((dtype) => dtype === 'f16') ?? info.dtypes.kv[0];
  if (!kv) return [];
  const size = { hidden: 1024, heads: 16, kvHeads: 4, headDim: 64, feedForward: 2816 };
  const step = (past: number, rows: number): StepShape => ({
    sequences: [{ id: 1, past, rows }],
    blockTokens: 16,
    blocks: 'benchmark',
    filler: 'junk',
  });
  return chainWeights(info)
    .filter((dtype) => dtype === 'q8_0' || dtype === 'q4_0')
    .flatMap((weights) =>
      (
        [
          ['decode at 1023', step(1023, 1)],
          ['prefill of 64', step(0, 64)],
        ] as const
      ).map(([label, shape]): Case => {
        const name = `chain llama layer ${weights} ${label}`;
        const make = (): ReturnType<Case['make']> =>
          decoderLayer(name, { ...llama, ...size, weights, kv }, shape).problem();
        return { name, op: 'chain', noise: layerNoise(kv), make };
      }),
    );
}
