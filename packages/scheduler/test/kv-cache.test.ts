/** The KV cache against a simulation of the memory it hands out: what a sequence would read must be its own tokens. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planKv, type KvGroup, type KvPlanOptions } from '@unicorn-exec/tensor';
import { BlockPool, KvCache, type KvSequence, type Reuse } from '../src/index.js';

const full: KvGroup = { name: 'full', layers: [0, 3], kvHeads: 2, headDim: 32 };
const sliding: KvGroup = { name: 'sliding', layers: [1, 2], kvHeads: 1, headDim: 32, window: 5 };

function cacheOf(options: Partial<KvPlanOptions> = {}): KvCache {
  return new KvCache(
    planKv({
      groups: [full, sliding],
      contextLength: 40,
      kvDType: 'f32',
      maxSequences: 3,
      prefillChunk: 16,
      blockTokens: 4,
      ...options,
    }),
  );
}

/** What lies in the pools: for each group and slot the token and the position whose keys were stored there last. */
class Memory {
  readonly #slots: Map<number, string>[];

  constructor(private readonly cache: KvCache) {
    this.#slots = cache.plan.groups.map(() => new Map());
  }

  /** Computes up to `end`, as a step does, and checks all that its attention reads. False: no room. */
  compute(sequence: KvSequence, end: number): boolean {
    const begin = sequence.computed;
    if (!this.cache.extend(sequence, end)) return false;
    for (let position = begin; position < end; position++) {
      this.#each(sequence, position, (slots, slot) => slots.set(slot, mark(sequence, position)));
    }
    for (let query = begin; query < end; query++) this.check(sequence, query);
    this.cache.advance(sequence, end);
    return true;
  }

  /** A query at `query` finds its own tokens up to `last` in every group. */
  check(sequence: KvSequence, query: number, last = query): void {
    this.cache.plan.groups.forEach(({ group: { window } }, index) => {
      for (let key = Math.max(0, query - (window ?? Infinity) + 1); key <= last; key++) {
        const slot = this.#slot(sequence, index, key);
        expect(this.#slots[index]!.get(slot)).toBe(mark(sequence, key));
      }
    });
  }

  #each(
    sequence: KvSequence,
    position: number,
    visit: (slots: Map<number, string>, slot: number) => void,
  ): void {
    this.#slots.forEach((slots, index) => visit(slots, this.#slot(sequence, index, position)));
  }

  #slot(sequence: KvSequence, group: number, position: number): number {
    const { blockTokens } = this.cache.plan;
    const block = sequence.tables[group]![Math.floor(position / blockTokens)]!;
    expect(block).toBeGreaterThan(0);
    return block * blockTokens + (position % blockTokens);
  }
}

/** Keys depend on every token before, so the mark is the whole prefix. */
function mark(sequence: KvSequence, position: number): string {
  return `${sequence.tokens.slice(0, position + 1).join(',')} by ${sequence.origin.size}`;
}

describe('BlockPool', () => {
  it('notices a leak, and refuses to free what nobody holds', () => {
    const pool = new BlockPool('test', 2);
    const block = pool.acquire()!;
    expect(() => pool.checkIntegrity(new Int32Array(3))).toThrow(/held 0 times, counted 1/);
    pool.release(block);
    expect(() => pool.release(block)).toThrow(/nobody holds/);
    pool.checkIntegrity(new Int32Array(3));
  });
});

const ids = (count: number, salt = 0): number[] => Array.from({ length: count }, (_, i) => i * 3 + salt);
const same = { size: 'full', reuse: 'sameSize' as const };

describe('KvCache', () => {
  it('continues a whole ended sequence at the very token', () => {
    const cache = cacheOf();
    const memory = new Memory(cache);
    const first = cache.open(ids(10), same)!;
    memory.compute(first, 10);
    cache.close(first, true);
    const second = cache.open([...ids(10), 1, 2, 3], same)!;
    expect(second.reused).toBe(10);
    memory.compute(second, 13);
    cache.checkIntegrity();
    expect(cache.stats().idle).toBe(0);
  });

  it('leaves the last token to compute, since its logits are wanted', () => {
    const cache = cacheOf({ groups: [full] });
    const first = cache.open(ids(10), same)!;
    new Memory(cache).compute(first, 10);
    cache.close(first, true);
    expect(cache.open(ids(10), same)!.reused).toBe(9);
  });

  it('shares whole blocks where the two part, and the older one stays', () => {
    const cache = cacheOf({ groups: [full], kvTokens: 80 });
    const memory = new Memory(cache);
    const first = cache.open(ids(23), same)!;
    memory.compute(first, 23);
    cache.close(first, true);
    const second = cache.open([...ids(10), ...ids(8, 1)], same)!;
    expect(second.reused).toBe(8);
    memory.compute(second, 18);
    const third = cache.open([...ids(23), 5], same)!;
    expect(third.reused).toBe(23);
    memory.compute(third, 24);
    memory.check(second, 17);
    cache.checkIntegrity();
  });

  it('shares with a sequence that still runs', () => {
    const cache = cacheOf({ groups: [full], kvTokens: 80 });
    const memory = new Memory(cache);
    const first = cache.open(ids(10), same)!;
    memory.compute(first, 9);
    const second = cache.open(ids(10), same)!;
    expect(second.reused).toBe(8);
    memory.compute(second, 10);
    memory.compute(first, 10);
    memory.check(second, 9);
    cache.checkIntegrity();
  });

  it('does not write into a block that another sequence shares', () => {
    const cache = cacheOf({ groups: [full], kvTokens: 80 });
    const memory = new Memory(cache);
    const first = cache.open(ids(9), same)!;
    memory.compute(first, 9);
    const second = cache.open([...ids(8), 1], same)!;
    expect(second.reused).toBe(8);
    cache.close(first, true);
    // Six tokens are in common with the first, of which the second holds all; inside block 1 nobody may go on.
    const third = cache.open([...ids(6), 1, 2, 3], same)!;
    expect(third.reused).toBe(4);
    memory.compute(third, 9);
    memory.compute(second, 9);
    cache.checkIntegrity();
  });

  it('continues a windowed sequence only where its window is still there', () => {
    const cache = cacheOf({ groups: [full, sliding] });
    const memory = new Memory(cache);
    const first = cache.open(ids(30), same)!;
    memory.compute(first, 30);
    // Positions 25 to 29 at most are in a window of 5: six blocks of 4 are gone.
    expect([...first.tables[1]!.slice(0, 8)].map((block) => block > 0)).toEqual([
      ...[false, false, false, false, false, false],
      ...[true, true],
    ]);
    cache.close(first, true);
    const parted = cache.open([...ids(20), 1], same)!;
    expect(parted.reused).toBe(0);
    cache.close(parted, false);
    const near = cache.open([...ids(28), 1, 2], same)!;
    expect(near.reused).toBe(28);
    memory.compute(near, 30);
    cache.checkIntegrity();
  });

  it('keeps what another size computed apart, unless asked', () => {
    const open = (size: string, reuse: Reuse): number => {
      const cache = cacheOf({ groups: [full] });
      const first = cache.open(ids(9), same)!;
      new Memory(cache).compute(first, 9);
      cache.close(first, true);
      const second = cache.open([...ids(9), 1], { size, reuse })!;
      return second.reused;
    };
    expect(open('full', 'sameSize')).toBe(9);
    expect(open('half', 'sameSize')).toBe(0);
    expect(open('half', 'anySize')).toBe(9);
    expect(open('full', 'none')).toBe(0);
  });

  it('remembers which size computed which part', () => {
    const cache = cacheOf({ groups: [full] });
    const first = cache.open(ids(8), same)!;
    cache.extend(first, 8);
    cache.advance(first, 8);
    cache.close(first, true);
    const second = cache.open(ids(14), { size: 'half', reuse: 'anySize' })!;
    cache.extend(second, 14);
    cache.advance(second, 14);
    cache.close(second, true);
    expect(cache.open(ids(16), same)!.reused).toBe(8);
  });

  it('reuses exactly what the request would compute itself, where classes of bits differ by phase', () => {
    const cache = cacheOf({ groups: [full], kvTokens: 80 });
    const numerics = { prompt: 'p', token: 't' };
    const open = (tokens: number[], promptLength: number, reuse: Reuse): KvSequence =>
      cache.open(tokens, { size: 'full', reuse, numerics, promptLength })!;
    // A prompt of ten, and eight tokens that were generated.
    const first = open(ids(18), 10, 'none');
    expect(cache.extend(first, 18)).toBe(true);
    cache.advance(first, 8);
    cache.advance(first, 18);
    expect(first.runs).toEqual([
      { end: 10, size: 'full', numerics: 'p' },
      { end: 18, size: 'full', numerics: 't' },
    ]);
    cache.close(first, true);
    const reused = (promptLength: number, reuse: Reuse): number => {
      const sequence = open(ids(20), promptLength, reuse);
      const { reused: count } = sequence;
      cache.close(sequence, false);
      return count;
    };
    // Those that are started again find all of it; a longer prompt, or a shorter one, what is of its class.
    expect(reused(20, 'exact')).toBe(8);
    expect(reused(9, 'exact')).toBe(8);
    expect(reused(6, 'exact')).toBe(4);
    expect(reused(20, 'sameSize')).toBe(18);
  });

  it('tells given rows apart by their keys, and continues only where no span is cut', () => {
    const cache = cacheOf({ groups: [full], kvTokens: 80 });
    const image = (key: string): { keys: (number | string)[]; spans: { begin: number; end: number }[] } => {
      const keys: (number | string)[] = ids(16);
      for (let position = 3; position < 10; position++) keys[position] = key;
      return { keys, spans: [{ begin: 3, end: 10 }] };
    };
    const open = (key: string, count = 16): KvSequence => {
      const { keys, spans } = image(key);
      return cache.open(ids(count), { size: 'full', reuse: 'exact', keys: keys.slice(0, count), spans })!;
    };
    const first = open('cat');
    expect(cache.extend(first, 16)).toBe(true);
    cache.advance(first, 16);
    cache.close(first, true);
    // The ids are the same, the images are not.
    const other = open('dog');
    expect(other.reused).toBe(0);
    cache.close(other, false);
    // It ends inside the image, of which the cache cannot give a part.
    const short = open('cat', 9);
    expect(short.reused).toBe(0);
    cache.close(short, false);
    const same = open('cat', 14);
    expect(same.reused).toBe(13);
    cache.close(same, false);
    cache.checkIntegrity();
  });

  it('gives up the least recently used idle sequence first', () => {
    const cache = cacheOf({ groups: [full], kvTokens: 40 });
    const memory = new Memory(cache);
    for (const salt of [0, 1, 2]) {
      const sequence = cache.open(ids(12, salt), same)!;
      memory.compute(sequence, 12);
      cache.close(sequence, true);
    }
    const big = cache.open(ids(14, 7), same)!;
    memory.compute(big, 14);
    cache.close(big, false);
    cache.checkIntegrity();
    const reused = [0, 1, 2].map((salt) => {
      const sequence = cache.open([...ids(12, salt), 1], same)!;
      const { reused: count } = sequence;
      cache.close(sequence, false);
      return count;
    });
    expect(reused).toEqual([0, 12, 12]);
  });

  it('says what fits now, later and never', () => {
    const cache = cacheOf({ groups: [full], kvTokens: 20 });
    expect([cache.fits(20), cache.fits(21), cache.maxTokens]).toEqual(['now', 'never', 20]);
    const sequence = cache.open(ids(12), same)!;
    expect(cache.fits(9)).toBe('later');
    expect(cache.open(ids(9, 1), same)).toBeUndefined();
    cache.close(sequence, false);
    expect(cache.fits(9)).toBe('now');
    cache.checkIntegrity();
  });

  it('never leaks a block, never lets two write one, and never loses a token, whatever the order', () => {
    const command = fc.record({
      action: fc.constantFrom(
        'open',
        'open',
        'fork',
        'step',
        'step',
        'step',
        'decode',
        'finish',
        'cancel',
        'clear',
      ),
      pick: fc.nat(1000),
      amount: fc.integer({ min: 1, max: 20 }),
      size: fc.constantFrom('full', 'full', 'half'),
      reuse: fc.constantFrom<Reuse>('sameSize', 'sameSize', 'none'),
    });
    const windows = fc.constantFrom<KvGroup[]>(
      [full],
      [sliding],
      [full, sliding],
      [full, { ...sliding, window: 9 }],
    );
    const setup = fc.record({
      groups: windows,
      blockTokens: fc.constantFrom(1, 3, 4),
      kvTokens: fc.constantFrom(40, 55, 120),
      prefillChunk: fc.constantFrom(1, 7, 16),
    });
    fc.assert(
      fc.property(setup, fc.array(command, { maxLength: 80 }), (options, commands) => {
        const cache = cacheOf(options);
        const memory = new Memory(cache);
        const live: KvSequence[] = [];
        const past: number[][] = [];
        for (const { action, pick, amount, size, reuse } of commands) {
          const sequence = live[pick % Math.max(1, live.length)];
          if (action === 'open' || action === 'fork') {
            if (live.length === 3) continue;
            // A fork repeats a prefix of an earlier sequence and goes on in its own way.
            const base = action === 'fork' ? (past[pick % Math.max(1, past.length)] ?? []) : [];
            const kept = base.length - (pick % 7);
            const tokens = [...base.slice(0, Math.max(0, kept)), ...ids(amount, pick)].slice(0, 40);
            const opened = cache.open([...tokens], { size, reuse });
            if (opened) live.push(opened);
            past.push(tokens);
          } else if (action === 'clear') {
            cache.clear();
          } else if (sequence) {
            const pending = sequence.tokens.length - sequence.computed;
            if (action === 'step' && pending > 0) {
              const count = Math.min(pending, amount, options.prefillChunk);
              expect(memory.compute(sequence, sequence.computed + count)).toBe(true);
            } else if (action === 'decode' && pending === 0 && sequence.tokens.length < 40) {
              (sequence.tokens as number[]).push(1000 + amount);
              if (!memory.compute(sequence, sequence.tokens.length)) (sequence.tokens as number[]).pop();
            } else if (action === 'finish' || action === 'cancel') {
              live.splice(live.indexOf(sequence), 1);
              past.push([...sequence.tokens]);
              cache.close(sequence, action === 'finish');
            }
          }
          cache.checkIntegrity();
          for (const one of live) memory.check(one, one.computed, one.computed - 1);
        }
        for (const sequence of live) cache.close(sequence, true);
        cache.clear();
        cache.checkIntegrity();
        for (const { freeBlocks, blocks, reservedBlocks } of cache.stats().groups) {
          expect([freeBlocks, reservedBlocks]).toEqual([blocks, 0]);
        }
      }),
      { numRuns: 500 },
    );
  });
});
