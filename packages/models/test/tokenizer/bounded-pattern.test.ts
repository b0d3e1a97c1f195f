/** Patterns of files: what they may cost, told from their structure, and the same matches however they are run. */
import { describe, expect, it } from 'vitest';
import { boundedPattern, PatternTime } from '../../src/tokenizer/bounded-pattern.js';
import { CountedPattern } from '../../src/tokenizer/counted-pattern.js';
import { compilePattern } from '../../src/tokenizer/library.js';
import { patternCost, type PatternCost } from '../../src/tokenizer/pattern-cost.js';
import { parsePattern } from '../../src/tokenizer/pattern-syntax.js';
import { patterns } from '../../src/tokenizer/splitting-patterns.js';

const upper = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const lower = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';
const suffix = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?";
const tail = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';

/** Shapes of published tokenizers that are none of ours, by what they may cost. */
const published: Record<string, [pattern: string, cost: PatternCost]> = {
  o200k: [
    `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+${suffix}|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*${suffix}|\\p{N}{1,3}|${tail}`,
    'linear',
  ],
  'groups of digits': ['\\p{N}{1,3}', 'constant'],
  'groups of digits from the right': ['\\p{N}{1,3}(?=(?:\\p{N}{3})*(?:\\P{N}|$))', 'linear'],
  'ideographs and kana': ['[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+', 'constant'],
  'words behind punctuation': [
    '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
    'linear',
  ],
  'all but stops': [' ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+', 'constant'],
  'a line each': ['\\n', 'constant'],
  'lines with their ends': ['[^\\n]+\\n?', 'constant'],
  'letters, marks within': ['\\p{L}[\\p{L}\\p{M}]*', 'constant'],
};

const known = Object.entries(patterns).map(([name, pattern]) => [name, pattern] as const);

/** Not of any tokenizer. */
const others: Record<string, [pattern: string, cost: PatternCost]> = {
  'spaces that end in a letter': [' *x', 'linear'],
  'two loops, then a letter': ['a*a*b', 'unbounded'],
  'a loop in a loop': ['(a+)+$', 'unbounded'],
  'a choice in a loop': ['(?:a|aa)+c', 'unbounded'],
  'a loop in a look ahead, behind a loop': ['a+(?=.*b)', 'unbounded'],
  'a look ahead over all': ['a(?=.*b)', 'linear'],
  'a look behind over all': ['(?<=b.*)a', 'linear'],
  'words and their endings': ['(?:\\p{L}\\p{M}*)+', 'unbounded'],
  'lazy loops': ['a+?b*?c', 'unbounded'],
  'bounded, but many ways': ['a{0,40}a{0,40}b', 'unbounded'],
  'bounded copies of a choice': ['(?:a|b?){2,3}c', 'constant'],
  'a boundary': ['\\bfox\\b', 'constant'],
  nothing: ['', 'constant'],
  'an empty choice': ['(?:ab|)', 'constant'],
  'beyond the basic plane': ['[\\u{1f600}-\\u{1f64f}]+|.', 'constant'],
};

const table = { ...published, ...others };

describe('patternCost', () => {
  it.each(Object.entries(table))('of %s', (_, [pattern, cost]) => {
    expect(patternCost(parsePattern(compilePattern({ Regex: pattern }).source))).toBe(cost);
  });

  it.each(known)('is bounded for what is known to be: %s', (_, pattern) => {
    expect(patternCost(parsePattern(compilePattern({ Regex: pattern }).source))).not.toBe('unbounded');
  });
});

const alphabet = [..."aabbcxA1 2\n\r\t's.fox!", '\u00df', '\u0301', '\u6f22', '\u{1f600}', '\u01c5', 'fox '];

describe('matches', () => {
  const named = [...known, ...Object.entries(table).map(([name, [pattern]]) => [name, pattern] as const)];
  it.each(named)('are those of V8, however they are found: %s', (name, pattern) => {
    const regExp = compilePattern({ Regex: pattern });
    const bounded = boundedPattern({ Regex: pattern });
    const counted = new CountedPattern(parsePattern(regExp.source));
    let state = name.length;
    const next = (count: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * count);
    };
    for (let round = 0; round < 60; round++) {
      const text = Array.from({ length: next(24) }, () => alphabet[next(alphabet.length)]!).join('');
      const expected = [...text.matchAll(regExp)].map(({ 0: match, index }) => [index, index + match.length]);
      const found: number[][] = [];
      bounded.forEachMatch(text, new PatternTime(text.length), (start, end) => found.push([start, end]));
      expect(found).toEqual(expected);
      for (const [start, end] of expected) expect(counted.endOfMatchAt(text, start!, () => {})).toBe(end);
      const isStart = new RegExp(regExp.source, 'uy');
      for (let at = 0; at <= text.length; at++) {
        // V8 goes back to where a surrogate pair begins.
        if (/^[\udc00-\udfff]/.test(text.slice(at))) continue;
        isStart.lastIndex = at;
        expect(counted.endOfMatchAt(text, at, () => {})).toBe(isStart.test(text) ? isStart.lastIndex : -1);
      }
    }
  });

  it.each([
    [' *x', ' '.repeat(2 ** 21)],
    ['(a+)+$', `${'a'.repeat(60)}b`],
    ['a*a*b', 'a'.repeat(20_000)],
    ['a(?=.*b)', 'a'.repeat(2 ** 20)],
  ])('end in time, or in an error: %s', (pattern, text) => {
    const bounded = boundedPattern({ Regex: pattern });
    expect(() => bounded.forEachMatch(text, new PatternTime(0), () => {})).toThrow(
      expect.objectContaining({ code: 'resource/tokenizer' }) as Error,
    );
  });

  it.each(['(a)\\1', '(?<a>x)\\k<a>'])('refer to no group: %s', (pattern) => {
    expect(() => boundedPattern({ Regex: pattern })).toThrow(
      expect.objectContaining({ code: 'unsupported/tokenizer' }) as Error,
    );
  });
});
