/** How much memory a model's keys and values take, for those who choose a context. */
import {
  defaultBlockTokens,
  rowBytes,
  type DType,
  type KvGroup,
  type LanguageModel,
} from '@unicorn-exec/tensor';

export interface KvBytesOptions {
  /** Tokens of one block. Default: the engine's. */
  readonly blockTokens?: number;
  /** Tokens that one step adds at most: a window must hold them beside what they look back at. Default 512. */
  readonly stepTokens?: number;
}

/**
 * Bytes of the KV pools of one sequence of `context` tokens, the sink block of each pool included. A group with a
 * window keeps its window only. What the scheduler's `planKv` allocates, byte for byte; neither imports the other.
 */
export function kvBytes(
  model: Pick<LanguageModel, 'kvGroups'>,
  context: number,
  kvDType: DType,
  options: KvBytesOptions = {},
): number {
  const { blockTokens = defaultBlockTokens, stepTokens = 512 } = options;
  return model.kvGroups.reduce((sum, group) => {
    const whole = Math.ceil(context / blockTokens);
    // A window need not begin where a block does, and neither does what a step adds: each may touch one block more.
    const window = Math.ceil((group.window ?? context) / blockTokens) + 2;
    const step = Math.ceil(Math.min(stepTokens, context) / blockTokens);
    const blocks = 1 + Math.min(whole, window + step);
    return sum + blocks * blockTokens * kvTokenBytes(group, kvDType);
  }, 0);
}

/** Bytes that one token takes in all layers of a group. */
export function kvTokenBytes(group: KvGroup, kvDType: DType): number {
  return group.layers.length * 2 * group.kvHeads * rowBytes(kvDType, group.headDim);
}
