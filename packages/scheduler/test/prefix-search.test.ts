/** The indexed search of prefixes beside its slow twin, which looks at every sequence and every key. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planKv, type KvGroup } from '@unicorn-exec/tensor';
import { KvCache, type KvSequence, type Reuse } from '../src/index.js';
import type { OpenOptions } from '../src/kv/kv-cache.js';
import type { PrefixKey } from '../src/kv/kv-sequence.js';
import { cutBefore } from '../src/kv/token-span.js';

const full: KvGroup = { name: 'full', layers: [0], kvHeads: 1, headDim: 32 };
const sliding: KvGroup = { name: 'sliding', layers: [1], kvHeads: 1, headDim: 32, window: 5 };
const blockTokens = 4;
const contextLength = 40;

/** How many tokens a new sequence can take from one of the others. */
function slowReusable(
  groups: readonly KvGroup[],
  keys: readonly PrefixKey[],
  options: OpenOptions,
  idle: readonly KvSequence[],
  live: readonly KvSequence[],
): number {
  const { reuse, size, spans = [], promptLength = keys.length } = options;
  const numerics = options.numerics ?? { prompt: '', token: '' };
  if (reuse === 'none') return 0;
  const firstColumn = (position: number, window?: number): number =>
    window === undefined ? 0 : Math.floor(Math.max(0, position - window + 1) / blockTokens);
  const holders = (group: number, block: number): number => {
    const holds = ({ tables, first, filled }: KvSequence): boolean =>
      tables[group]!.slice(first[group], filled[group]).includes(block);
    return [...idle, ...live].filter(holds).length;
  };
  let best = 0;
  for (const source of [...idle, ...live]) {
    const isIdle = idle.includes(source);
    let limit = Math.min(source.computed, keys.length - 1);
    if (reuse !== 'anySize')
      limit = source.sameOrigin({ size, numerics, promptLength }, limit, reuse === 'exact');
    let equal = 0;
    while (equal < limit && source.keys[equal] === keys[equal]) equal++;
    const common = cutBefore(spans, equal);
    if (source.slots) {
      if (isIdle && common === source.computed) best = Math.max(best, common);
      continue;
    }
    let whole = common - (common % blockTokens);
    while (cutBefore(spans, whole) < whole) {
      whole = cutBefore(spans, whole);
      whole -= whole % blockTokens;
    }
    const column = Math.floor(common / blockTokens);
    const adopts =
      isIdle &&
      source.computed - common < blockTokens &&
      groups.every((_, group) => {
        const block = source.tables[group]![column]!;
        return block === 0 || holders(group, block) <= 1;
      });
    const usable = (adopts ? [common, whole] : [whole]).find((length) =>
      groups.every(({ window }, group) => source.first[group]! <= firstColumn(length, window)),
    );
    best = Math.max(best, usable ?? 0);
  }
  return best;
}

const command = fc.record({
  action: fc.constantFrom(
    'open',
    'fork',
    'fork',
    'step',
    'step',
    'decode',
    'finish',
    'finish',
    'cancel',
    'clear',
  ),
  pick: fc.nat(1000),
  amount: fc.integer({ min: 1, max: 24 }),
  cut: fc.nat(12),
  size: fc.constantFrom('full', 'full', 'half'),
  reuse: fc.constantFrom<Reuse>('exact', 'exact', 'sameSize', 'anySize', 'none'),
  span: fc.option(fc.record({ begin: fc.nat(12), length: fc.integer({ min: 1, max: 9 }) }), {
    nil: undefined,
  }),
  salt: fc.constantFrom('', '', 'a'),
});

describe('the search of prefixes', () => {
  it.each<[string, KvGroup[], boolean, { prompt: string; token: string }]>([
    ['', [full], false, { prompt: 'p', token: 'p' }],
    [' with windows', [full, sliding], false, { prompt: 'p', token: 'p' }],
    [' with two classes of bits', [full, sliding], false, { prompt: 'p', token: 't' }],
    [' with sequence states', [full], true, { prompt: 'p', token: 'p' }],
  ])('finds as much as its slow twin%s, whatever came before', (_, groups, hasStates, numerics) => {
    fc.assert(
      fc.property(fc.array(command, { minLength: 5, maxLength: 60 }), (commands) => {
        const cache = new KvCache(
          planKv({
            groups,
            sequenceStates: hasStates ? [{ name: 's', layer: 0, shape: [2] }] : [],
            contextLength,
            kvDType: 'f32',
            maxSequences: 4,
            prefillChunk: 16,
            blockTokens,
            kvTokens: 240,
          }),
        );
        const live: KvSequence[] = [];
        const ended: KvSequence[] = [];
        const past: number[][] = [[]];
        for (const { action, pick, amount, cut, size, reuse, span, salt } of commands) {
          const sequence = live[pick % Math.max(1, live.length)];
          if (action === 'open' || action === 'fork') {
            const base = action === 'fork' ? past[pick % past.length]! : [];
            const own = Array.from({ length: amount }, (_, index) => (pick % 3) + index * (pick % 2));
            const tokens = [...base.slice(0, Math.max(0, base.length - cut)), ...own].slice(0, contextLength);
            past.push(tokens);
            const spans =
              span && span.begin + span.length <= tokens.length
                ? [{ begin: span.begin, end: span.begin + span.length }]
                : [];
            const keys: PrefixKey[] = [...tokens];
            for (const { begin, end } of spans) keys.fill('image', begin, end);
            if (salt) keys[0] = `${salt} ${keys[0]}`;
            const options: OpenOptions = { reuse, size, numerics, keys, spans, promptLength: tokens.length };
            const idle = ended.filter(({ computed }) => computed > 0);
            const expected = slowReusable(groups, keys, options, idle, live);
            expect(cache.reusable(tokens, options)).toBe(expected);
            if (live.length === 4) continue;
            const opened = cache.open(tokens, options);
            if (!opened) continue;
            expect(opened.reused).toBe(expected);
            live.push(opened);
          } else if (action === 'clear') {
            if (pick % 5 === 0) cache.clear();
          } else if (sequence) {
            const pending = sequence.tokens.length - sequence.computed;
            if (action === 'step' && pending > 0) {
              const end = sequence.computed + Math.min(pending, amount, 16);
              expect(cache.extend(sequence, end)).toBe(true);
              sequence.slots?.ofStep(sequence.computed, false);
              cache.advance(sequence, end);
            } else if (action === 'decode' && pending === 0 && sequence.tokens.length < contextLength) {
              if (!cache.extend(sequence, sequence.tokens.length + 1)) continue;
              (sequence.tokens as number[]).push(amount);
              (sequence.keys as PrefixKey[]).push(amount);
              sequence.slots?.ofStep(sequence.computed, false);
              cache.advance(sequence, sequence.tokens.length);
            } else if (action === 'finish' || action === 'cancel') {
              live.splice(live.indexOf(sequence), 1);
              past.push([...sequence.tokens]);
              cache.close(sequence, action === 'finish');
              if (action === 'finish') ended.push(sequence);
            }
          }
          cache.checkIntegrity();
        }
      }),
      { numRuns: 150 },
    );
  });
});
