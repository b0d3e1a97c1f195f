/** What a new sequence can continue from: looks for the longest usable prefix among others. It changes nothing. */
import type { BlockPool } from './block-pool.js';
import type { KvGroupPlan } from '@unicorn-exec/tensor';
import type { KvSequence } from './kv-sequence.js';
import { cutBefore } from './token-span.js';

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

export class PrefixSearch {
  constructor(
    private readonly groups: readonly SearchedGroup[],
    private readonly blockTokens: number,
  ) {}

  /** The longest that `sequence` can take; its last token is always left to compute. Undefined: nothing. */
  longest(
    sequence: KvSequence,
    reuse: Reuse,
    idle: Iterable<KvSequence>,
    live: Iterable<KvSequence>,
  ): Continuation | undefined {
    if (reuse === 'none') return undefined;
    let best: Continuation | undefined;
    for (const [sources, isIdle] of [[idle, true] as const, [live, false] as const]) {
      for (const source of sources) {
        const found = this.#continuation(source, sequence, reuse, isIdle);
        if (found && found.length > (best?.length ?? 0)) best = found;
      }
    }
    return best;
  }

  /** What a sequence can take from one other. */
  #continuation(
    source: KvSequence,
    { keys, spans, origin }: KvSequence,
    reuse: Reuse,
    idle: boolean,
  ): Continuation | undefined {
    const { blockTokens } = this;
    let limit = Math.min(source.computed, keys.length - 1);
    if (reuse !== 'anySize') limit = source.sameOrigin(origin, limit, reuse === 'exact');
    let equal = 0;
    while (equal < limit && source.keys[equal] === keys[equal]) equal++;
    const common = cutBefore(spans, equal);
    // A state cannot be cut at a position, so all or nothing is taken over.
    if (source.slots) {
      const isWhole = idle && common > 0 && common === source.computed;
      return isWhole ? { source, length: common, adopt: true } : undefined;
    }
    let whole = common - (common % blockTokens);
    for (let cut = cutBefore(spans, whole); cut < whole; cut = cutBefore(spans, whole)) {
      whole = cut - (cut % blockTokens);
    }
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
