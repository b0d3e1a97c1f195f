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
 */
import { blocksOfSequence, invariant, type KvGroupPlan, type KvPlan } from '@unicorn-exec/tensor';
import { BlockPool } from './block-pool.js';

/** Positions up to `end` were computed by the model size `size`. */
interface SizeRun {
  end: number;
  readonly size: string;
}

/** A sequence's tokens and where their keys and values are. */
export class KvSequence {
  /** For each group the block of each `blockTokens` positions; 0 where there is none yet or none any more. */
  readonly tables: readonly Int32Array[];
  /** Positions whose keys and values are stored. */
  computed = 0;
  /** Positions taken over from the prefix cache. */
  reused = 0;
  /** For each group the first column that is still held, and the first that is not held yet. */
  readonly first: Int32Array;
  readonly filled: Int32Array;
  /** For each group the blocks reserved; zeros when idle. */
  readonly reserved: Int32Array;
  runs: SizeRun[] = [];

  constructor(
    /** Known token ids, computed or not. Shared with the owner while live. */
    public tokens: readonly number[],
    readonly size: string,
    groups: number,
    columns: number,
  ) {
    this.tables = Array.from({ length: groups }, () => new Int32Array(columns));
    this.first = new Int32Array(groups);
    this.filled = new Int32Array(groups);
    this.reserved = new Int32Array(groups);
  }
}

/** From whom a new sequence may continue. `anySize` also takes keys and values that another model size computed. */
export type Reuse = 'none' | 'sameSize' | 'anySize';

export interface OpenOptions {
  /** Name of the model size that computes it. */
  readonly size: string;
  readonly reuse: Reuse;
}

interface Continuation {
  readonly source: KvSequence;
  readonly length: number;
  /** The source ends here and the new sequence takes its blocks; otherwise whole blocks are shared. */
  readonly adopt: boolean;
}

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
  readonly #live = new Set<KvSequence>();
  /** In order of last use, the oldest first. */
  readonly #idle = new Set<KvSequence>();

  constructor(readonly plan: KvPlan) {
    this.#groups = plan.groups.map((group) => ({
      plan: group,
      pool: new BlockPool(group.group.name, group.blocks - 1),
      reserved: 0,
    }));
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
  open(tokens: readonly number[], { size, reuse }: OpenOptions): KvSequence | undefined {
    const sequence = new KvSequence(tokens, size, this.#groups.length, this.plan.tableColumns);
    if (!this.#reserve(sequence, tokens.length)) return undefined;
    const from =
      reuse === 'none' ? undefined : this.#longestPrefix(tokens, reuse === 'sameSize' ? size : undefined);
    if (from) this.#continueFrom(sequence, from);
    this.#live.add(sequence);
    return sequence;
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
    sequence.computed = end;
    const last = sequence.runs.at(-1);
    if (last?.size === sequence.size) last.end = end;
    else sequence.runs.push({ end, size: sequence.size });
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
  }

  /** Takes back the room behind the known tokens, where a draft was checked and found wrong. */
  retract(sequence: KvSequence): void {
    const tokens = sequence.tokens.length;
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
      sequence.tokens = sequence.tokens.slice(0, sequence.computed);
      this.#cut(sequence, sequence.computed);
      this.#idle.add(sequence);
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

  /** The first column that a query at `position` sees. */
  #firstColumn(position: number, window: number | undefined): number {
    return window === undefined ? 0 : Math.floor(Math.max(0, position - window + 1) / this.plan.blockTokens);
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
    this.#groups.forEach(({ pool }, group) => {
      const table = sequence.tables[group]!;
      for (let column = sequence.first[group]!; column < sequence.filled[group]!; column++) {
        pool.release(table[column]!);
        table[column] = 0;
      }
      sequence.first[group] = 0;
      sequence.filled[group] = 0;
    });
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

  #longestPrefix(tokens: readonly number[], size: string | undefined): Continuation | undefined {
    let best: Continuation | undefined;
    for (const idle of [true, false]) {
      for (const source of idle ? this.#idle : this.#live) {
        const found = this.#continuation(source, tokens, size, idle);
        if (found && found.length > (best?.length ?? 0)) best = found;
      }
    }
    return best;
  }

  /** What `tokens` can take from one sequence. */
  #continuation(
    source: KvSequence,
    tokens: readonly number[],
    size: string | undefined,
    idle: boolean,
  ): Continuation | undefined {
    const { blockTokens } = this.plan;
    let limit = Math.min(source.computed, tokens.length - 1);
    if (size !== undefined) {
      const other = source.runs.findIndex((run) => run.size !== size);
      if (other >= 0) limit = Math.min(limit, other === 0 ? 0 : source.runs[other - 1]!.end);
    }
    let common = 0;
    while (common < limit && source.tokens[common] === tokens[common]) common++;
    const whole = common - (common % blockTokens);
    // Adopting throws away what lies behind; that is worth it only where sharing whole blocks would save nothing of it.
    const adopt = idle && source.computed - common < blockTokens;
    const alone = this.#groups.every(({ pool }, group) => {
      const block = source.tables[group]![whole / blockTokens]!;
      return pool.references(block) <= 1;
    });
    const lengths = adopt && (alone || common === whole) ? [common, whole] : [whole];
    for (const length of lengths) {
      if (length > 0 && this.#holdsWindow(source, length)) return { source, length, adopt };
    }
    return undefined;
  }

  /** Whether the source still holds all that a query at `length` sees. */
  #holdsWindow(source: KvSequence, length: number): boolean {
    return this.#groups.every(
      ({ plan }, group) => source.first[group]! <= this.#firstColumn(length, plan.group.window),
    );
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
    const kept = source.runs.findIndex(({ end }) => end >= length);
    sequence.runs = [...source.runs.slice(0, kept), { end: length, size: source.runs[kept]!.size }];
    if (this.#idle.delete(source)) {
      if (adopt) this.#dropBlocks(source);
      else this.#idle.add(source);
    }
  }
}
