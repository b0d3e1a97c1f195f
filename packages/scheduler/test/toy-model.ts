/**
 * A language model small enough to read: embedding, layers of windowed or full attention with a gated feed-forward,
 * head. Random f32 weights; its answers mean nothing, but depend on every earlier token that a layer may see.
 */
import {
  GraphBuilder,
  referenceBackend,
  StepInputs,
  type Device,
  type KvGroup,
  type LanguageModel,
  type SampledIds,
  type StepOptions,
  type Value,
  type WeightEntry,
  type WeightSet,
} from '@unicorn-exec/tensor';

/** Features of a token between layers. */
export const hidden = 8;
const heads = 2;
const headDim = 4;
const feedForward = 12;

/** mulberry32: a small generator of repeatable numbers. */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class ToyModel implements LanguageModel {
  readonly name = 'toy';
  readonly layers: number;
  readonly kvGroups: readonly KvGroup[];

  /** @param windows of each layer; undefined sees everything */
  constructor(
    readonly windows: readonly (number | undefined)[] = [undefined, 5],
    readonly vocabularySize = 37,
    readonly contextLength = 96,
    readonly sampled?: SampledIds,
  ) {
    this.layers = windows.length;
    this.kvGroups = [...new Set(windows)].map((window) => ({
      name: window === undefined ? 'full' : `window${window}`,
      layers: windows.flatMap((other, layer) => (other === window ? [layer] : [])),
      kvHeads: 1,
      headDim,
      ...(window === undefined ? {} : { window }),
    }));
  }

  get weights(): WeightEntry[] {
    const random = randomNumbers(7);
    const entry = (name: string, rows: number, columns: number, gain: number): WeightEntry => {
      const data = Float32Array.from({ length: rows * columns }, () => (random() - 0.5) * gain);
      return {
        name,
        dtype: 'f32',
        shape: [rows, columns],
        source: { kind: 'bytes', bytes: new Uint8Array(data.buffer) },
      };
    };
    return [
      entry('embed', this.vocabularySize, hidden, 4),
      entry('head', this.vocabularySize, hidden, 4),
      ...this.windows.flatMap((_, layer) => [
        entry(`${layer}.q`, heads * headDim, hidden, 3),
        entry(`${layer}.k`, headDim, hidden, 3),
        entry(`${layer}.v`, headDim, hidden, 3),
        entry(`${layer}.o`, hidden, heads * headDim, 3),
        entry(`${layer}.gate`, feedForward, hidden, 2),
        entry(`${layer}.up`, feedForward, hidden, 2),
        entry(`${layer}.down`, hidden, feedForward, 2),
      ]),
    ];
  }

  sampledIds(): Promise<SampledIds | undefined> {
    return Promise.resolve(this.sampled);
  }

  /** What becomes of the embeddings before the first layer. */
  protected enter(_builder: GraphBuilder, _inputs: StepInputs, x: Value): Value {
    return x;
  }

  buildStep(builder: GraphBuilder, options: StepOptions): { readonly logits?: Value } {
    const inputs = new StepInputs(builder, this.kvGroups, options);
    const weight = (name: string, rows: number, columns: number): Value =>
      builder.weight(name, { dtype: 'f32', shape: [rows, columns] });
    const table = weight('embed', this.vocabularySize, hidden);
    const frequencies = builder.constant(Float32Array.of(1, 0.1));
    let x = builder.embed(inputs.ids, table);
    if (options.given) x = builder.putRows(x, inputs.given(hidden), inputs.givenRows);
    x = this.enter(builder, inputs, x);
    if (options.hidden) builder.output('hidden.0', x);
    this.windows.forEach((window, layer) => {
      const group = this.kvGroups.find(({ layers }) => layers.includes(layer))!;
      const project = (name: string, count: number): Value =>
        builder.reshape(builder.matmul(x, weight(`${layer}.${name}`, count * headDim, hidden)), [
          'tokens',
          count,
          headDim,
        ]);
      const query = builder.rope(project('q', heads), inputs.positions, frequencies);
      const key = builder.rope(project('k', 1), inputs.positions, frequencies);
      const state = builder.kvWrite(inputs.state(layer), key, project('v', 1), inputs.slots(group));
      const seen = builder.attention(
        {
          query,
          state,
          positions: inputs.positions,
          starts: inputs.starts,
          blocks: inputs.blocks(group),
          ...(options.reach ? { reach: inputs.reach } : {}),
        },
        { scale: headDim ** -0.5, window },
      );
      const flat = builder.reshape(seen, ['tokens', heads * headDim]);
      x = builder.add(x, builder.matmul(flat, weight(`${layer}.o`, hidden, heads * headDim)));
      const width = options.size?.feedForward[layer] ?? feedForward;
      const slice = (name: string): Value =>
        builder.weight(
          `${layer}.${name}`,
          { dtype: 'f32', shape: name === 'down' ? [hidden, feedForward] : [feedForward, hidden] },
          name === 'down' ? { columns: width } : { rows: width },
        );
      const normed = builder.rmsNorm(x, undefined, { epsilon: 1e-6 });
      const wide = builder.glu(
        builder.matmul(normed, slice('gate')),
        builder.matmul(normed, slice('up')),
        'silu',
      );
      x = builder.rmsNorm(builder.add(x, builder.matmul(wide, slice('down'))), undefined, { epsilon: 1e-6 });
      if (options.hidden) builder.output(`hidden.${layer + 1}`, x);
    });
    if (options.logits === 'none') return {};
    const rows = options.logits === 'selected' ? builder.takeRows(x, inputs.rows) : x;
    const { sampled } = options;
    const head = { dtype: 'f32', shape: [this.vocabularySize, hidden] } as const;
    let logits = builder.matmul(rows, builder.weight('head', head, sampled && { rows: sampled.count }));
    if (sampled) {
      const barred = new Float32Array(sampled.count);
      for (const id of sampled.absent) barred[id] = -Infinity;
      logits = builder.add(logits, builder.constant(barred));
    }
    builder.output('logits', logits);
    return { logits };
  }
}

export interface Bench {
  readonly model: ToyModel;
  readonly device: Device;
  readonly weights: WeightSet;
}

/** The toy on a fresh reference device. */
export async function toyBench(model = new ToyModel()): Promise<Bench> {
  const device = await referenceBackend.open();
  return { model, device, weights: await device.load(model.weights) };
}
