/** What a new sequence can continue from: looks for the longest usable prefix among others. It changes no sequence. */
import type { BlockPool } from './block-pool.js';
import type { KvGroupPlan } from '@unicorn-exec/tensor';
import type { KvSequence } from './kv-sequence.js';
import { PrefixIndex } from './prefix-index.js';
import { cutBefore, type TokenSpan } from './token-span.js';

/**
 * From whom a new sequence may continue: from nobody; from keys and values that it would have computed itself, bit for
 * bit (`exact`); also from another class of bits of the same model size; also from another size.
 */
export type Reuse = 'none' | 'exact' | 'sameSize' | 'anySize';

export interface Continuation {
  readonly source: KvSequence;
  readonly length: number;
  /** The source ends here and the new sequence takes its blocks; otherwise whole blocks are shared. */
  readonly adopt: boolean;
}

/** What the search reads of a group. */
export interface SearchedGroup {
  readonly plan: KvGroupPlan;
  readonly pool: BlockPool;
}

/** The first column that a query at `position` sees. */
export function firstColumn(position: number, window: number | undefined, blockTokens: number): number {
  return window === undefined ? 0 : Math.floor(Math.max(0, position - window + 1) / blockTokens);
}

/** The most positions up to `common` that are whole blocks and cut no span. */
export function wholeLength(spans: readonly TokenSpan[], common: number, blockTokens: number): number {
  let whole = common - (common % blockTokens);
  for (let cut = cutBefore(spans, whole); cut < whole; cut = cutBefore(spans, whole)) {
    whole = cut - (cut % blockTokens);
  }
  return whole;
}

export class PrefixSearch {
  readonly index: PrefixIndex;

  constructor(
    private readonly groups: readonly SearchedGroup[],
    private readonly blockTokens: number,
  ) {
    this.index = new PrefixIndex(blockTokens, (source, length) => this.#holdsWindow(source, length));
  }

  /**
   * The longest that `sequence` can take; its last token is always left to compute. Undefined: nothing.
   *
   * Goes from the deepest common block upwards. A source that has just `depth` whole blocks in common gives less than
   * `depth + 1`, and more than `depth` only where it is idle and ends near there.
   */
  longest(sequence: KvSequence, reuse: Reuse, idle: ReadonlySet<KvSequence>): Continuation | undefined {
    if (reuse === 'none') return undefined;
    const { blockTokens, index } = this;
    const hasWindows = this.groups.some(({ plan }) => plan.group.window !== undefined);
    const path = index.walk(sequence.keys, sequence.keys.length - 1);
    const seen = new Set<KvSequence>();
    let best: Continuation | undefined;
    let bestLength = 0;
    const consider = (source: KvSequence, depth: number): void => {
      if (seen.has(source)) return;
      seen.add(source);
      const found = this.#continuation(source, sequence, reuse, idle.has(source), depth);
      if (!found || found.length <= bestLength) return;
      best = found;
      bestLength = found.length;
    };
    for (let depth = path.length; depth >= 0 && bestLength < (depth + 1) * blockTokens; depth--) {
      const { ends, sources } = depth > 0 ? path[depth - 1]! : index.root;
      for (const source of ends) consider(source, depth);
      // Without windows, who shares a block shares those before it: as many sources are the same ones.
      if (!hasWindows && path[depth]?.sources.size === sources.size) continue;
      for (const source of sources) {
        if (bestLength >= depth * blockTokens) break;
        consider(source, depth);
      }
    }
    return best;
  }

  /** What a sequence can take from one other, which has just `depth` whole blocks in common with it. */
  #continuation(
    source: KvSequence,
    { keys, spans, origin }: KvSequence,
    reuse: Reuse,
    idle: boolean,
    depth: number,
  ): Continuation | undefined {
    const { blockTokens } = this;
    let limit = Math.min(source.computed, keys.length - 1);
    if (reuse !== 'anySize') limit = source.sameOrigin(origin, limit, reuse === 'exact');
    let equal = Math.min(limit, depth * blockTokens);
    while (equal < limit && source.keys[equal] === keys[equal]) equal++;
    const common = cutBefore(spans, equal);
    // A state cannot be cut at a position, so all or nothing is taken over.
    if (source.slots) {
      const isWhole = idle && common > 0 && common === source.computed;
      return isWhole ? { source, length: common, adopt: true } : undefined;
    }
    const whole = wholeLength(spans, common, blockTokens);
    // Adopting throws away what lies behind; that is worth it only where sharing whole blocks would save nothing of it.
    const adopt = idle && source.computed - common < blockTokens;
    const column = Math.floor(common / blockTokens);
    const alone = this.groups.every(
      ({ pool }, group) => pool.references(source.tables[group]![column]!) <= 1,
    );
    const lengths = adopt && (alone || common === whole) ? [common, whole] : [whole];
    for (const length of lengths) {
      if (length > 0 && this.#holdsWindow(source, length)) return { source, length, adopt };
    }
    return undefined;
  }

  /** Whether the source still holds all that a query at `length` sees. */
  #holdsWindow(source: KvSequence, length: number): boolean {
    return this.groups.every(
      ({ plan }, group) => source.first[group]! <= firstColumn(length, plan.group.window, this.blockTokens),
    );
  }
}
