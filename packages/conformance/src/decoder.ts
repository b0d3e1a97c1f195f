/** The layers that decoders are made of, as graphs over a ragged step: what chains and invariance scenarios share. */
import type { ActivationKind, DType, Value } from '@unicorn-exec/tensor';
import { Sketch } from './case.js';
import { ropeFrequencies } from './cases/rope.js';
import { layRagged, makeState, type RaggedSequence } from './ragged.js';

export interface LayerShape {
  readonly weights: DType;
  readonly kv: DType;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly feedForward: number;
  readonly kind: ActivationKind;
  readonly rope: 'half' | 'interleaved';
  /** A norm on each query and key head, before rope. */
  readonly headNorms?: boolean;
  /** Biases on query, key and value. */
  readonly biases?: boolean;
  /** Whether there are norms also after attention and after the feed-forward part, before the residual, as in Gemma. */
  readonly sandwich?: boolean;
  readonly window?: number;
  readonly softcap?: number;
}

export interface StepShape {
  /** Sequence ids name the content of their tokens: the same id and position is the same row in any step. */
  readonly sequences: readonly (RaggedSequence & { readonly id: number })[];
  /** Positions reserved for each sequence, so that tables stay as they are from step to step. */
  readonly capacity?: number;
  readonly blockTokens: number;
  /** Names the stream of block ids. */
  readonly blocks: string;
  /** The content of the cache where no past of a sequence lies; the past itself is random. */
  readonly filler: 'zeros' | 'junk';
  /** True when the past is not in the cache yet, because earlier steps of the scenario write it. */
  readonly emptyPast?: boolean;
}

const epsilon = 1e-6;

function norm(sketch: Sketch, name: string, x: Value): Value {
  return sketch.builder.rmsNorm(x, sketch.weight(name, 'f32', [x.shape.at(-1) as number]), { epsilon });
}

function product(sketch: Sketch, name: string, dtype: DType, x: Value, rows: number): Value {
  return sketch.builder.matmul(x, sketch.weight(name, dtype, [rows, x.shape.at(-1) as number]));
}

/** gate, up, glu, down. */
export function feedForward(
  sketch: Sketch,
  x: Value,
  {
    weights,
    hidden,
    feedForward: width,
    kind,
  }: Pick<LayerShape, 'weights' | 'hidden' | 'feedForward' | 'kind'>,
): Value {
  const gate = product(sketch, 'gate', weights, x, width);
  const up = product(sketch, 'up', weights, x, width);
  return product(sketch, 'down', weights, sketch.builder.glu(gate, up, kind), hidden);
}

function heads(sketch: Sketch, name: string, x: Value, count: number, shape: LayerShape): Value {
  const { builder } = sketch;
  const flat = product(sketch, name, shape.weights, x, count * shape.headDim);
  const biased = shape.biases
    ? builder.add(flat, sketch.weight(`${name}.bias`, 'f32', [count * shape.headDim]))
    : flat;
  return builder.reshape(biased, ['tokens', count, shape.headDim]);
}

/**
 * One decoder layer over a ragged step: input `x`, output `y`, state `kv`. It is one graph, so a device may fuse norms into
 * products, rope into kvWrite, and the feed-forward part into one step.
 */
export function decoderLayer(name: string, shape: LayerShape, step: StepShape): Sketch {
  const { hidden, kvHeads, headDim, window, softcap } = shape;
  const batch = layRagged(step.sequences, {
    blockTokens: step.blockTokens,
    window,
    seed: step.blocks,
    ...(step.capacity === undefined ? {} : { capacity: step.capacity }),
  });
  const rows = step.sequences.flatMap(({ id, past, rows: count }) =>
    Array.from({ length: count }, (_, i) => id * 10_000 + past + i),
  );
  const sketch = new Sketch(name, rows, {
    sequences: batch.sequences,
    blocks: batch.blocks,
    pool: batch.pool,
  });
  const { builder } = sketch;
  const x = sketch.input('x', ['tokens', hidden]);
  const positions = sketch.given('positions', 'i32', ['tokens'], batch.positions);
  const slots = sketch.given('slots', 'i32', ['tokens'], batch.slots);
  const starts = sketch.given('starts', 'i32', ['sequences'], batch.starts);
  const blocks = sketch.given('blocks', 'i32', ['sequences', 'blocks'], batch.table);
  const stateShape = { dtype: shape.kv, pool: batch.pool, kvHeads, blockTokens: step.blockTokens, headDim };
  const before = makeState(
    stateShape,
    step.filler,
    step.emptyPast ? [] : batch.pastSlots,
    `${name} ${step.blocks}`,
  );
  const state = sketch.state('kv', ['pool', 2, kvHeads, step.blockTokens, headDim], before);

  const frequencies = builder.constant(ropeFrequencies(headDim / 2));
  const normed = norm(sketch, 'attention.norm', x);
  const turned = (part: 'query' | 'key', count: number): Value => {
    const value = heads(sketch, part, normed, count, shape);
    const even = shape.headNorms ? norm(sketch, `${part}.norm`, value) : value;
    return builder.rope(even, positions, frequencies, { layout: shape.rope });
  };
  const query = turned('query', shape.heads);
  const key = turned('key', kvHeads);
  const written = builder.kvWrite(state, key, heads(sketch, 'value', normed, kvHeads, shape), slots);
  const attended = builder.attention(
    { query, state: written, positions, starts, blocks },
    { scale: 1 / Math.sqrt(headDim), window, softcap },
  );
  const flat = builder.reshape(attended, ['tokens', shape.heads * headDim]);
  const projected = product(sketch, 'attention.output', shape.weights, flat, hidden);
  const attention = shape.sandwich ? norm(sketch, 'attention.postNorm', projected) : projected;
  const middle = builder.add(x, attention);
  const fed = feedForward(sketch, norm(sketch, 'feedForward.norm', middle), shape);
  const y = builder.add(middle, shape.sandwich ? norm(sketch, 'feedForward.postNorm', fed) : fed);
  sketch.output('y', y);
  return sketch;
}
