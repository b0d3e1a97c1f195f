/**
 * One step of a decoder while its graph is being built: the step's inputs, the weights as loaded, which layers and
 * widths the size keeps, and which rows are still computed. Architectures compose the parts below it.
 */
import {
  StepInputs,
  UnicornError,
  type GraphBuilder,
  type KvGroup,
  type SampledIds,
  type StepOptions,
  type TensorSpec,
  type Value,
} from '@unicorn-exec/tensor';
import {
  kvGroupsOf,
  ropeOf,
  type AttentionKind,
  type DecoderConfig,
  type LayerConfig,
} from './decoder-config.js';
import { layerWeight } from './decoder-weights.js';
import type { Rope } from './rope-frequencies.js';

export interface KeptLayer extends LayerConfig {
  readonly index: number;
  /** Feed-forward width in this size. */
  readonly width: number;
}

export class DecoderStep {
  readonly inputs: StepInputs;
  /** The layers that the size keeps, in order. */
  readonly layers: readonly KeptLayer[];
  readonly #groups: readonly KvGroup[];
  readonly #states = new Map<number, Value>();
  /** By kind of attention, or by the rope of a layer that has its own. */
  readonly #frequencies = new Map<AttentionKind | Rope, Value>();
  #narrowed = false;
  #narrowedPositions: Value | undefined;
  #narrowedReach: Value | undefined;

  constructor(
    readonly builder: GraphBuilder,
    readonly config: DecoderConfig,
    private readonly specs: ReadonlyMap<string, TensorSpec>,
    readonly options: StepOptions,
  ) {
    this.#groups = kvGroupsOf(config);
    this.inputs = new StepInputs(builder, this.#groups, options);
    this.layers = keptLayers(config, options.size);
  }

  /** Nodes that `build` adds are of the part of the model that `name` says (`embedding`, `head`). */
  scoped<T>(name: string, build: () => T): T {
    return this.builder.scoped(name, build);
  }

  /** Nodes that `build` adds are of a part of a layer: `layer.12.attention`. */
  scopedLayer<T>({ index }: KeptLayer, part: string, build: () => T): T {
    return this.scoped(`layer.${index}.${part}`, build);
  }

  /** i32, position of each row that is still computed. */
  get positions(): Value {
    // `rows` declares its input when it is read, so only where it is used.
    if (!this.#narrowed) return this.inputs.positions;
    return (this.#narrowedPositions ??= this.builder.takeRows(this.inputs.positions, this.inputs.rows));
  }

  /** i32, the last position that each row which is still computed sees; undefined: its own. */
  get reach(): Value | undefined {
    if (!this.options.reach) return undefined;
    if (!this.#narrowed) return this.inputs.reach;
    return (this.#narrowedReach ??= this.builder.takeRows(this.inputs.reach, this.inputs.rows));
  }

  /** i32 [sequences], first of those rows of each sequence. */
  get starts(): Value {
    return this.#narrowed ? this.inputs.rowStarts : this.inputs.starts;
  }

  /** f32 [tokens, hidden], what the first layer reads: scaled embeddings, but for the rows that are given. */
  embed(): Value {
    const { builder, config, inputs, options } = this;
    const embedded = builder.embed(inputs.ids, this.weight('embed'), { scale: config.embeddingScale });
    return options.given
      ? builder.putRows(embedded, inputs.given(config.hidden), inputs.givenRows)
      : embedded;
  }

  /** @param view rows or columns of it: a nested size's part */
  weight(name: string, view?: { rows?: number; columns?: number }): Value {
    const spec = this.specs.get(name);
    if (!spec)
      throw new UnicornError(
        'internal/invariant',
        `The graph asks for the weight "${name}", which is not there.`,
      );
    return this.builder.weight(name, spec, view);
  }

  optionalWeight(name: string): Value | undefined {
    return this.specs.has(name) ? this.weight(name) : undefined;
  }

  layerWeight(layer: KeptLayer, part: string, view?: { rows?: number; columns?: number }): Value {
    return this.weight(layerWeight(layer.index, part), view);
  }

  /** RMS norm with the model's epsilon and offset. */
  norm(x: Value, weight: Value | undefined): Value {
    const { normEpsilon: epsilon, normOffset: weightOffset } = this.config;
    return this.builder.rmsNorm(x, weight, { epsilon, weightOffset: weight ? weightOffset : 0 });
  }

  layerNorm(layer: KeptLayer, part: string, x: Value): Value {
    return this.norm(x, this.layerWeight(layer, part));
  }

  /** `x @ weight^T`, and the bias where the file has one. `view` keeps its first rows or columns. */
  linear(layer: KeptLayer, part: string, x: Value, view?: { rows?: number; columns?: number }): Value {
    const { builder } = this;
    const product = builder.matmul(x, this.layerWeight(layer, part, view));
    const bias = this.optionalWeight(`${layerWeight(layer.index, part)}.bias`);
    if (!bias) return product;
    return builder.add(product, view?.rows === undefined ? bias : builder.slice(bias, 0, 0, view.rows));
  }

  group(layer: number): KvGroup {
    return this.#groups.find(({ layers }) => layers.includes(layer))!;
  }

  /** The KV state that a layer reads: its own, or an earlier layer's. */
  state(layer: KeptLayer): Value {
    const source = layer.kvSource ?? layer.index;
    return this.#states.get(source) ?? this.inputs.state(source);
  }

  setState(layer: KeptLayer, state: Value): void {
    this.#states.set(layer.index, state);
  }

  /** Turns heads `[rows, heads, headDim]` by the positions of the rows, where the layer has a rope. */
  rope(layer: KeptLayer, x: Value): Value {
    const rope = ropeOf(this.config, layer);
    if (!rope) return x;
    const { frequencies, magnitude, layout } = rope;
    const key = layer.rope === undefined ? layer.attention : rope;
    const table = this.#frequencies.get(key) ?? this.builder.constant(frequencies);
    this.#frequencies.set(key, table);
    return this.builder.rope(x, this.positions, table, { layout, magnitude });
  }

  /** True when the rows that no logits are wanted of may be dropped as soon as nobody reads them. */
  get mayNarrow(): boolean {
    return this.options.logits === 'selected' && !this.options.hidden && !this.#narrowed;
  }

  /**
   * From here on only the rows whose logits are wanted are computed.
   *
   * @returns what picks those rows out of a value along the axis of the tokens
   */
  narrow(): (x: Value, axis?: number) => Value {
    const { rows } = this.inputs;
    this.#narrowed = true;
    return (x, axis = 0) => this.builder.takeRows(x, rows, axis);
  }

  /** The rows that logits are wanted of. @param axis of the tokens */
  selected(x: Value, axis = 0): Value {
    if (this.options.logits !== 'selected' || this.#narrowed) return x;
    return this.narrow()(x, axis);
  }

  /** True at the layer after whose keys and values nothing is left to compute: no logits and no hidden states are wanted. */
  endsAt(layer: KeptLayer): boolean {
    if (this.options.logits !== 'none' || this.options.hidden) return false;
    return layer.index === this.layers.findLast(({ kvSource }) => kvSource === undefined)!.index;
  }

  /** Output `hidden.<number>`, where hidden states are wanted. */
  outputHidden(number: number, x: Value): void {
    if (this.options.hidden) this.builder.output(`hidden.${number}`, x);
  }

  /** Final norm, head and softcap of the rows that logits are wanted of. */
  logits(x: Value): Value | undefined {
    if (this.options.logits === 'none') return undefined;
    const { builder, config, options } = this;
    const { count, absent } = (options.logits === 'selected' && options.sampled) || everyId(config);
    const logits = this.scoped('head', () => {
      const normed = this.norm(this.selected(x), this.weight('norm'));
      const view = count < config.vocabularySize ? { rows: count } : undefined;
      const raw = builder.matmul(normed, this.weight(config.tiedHead ? 'embed' : 'head', view));
      const capped = config.logitSoftcap === undefined ? raw : builder.softcap(raw, config.logitSoftcap);
      return absent.length === 0 ? capped : builder.add(capped, builder.constant(barring(count, absent)));
    });
    builder.output('logits', logits);
    return logits;
  }
}

const everyId = ({ vocabularySize }: DecoderConfig): SampledIds => ({ count: vocabularySize, absent: [] });

/** What is added to logits: nothing to those of tokens, minus infinity to those of ids that no token has. */
function barring(count: number, absent: readonly number[]): Float32Array {
  const row = new Float32Array(count);
  for (const id of absent) row[id] = -Infinity;
  return row;
}

/** @throws UnicornError `usage/elastic` when the size does not fit the model. */
function keptLayers(config: DecoderConfig, size: StepOptions['size']): KeptLayer[] {
  const fail = (sentence: string): never => {
    throw new UnicornError('usage/elastic', sentence, { fix: 'Make sizes with resolveSize.' });
  };
  const skipped = new Set(size?.skip ?? []);
  const kept = config.layers.flatMap((layer, index) => (skipped.has(index) ? [] : [{ ...layer, index }]));
  if (kept.length === 0) fail('The size leaves out every layer.');
  if (size && size.feedForward.length !== kept.length) {
    fail(`The size has ${size.feedForward.length} widths for ${kept.length} kept layers.`);
  }
  return kept.map((layer, order) => {
    if (layer.kvSource !== undefined && skipped.has(layer.kvSource)) {
      fail(`Layer ${layer.kvSource} cannot be left out: layer ${layer.index} reads its keys and values.`);
    }
    return { ...layer, width: size?.feedForward[order] ?? layer.feedForward };
  });
}
