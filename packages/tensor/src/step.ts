/**
 * The ragged step: the names by which a model's graph and a scheduler meet. A model builds a graph over these inputs
 * and states; a scheduler binds them. Neither imports the other.
 *
 * One step takes `tokens` tokens of `sequences` sequences, flattened, prefill chunks and single decode tokens alike,
 * and returns logits for `outputs` of the rows.
 */
import type { DType } from './dtype.js';
import type { GraphBuilder } from './graph/builder.js';
import type { Value } from './graph/graph.js';

/** Tokens of one KV block. Sixteen keeps a sliding window's waste below 16 tokens and a block table short. */
export const defaultBlockTokens = 16;

/**
 * Layers whose KV cache has one window and one shape, so that they share block tables: a block id names the same
 * tokens in the state of each layer of the group.
 */
export interface KvGroup {
  readonly name: string;
  /** The layers that own a state, `kv.<layer>`. Layers that read another's state are not listed. */
  readonly layers: readonly number[];
  readonly kvHeads: number;
  readonly headDim: number;
  /** The cache holds keys alone, which are the values too. */
  readonly valuesAreKeys?: boolean;
  /** A query sees keys with position - key < window; absent: all earlier keys. */
  readonly window?: number;
}

/**
 * What a layer carries from token to token that is not keys and values, as the recurrent state of linear attention or the
 * last inputs of a short convolution: f32, a slot for each sequence, by the ops `causalConv` and `gatedDelta`.
 */
export interface SequenceState {
  /** Name of the state in the graph: `delta.3`. */
  readonly name: string;
  readonly layer: number;
  /** Shape of one slot. */
  readonly shape: readonly number[];
}

/** A MatFormer size: a choice of slices of one set of weights. */
export interface ElasticSize {
  /** Feed-forward width of each kept layer, in order. */
  readonly feedForward: readonly number[];
  /** Layers left out, ascending. */
  readonly skip: readonly number[];
}

/** Which rows of a head stand for tokens, where not all do: heads are padded, and vocabularies have gaps. */
export interface SampledIds {
  /** One more than the last id that has a token. */
  readonly count: number;
  /** Smaller ids without a token, ascending. */
  readonly absent: readonly number[];
}

export interface StepOptions {
  readonly kvDType: DType;
  /** Tokens of one KV block. */
  readonly blockTokens: number;
  /** Whose logits are computed. `selected`: those of the rows that the input `rows` names. `all`: those of every row. */
  readonly logits: 'selected' | 'all' | 'none';
  /**
   * For `selected`, which are sampled from: the logits are `[outputs, count]`, and those of absent ids minus infinity.
   * Default: every row of the head is a token.
   */
  readonly sampled?: SampledIds;
  /** Layers whose `hidden.<L>` f32 `[tokens, features]` are outputs: 0 is the embedding, L what layer L - 1 gives. */
  readonly hidden?: boolean;
  /**
   * Some rows are given instead of embedded (images, sounds): the step has the inputs `given` and `givenRows`, and those
   * rows take the place of the scaled embeddings of their ids.
   */
  readonly given?: boolean;
  /** The step has the input `reach`: how far each token sees, its own position in ordinary text. */
  readonly reach?: boolean;
  /** The full model by default. */
  readonly size?: ElasticSize;
}

/** What a scheduler needs to know of a model, which takes token ids and gives logits. */
export interface LanguageModel {
  readonly name: string;
  readonly vocabularySize: number;
  /** Positions that the model was made for. */
  readonly contextLength: number;
  readonly layers: number;
  readonly kvGroups: readonly KvGroup[];
  /** Default: none. */
  readonly sequenceStates?: readonly SequenceState[];
  /**
   * The ids that may be sampled; undefined, also in place of the method: all of the vocabulary. Must not reject. It is
   * asked for before anything that samples is compiled.
   */
  sampledIds?(): Promise<SampledIds | undefined>;
  /** Adds the step to a builder and names its outputs (`logits`, `hidden.<L>`). Returns the logits where asked for. */
  buildStep(builder: GraphBuilder, options: StepOptions): { readonly logits?: Value };
}

/** The inputs and states of a step, declared once for every model. */
export class StepInputs {
  /** i32 [tokens] */
  readonly ids: Value;
  /** i32 [tokens], absolute position of each token in its sequence. */
  readonly positions: Value;
  /** i32 [sequences], first row of each sequence. */
  readonly starts: Value;

  constructor(
    private readonly builder: GraphBuilder,
    private readonly groups: readonly KvGroup[],
    private readonly options: Pick<StepOptions, 'kvDType' | 'blockTokens'>,
  ) {
    this.ids = builder.input('ids', 'i32', ['tokens']);
    this.positions = builder.input('positions', 'i32', ['tokens']);
    this.starts = builder.input('starts', 'i32', ['sequences']);
  }

  /** i32 [outputs], the rows whose logits are wanted, ascending. */
  get rows(): Value {
    return this.builder.input('rows', 'i32', ['outputs']);
  }

  /** i32 [sequences], first entry of `rows` of each sequence: the `starts` of a narrowed step. */
  get rowStarts(): Value {
    return this.builder.input('rowStarts', 'i32', ['sequences']);
  }

  /** f32 [given, features], rows that take the place of embeddings, in the model's own scale. */
  given(features: number): Value {
    return this.builder.input('given', 'f32', ['given', features]);
  }

  /**
   * i32 [given], the rows of the step that those are; distinct. Their `ids` must be of the vocabulary: the model's own
   * placeholder where it has one, since a model may read more by it than the embedding (Gemma 3n), else 0.
   */
  get givenRows(): Value {
    return this.builder.input('givenRows', 'i32', ['given']);
  }

  /** i32 [tokens], the last position that each token sees: its own, or in a two-way span the span's last. */
  get reach(): Value {
    return this.builder.input('reach', 'i32', ['tokens']);
  }

  /** i32 [tokens], where the group's layers store this step's keys and values. */
  slots(group: KvGroup): Value {
    return this.builder.input(`slots.${group.name}`, 'i32', ['tokens']);
  }

  /** i32 [sequences, blocks]; a block that left the window is 0, the sink. */
  blocks(group: KvGroup): Value {
    return this.builder.input(`blocks.${group.name}`, 'i32', ['sequences', 'blocks']);
  }

  /**
   * i32 [sequences, 2], for every sequence state: the slot that a sequence goes on from (0, which reads as zeros, at its
   * beginning) and the slot that keeps what it has become. They differ where the step checks guesses, so that what it
   * began with is still there when a guess was wrong.
   */
  get stateSlots(): Value {
    return this.builder.input('stateSlots', 'i32', ['sequences', 2]);
  }

  /** A sequence state before this step. */
  sequenceState({ name, shape }: SequenceState): Value {
    return this.builder.state(name, 'f32', [stateSlotsDim, ...shape]);
  }

  /** The KV state that a layer owns, before this step. */
  state(layer: number): Value {
    const group = this.groups.find(({ layers }) => layers.includes(layer))!;
    const { kvDType, blockTokens } = this.options;
    const shape = kvStateShape(group, poolDim(group), blockTokens);
    return this.builder.state(stateName(layer), kvDType, shape);
  }
}

/** The symbolic dim of sequence states: their number of slots, that of zeros included. */
export const stateSlotsDim = 'stateSlots';

/** The symbolic dim of a group's pool: its number of blocks, the sink included. */
export function poolDim(group: KvGroup): string {
  return `pool.${group.name}`;
}

/** Shape of the state that a layer of a group owns: of each block the keys, then the values if any, head by head. */
export function kvStateShape<Blocks extends number | string>(
  { kvHeads, headDim, valuesAreKeys = false }: KvGroup,
  blocks: Blocks,
  blockTokens: number,
): (Blocks | number)[] {
  return [blocks, valuesAreKeys ? 1 : 2, kvHeads, blockTokens, headDim];
}

export function stateName(layer: number): string {
  return `kv.${layer}`;
}
