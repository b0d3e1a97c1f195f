/**
 * Sequences and their block tables, over one {@link BlockPool} for each KV group. It decides who holds which block and
 * what a new sequence can continue from; it neither holds nor moves any key or value.
 *
 * Admission is by reservation: a live sequence reserves, for each group, the blocks that its known tokens can hold, and
 * the reservations never exceed the pool. So what live sequences reserved and do not hold yet is free, or held by idle
 * ones, which give way (least recently used first). A sequence that grows beyond its reservation asks for more and may
 * be refused; its owner then waits or closes a younger one.
 *
 * Idle sequences are the prefix cache. A block that more than one table holds is never written: sharing is of whole
 * computed blocks only. A sequence continues inside a block only if it holds that block alone.
 *
 * Each position remembers what computed it, size and class of bits, so that a request can demand what it would have
 * computed itself.
 */
import { blocksOfSequence, invariant, type KvGroupPlan, type KvPlan } from '@unicorn-exec/tensor';
import { BlockPool } from './block-pool.js';
import { KvSequence, type KvOrigin, type PrefixKey } from './kv-sequence.js';
import { firstColumn, PrefixSearch, type Continuation, type Reuse } from './prefix-search.js';
import { SequenceSlots } from './sequence-slots.js';
import type { TokenSpan } from './token-span.js';

/** What a new sequence is. */
export interface OpenOptions {
  readonly reuse: Reuse;
  /** Name of the model size that computes it. */
  readonly size: string;
  /** The classes of bits that it is computed in. Default: one class for both phases. */
  readonly numerics?: KvOrigin['numerics'] | undefined;
  /** Positions of its prompt. Default: all tokens that are known. */
  readonly promptLength?: number | undefined;
  /** Prefix key of each position. Default: the ids. */
  readonly keys?: readonly PrefixKey[] | undefined;
  /** Positions that are never computed by halves. Default: none. */
  readonly spans?: readonly TokenSpan[] | undefined;
}

const oneClass = { prompt: '', token: '' };

interface GroupState {
  readonly plan: KvGroupPlan;
  readonly pool: BlockPool;
  reserved: number;
}

export interface KvGroupStats {
  readonly name: string;
  readonly blocks: number;
  readonly freeBlocks: number;
  readonly reservedBlocks: number;
}

export class KvCache {
  readonly #groups: readonly GroupState[];
  /** Slots of the states that are not keys and values; a slot is a sequence's alone, never shared. */
  readonly #slots: BlockPool | undefined;
  readonly #search: PrefixSearch;
  readonly #live = new Set<KvSequence>();
  /** In order of last use, the oldest first. */
  readonly #idle = new Set<KvSequence>();

  constructor(readonly plan: KvPlan) {
    this.#groups = plan.groups.map((group) => ({
      plan: group,
      pool: new BlockPool(group.group.name, group.blocks - 1),
      reserved: 0,
    }));
    if (plan.stateSlots > 0) this.#slots = new BlockPool('state slots', plan.stateSlots - 1);
    this.#search = new PrefixSearch(this.#groups, plan.blockTokens);
  }

  /** Whether a sequence of so many positions has room now, once others have ended, or never. */
  fits(tokens: number): 'now' | 'later' | 'never' {
    let answer: 'now' | 'later' = 'now';
    for (const { plan, reserved } of this.#groups) {
      const blocks = blocksOfSequence(plan.group, tokens, this.plan.blockTokens);
      if (blocks > plan.reservable) return 'never';
      if (reserved + blocks > plan.reservable) answer = 'later';
    }
    return answer;
  }

  /** The most positions of one sequence that fit when nothing else runs. */
  get maxTokens(): number {
    const { contextLength, blockTokens } = this.plan;
    const full = this.#groups.filter(({ plan }) => plan.group.window === undefined);
    return Math.min(contextLength, ...full.map(({ plan }) => plan.reservable * blockTokens));
  }

  /**
   * A live sequence that continues from the longest usable prefix; its last token is always left to compute.
   * Undefined when it does not fit now.
   */
  open(tokens: readonly number[], options: OpenOptions): KvSequence | undefined {
    const { reuse } = options;
    const sequence = this.#sequence(tokens, options);
    if (!this.#reserve(sequence, tokens.length)) return undefined;
    const slots = this.#slots;
    if (slots) sequence.slots = new SequenceSlots(slots, () => this.#acquire(slots));
    const from = this.#search.longest(sequence, reuse, this.#idle);
    if (from) this.#continueFrom(sequence, from);
    this.#live.add(sequence);
    return sequence;
  }

  /** How many tokens {@link open} would take from the prefix cache now. It changes nothing. */
  reusable(tokens: readonly number[], options: OpenOptions): number {
    const sequence = this.#sequence(tokens, options);
    return this.#search.longest(sequence, options.reuse, this.#idle)?.length ?? 0;
  }

  /** Makes room for positions up to `end` (exclusive); idle sequences give way. False: live ones leave no room. */
  extend(sequence: KvSequence, end: number): boolean {
    if (!this.#reserve(sequence, end)) return false;
    const columns = Math.ceil(end / this.plan.blockTokens);
    this.#groups.forEach(({ pool }, group) => {
      for (let column = sequence.filled[group]!; column < columns; column++) {
        sequence.tables[group]![column] = this.#acquire(pool);
        sequence.filled[group] = column + 1;
      }
    });
    return true;
  }

  /** Positions up to `end` are stored now: blocks that left a window are let go. */
  advance(sequence: KvSequence, end: number): void {
    sequence.advance(end);
    this.#groups.forEach(({ plan, pool }, group) => {
      const { window } = plan.group;
      if (window === undefined) return;
      const table = sequence.tables[group]!;
      const needed = Math.min(this.#firstColumn(end, window), sequence.filled[group]!);
      for (let column = sequence.first[group]!; column < needed; column++) {
        pool.release(table[column]!);
        table[column] = 0;
        sequence.first[group] = column + 1;
      }
    });
    this.#search.index.update(sequence);
  }

  /** Takes back the room behind the known tokens, where a draft was checked and found wrong. */
  retract(sequence: KvSequence): void {
    const tokens = sequence.tokens.length;
    sequence.slots?.retract();
    this.#cut(sequence, tokens);
    this.#groups.forEach((group, index) => {
      const needed = blocksOfSequence(group.plan.group, tokens, this.plan.blockTokens);
      const spare = Math.max(0, sequence.reserved[index]! - needed);
      sequence.reserved[index]! -= spare;
      group.reserved -= spare;
    });
  }

  /** Ends a live sequence. With `retain` its computed tokens stay for others to continue from until space is needed. */
  close(sequence: KvSequence, retain: boolean): void {
    invariant(this.#live.delete(sequence), 'a sequence that is not live was closed');
    sequence.reserved.forEach((blocks, group) => (this.#groups[group]!.reserved -= blocks));
    sequence.reserved.fill(0);
    if (retain && sequence.computed > 0) {
      const own = sequence.keys === sequence.tokens;
      sequence.tokens = sequence.tokens.slice(0, sequence.computed);
      sequence.keys = own ? sequence.tokens : sequence.keys.slice(0, sequence.computed);
      sequence.slots?.retract();
      this.#cut(sequence, sequence.computed);
      this.#idle.add(sequence);
      this.#search.index.update(sequence);
      this.#search.index.settle(sequence);
    } else {
      this.#dropBlocks(sequence);
    }
  }

  /** Forgets every idle sequence. */
  clear(): void {
    for (const sequence of this.#idle) this.#dropBlocks(sequence);
    this.#idle.clear();
  }

  stats(): { live: number; idle: number; idleTokens: number; groups: KvGroupStats[] } {
    return {
      live: this.#live.size,
      idle: this.#idle.size,
      idleTokens: [...this.#idle].reduce((sum, { computed }) => sum + computed, 0),
      groups: this.#groups.map(({ plan, pool, reserved }) => ({
        name: plan.group.name,
        blocks: pool.capacity,
        freeBlocks: pool.free,
        reservedBlocks: reserved,
      })),
    };
  }

  /** @throws UnicornError `internal/invariant` when a block leaked, is held by nobody's leave, or a count is wrong */
  checkIntegrity(): void {
    const { blockTokens } = this.plan;
    this.#groups.forEach(({ plan, pool, reserved }, group) => {
      const held = new Int32Array(pool.capacity + 1);
      let promised = 0;
      for (const sequence of [...this.#live, ...this.#idle]) {
        const table = sequence.tables[group]!;
        const [first, filled] = [sequence.first[group]!, sequence.filled[group]!];
        table.forEach((block, column) => {
          const inside = column >= first && column < filled;
          invariant(inside === block > 0, `${plan.group.name}: column ${column} holds block ${block}`);
          if (inside) held[block]!++;
        });
        invariant(
          filled * blockTokens >= sequence.computed,
          `${plan.group.name}: computed tokens without a block`,
        );
        const needed = this.#firstColumn(sequence.computed, plan.group.window);
        invariant(first <= needed, `${plan.group.name}: a block inside the window was let go`);
        promised += sequence.reserved[group]!;
      }
      invariant(
        promised === reserved,
        `${plan.group.name}: ${promised} blocks reserved, counted ${reserved}`,
      );
      invariant(reserved <= plan.reservable, `${plan.group.name}: more blocks reserved than there are`);
      pool.checkIntegrity(held);
    });
    this.#search.index.checkIntegrity(this.#live, this.#idle);
    if (!this.#slots) return;
    const held = new Int32Array(this.#slots.capacity + 1);
    for (const { slots } of [...this.#live, ...this.#idle]) for (const slot of slots!.held) held[slot]!++;
    this.#slots.checkIntegrity(held);
  }

  #sequence(tokens: readonly number[], options: OpenOptions): KvSequence {
    const { size, numerics = oneClass, promptLength = tokens.length, keys = tokens, spans = [] } = options;
    const shape = { groups: this.#groups.length, columns: this.plan.tableColumns };
    return new KvSequence(tokens, keys, spans, { size, numerics, promptLength }, shape);
  }

  /** Raises the reservation to what `tokens` positions can hold, in every group or in none. */
  #reserve(sequence: KvSequence, tokens: number): boolean {
    const { blockTokens } = this.plan;
    const missing = (group: GroupState, index: number): number =>
      Math.max(0, blocksOfSequence(group.plan.group, tokens, blockTokens) - sequence.reserved[index]!);
    if (this.#groups.some((group, index) => group.reserved + missing(group, index) > group.plan.reservable)) {
      return false;
    }
    this.#groups.forEach((group, index) => {
      const blocks = missing(group, index);
      group.reserved += blocks;
      sequence.reserved[index]! += blocks;
    });
    return true;
  }

  #firstColumn(position: number, window: number | undefined): number {
    return firstColumn(position, window, this.plan.blockTokens);
  }

  #acquire(pool: BlockPool): number {
    for (;;) {
      const block = pool.acquire();
      if (block !== undefined) return block;
      const [oldest] = this.#idle;
      invariant(oldest, `${pool.name}: no block is left although every sequence keeps to its reservation`);
      this.#idle.delete(oldest);
      this.#dropBlocks(oldest);
    }
  }

  #dropBlocks(sequence: KvSequence): void {
    this.#search.index.remove(sequence);
    this.#groups.forEach(({ pool }, group) => {
      const table = sequence.tables[group]!;
      for (let column = sequence.first[group]!; column < sequence.filled[group]!; column++) {
        pool.release(table[column]!);
        table[column] = 0;
      }
      sequence.first[group] = 0;
      sequence.filled[group] = 0;
    });
    sequence.slots?.release();
    sequence.computed = 0;
  }

  /** Lets go of the blocks behind position `length`. */
  #cut(sequence: KvSequence, length: number): void {
    const columns = Math.ceil(length / this.plan.blockTokens);
    this.#groups.forEach(({ pool }, group) => {
      const table = sequence.tables[group]!;
      for (let column = columns; column < sequence.filled[group]!; column++) {
        pool.release(table[column]!);
        table[column] = 0;
      }
      sequence.filled[group] = Math.min(sequence.filled[group]!, columns);
    });
  }

  #continueFrom(sequence: KvSequence, { source, length, adopt }: Continuation): void {
    const columns = Math.ceil(length / this.plan.blockTokens);
    this.#groups.forEach(({ plan, pool }, group) => {
      const [from, to] = [source.tables[group]!, sequence.tables[group]!];
      const first = adopt ? source.first[group]! : this.#firstColumn(length, plan.group.window);
      for (let column = first; column < columns; column++) {
        to[column] = from[column]!;
        pool.share(to[column]!);
      }
      sequence.first[group] = Math.min(first, columns);
      sequence.filled[group] = columns;
    });
    sequence.computed = length;
    sequence.reused = length;
    sequence.takeRuns(source, length);
    this.#search.index.update(sequence);
    if (this.#slots) [sequence.slots, source.slots] = [source.slots, sequence.slots];
    if (this.#idle.delete(source)) {
      if (adopt) this.#dropBlocks(source);
      else this.#idle.add(source);
    }
  }
}
