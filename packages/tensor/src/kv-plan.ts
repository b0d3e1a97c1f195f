/**
 * How large each KV group's pool is: arithmetic over a model's groups, so that memory can be accounted for before anything
 * is loaded. A scheduler allocates these pools, and code that chooses a context or a device for a model counts with them:
 * nothing else says how many bytes keys and values take.
 */
import { tensorBytes, type DType } from './dtype.js';
import { UnicornError } from './error.js';
import { defaultBlockTokens, kvStateShape, type KvGroup, type SequenceState } from './step.js';

export interface KvPlanOptions {
  readonly groups: readonly KvGroup[];
  /** Default: none. */
  readonly sequenceStates?: readonly SequenceState[] | undefined;
  /** Positions of one sequence. */
  readonly contextLength: number;
  readonly kvDType: DType;
  /** Sequences that may run at once. Default 1. */
  readonly maxSequences?: number | undefined;
  /** Prompt tokens of one step, over all sequences. Default 512. */
  readonly prefillChunk?: number | undefined;
  /**
   * Generated tokens that a runner of their own computes at a time, beyond one for each sequence, while prompts are
   * computed. Default 0: there is one runner.
   */
  readonly tokenChunk?: number | undefined;
  /** Tokens of one block. Default 16. */
  readonly blockTokens?: number | undefined;
  /** Tokens that a group without a window holds, over all sequences. Default `contextLength`. */
  readonly kvTokens?: number | undefined;
}

/** The pool of one group. */
export interface KvGroupPlan {
  readonly group: KvGroup;
  /** Blocks of the pool, the sink included. */
  readonly blocks: number;
  /** Blocks that sequences may reserve; the rest is what the tokens of one step need beyond a window. */
  readonly reservable: number;
  /** Bytes of one layer's state. */
  readonly layerBytes: number;
}

export interface KvPlan {
  readonly groups: readonly KvGroupPlan[];
  /** Slots of each sequence state, that of zeros included; 0 where there are no such states. */
  readonly stateSlots: number;
  readonly contextLength: number;
  readonly maxSequences: number;
  readonly prefillChunk: number;
  readonly tokenChunk: number;
  readonly blockTokens: number;
  readonly kvDType: DType;
  /** Columns of the longest block table. */
  readonly tableColumns: number;
  /** Bytes of all states together. */
  readonly bytes: number;
}

/**
 * Slots of the sequence states for each sequence that runs: of what it has computed, of what a step that checks guesses
 * makes of that, and of a slice's own guesses. What guesses do not need keeps the states of ended sequences.
 */
export const slotsOfSequence = 3;

/** Prompt tokens of one step: enough rows to keep a matrix unit busy, few enough that decoding neighbours barely wait. */
export const defaultPrefillChunk = 512;

function wholeNumber(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new UnicornError(
    'usage/scheduler-option',
    `${name} must be a whole number from ${least}, not ${value}.`,
    {
      fields: { option: name, value: String(value) },
      fix: `Give a whole number from ${least}, or leave ${name} out.`,
    },
  );
}

/**
 * Blocks of a group that a sequence of `tokens` positions holds at most, besides those of a long prefill chunk.
 *
 * A query at position p sees keys from p - window + 1: `window` positions, which touch at most ceil(window / B) + 1
 * blocks. A chunk of c queries adds c - 1 positions, so at most 1 + (c - 2) / B blocks more: the 1 is counted here,
 * the sum of the rest over a step is at most ceil(prefillChunk / B), which {@link planKv} keeps aside; for two runners the
 * chunks of both.
 */
export function blocksOfSequence(group: KvGroup, tokens: number, blockTokens: number): number {
  const all = Math.ceil(tokens / blockTokens);
  return group.window === undefined ? all : Math.min(all, Math.ceil(group.window / blockTokens) + 2);
}

/**
 * The pools of all groups.
 *
 * @throws UnicornError `usage/scheduler-option` for a number out of range, `unsupported/kv-dtype` when a head does not
 * fill whole blocks of the KV dtype
 */
export function planKv(options: KvPlanOptions): KvPlan {
  const { groups, kvDType } = options;
  const contextLength = wholeNumber('contextLength', options.contextLength, 1);
  const maxSequences = wholeNumber('maxSequences', options.maxSequences ?? 1, 1);
  const blockTokens = wholeNumber('blockTokens', options.blockTokens ?? defaultBlockTokens, 1);
  const asked = wholeNumber('prefillChunk', options.prefillChunk ?? defaultPrefillChunk, 1);
  const prefillChunk = Math.min(asked, maxSequences * contextLength);
  const tokenChunk = Math.min(wholeNumber('tokenChunk', options.tokenChunk ?? 0, 0), prefillChunk);
  const kvTokens = wholeNumber('kvTokens', options.kvTokens ?? contextLength, 1);
  const plans = groups.map((group): KvGroupPlan => {
    const perSequence = blocksOfSequence(group, contextLength, blockTokens);
    // A sequence's last block may be partly empty: sequences of whole contexts must still all fit.
    const whole = Math.ceil(contextLength / blockTokens);
    const shared = Math.floor(kvTokens / contextLength) * whole;
    const rest = Math.ceil((kvTokens % contextLength) / blockTokens);
    const reservable = group.window === undefined ? shared + rest : maxSequences * perSequence;
    const chunks = Math.ceil(prefillChunk / blockTokens) + Math.ceil(tokenChunk / blockTokens);
    const ahead = group.window === undefined ? 0 : chunks;
    // No sequence ever holds more than its whole context, so a wide window needs nothing on top.
    const blocks =
      1 + Math.min(reservable + ahead, group.window === undefined ? Infinity : maxSequences * whole);
    return {
      group,
      blocks,
      reservable: Math.min(reservable, blocks - 1),
      layerBytes: layerBytes(group, blocks),
    };
  });
  const { sequenceStates = [] } = options;
  const stateSlots = sequenceStates.length > 0 ? 1 + slotsOfSequence * maxSequences : 0;
  const slotBytes = sequenceStates.reduce((sum, { shape }) => sum + tensorBytes('f32', shape), 0);
  return {
    groups: plans,
    stateSlots,
    contextLength,
    maxSequences,
    prefillChunk,
    tokenChunk,
    blockTokens,
    kvDType,
    tableColumns: Math.ceil(contextLength / blockTokens),
    bytes: plans.reduce(
      (sum, { layerBytes: bytes, group }) => sum + bytes * group.layers.length,
      stateSlots * slotBytes,
    ),
  };

  function layerBytes(group: KvGroup, blocks: number): number {
    try {
      return tensorBytes(kvDType, kvStateShape(group, blocks, blockTokens));
    } catch (cause) {
      const { name, headDim } = group;
      throw new UnicornError(
        'unsupported/kv-dtype',
        `Heads of ${headDim} elements (group "${name}") cannot be cached as ${kvDType}.`,
        { fields: { kvDType, headDim }, fix: 'Use f16 for the KV cache.', cause },
      );
    }
  }
}
