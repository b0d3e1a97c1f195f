import { describe, expect, it } from 'vitest';
import { TextSplitter, type SplitBehavior } from '../../src/tokenizer/text-splitter.js';
import { preTokenizers } from '../../src/tokenizer/splitting-patterns.js';

const by = (pattern: string, behavior: SplitBehavior, invert = false) =>
  new TextSplitter({
    normalizers: [],
    steps: [{ kind: 'pattern', pattern: { Regex: pattern }, behavior, invert }],
  });

describe('TextSplitter', () => {
  // Cases as the Hugging Face library documents the behaviours.
  it.each<[SplitBehavior, string[]]>([
    ['Removed', ['the', 'final', 'countdown']],
    ['Isolated', ['the', '-', 'final', '-', '-', 'countdown']],
    ['MergedWithPrevious', ['the-', 'final-', '-', 'countdown']],
    ['MergedWithNext', ['the', '-final', '-', '-countdown']],
    ['Contiguous', ['the', '-', 'final', '--', 'countdown']],
  ])('%s', (behavior, pieces) => {
    expect(by('-', behavior).split('the-final--countdown', true)).toEqual(pieces);
  });

  it('takes what does not match as the delimiter when inverted', () => {
    expect(by('\\p{L}+', 'Removed', true).split('the-final', true)).toEqual(['the', 'final']);
  });

  it('puts the metaspace before the text or its first section, and cuts words off', () => {
    const metaspace = (prepend: 'always' | 'first' | 'never', split: boolean) =>
      new TextSplitter({ normalizers: [], steps: [{ kind: 'metaspace', mark: '▁', prepend, split }] });
    expect(metaspace('always', true).split('a b  c', false)).toEqual(['▁a', '▁b', '▁', '▁c']);
    expect(metaspace('first', false).split('a b', true)).toEqual(['▁a▁b']);
    expect(metaspace('first', false).split('a b', false)).toEqual(['a▁b']);
    expect(metaspace('never', false).split('a b', true)).toEqual(['a▁b']);
  });

  it('refuses what is no pattern', () => {
    expect(() => by('(', 'Isolated')).toThrow(expect.objectContaining({ code: 'format/tokenizer' }));
  });

  it('stops a pattern that does not come to an end', () => {
    expect(() => by('(a+)+$', 'Isolated').split(`${'a'.repeat(60)}b`, true)).toThrow(
      expect.objectContaining({ code: 'resource/tokenizer' }),
    );
  });

  it.each([...preTokenizers.keys()])('splits a long run of one kind quickly: %s', (name) => {
    const pre = preTokenizers.get(name)!;
    const splitter = new TextSplitter({
      normalizers: [],
      steps: pre.patterns.map((regex) => ({
        kind: 'pattern' as const,
        pattern: { Regex: regex },
        behavior: 'Isolated' as const,
        invert: false,
      })),
    });
    const started = performance.now();
    for (const unit of ['a', ' ', '\n', '!', '漢', '🙂', "'", '\t\n', ' \r']) {
      const text = `${unit.repeat(100_000)}x`;
      expect(splitter.split(text, true).join('')).toBe(text);
    }
    expect(performance.now() - started).toBeLessThan(5000);
  });
});
