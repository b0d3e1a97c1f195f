/** Patterns against JavaScript's own engine. */
import { describe, expect, it } from 'vitest';
import { Constraint, regexExpression, Vocabulary } from '../src/index.js';

const vocabulary = new Vocabulary({ size: 256, bytes: (id) => Uint8Array.of(id), endIds: [] });

function matches(pattern: string, text: string, search: boolean): boolean {
  const rules = new Map([['root', regexExpression(pattern, { search })]]);
  const matcher = new Constraint({ root: 'root', rules }, vocabulary).matcher();
  return matcher.acceptBytes(new TextEncoder().encode(text)) && matcher.isComplete;
}

const patterns = [
  'abc',
  'a*',
  'a+b?c{2}',
  '(?:ab|cd){1,3}',
  '[a-f0-9]{2,}',
  '[^a-z]',
  '^a',
  'a$',
  '^(a|b)$|^c',
  '',
  '^$',
  '\\d{3}-\\d{4}',
  '\\w+@\\w+\\.com',
  '\\s|\\S\\S',
  '.',
  '..\\n',
  '[\\]\\-^]',
  '[-a]',
  '\\u00e9|\\u{1F600}|\\ud83d\\ude01',
  '\\x41\\cA\\0\\t\\v',
  '\\p{Lu}\\P{L}',
  '\\p{Script=Greek}+',
  '(?<year>\\d{4})',
  'a*?b',
  '[é-ü]',
  '[^é]+',
  '\\/\\.\\*',
];

const texts = [
  ...[
    '',
    'a',
    'b',
    'c',
    'aa',
    'abc',
    'ab',
    'abab',
    'abcdab',
    'aacc',
    'abcc',
    'acc',
    'ff',
    '0a',
    'g',
    'A',
    '!',
    '\n',
  ],
  ...[
    'xa',
    'ax',
    '555-1234',
    'x 555-1234 y',
    'me@x.com',
    ' ',
    '\u2028',
    '\u00a0',
    '..\n',
    'xy\n',
    ']',
    '-',
    '^',
  ],
  ...[
    'é',
    '😀',
    '😁',
    'A\u0001\u0000\t\v',
    'É1',
    'Ωμέγα',
    '2024',
    'aab',
    'ü',
    '日本',
    '/.*',
    '\u0085',
    '\ufeff',
  ],
];

describe.each(patterns)('%s', (pattern) => {
  it('matches what JavaScript matches', () => {
    const wholly = new RegExp(`^(?:${pattern})$`, 'u');
    const somewhere = new RegExp(pattern, 'u');
    for (const text of texts) {
      expect([text, matches(pattern, text, true)]).toEqual([text, somewhere.test(text)]);
      // Anchors inside of the group of the other pattern mean the same.
      expect([text, matches(pattern, text, false)]).toEqual([text, wholly.test(text)]);
    }
  });
});

it.each([
  ['(', 'usage/grammar'],
  [')', 'usage/grammar'],
  ['[a', 'usage/grammar'],
  ['a**', 'usage/grammar'],
  ['*a', 'usage/grammar'],
  ['a{2,1}', 'usage/grammar'],
  ['a{', 'usage/grammar'],
  ['[z-a]', 'usage/grammar'],
  ['\\q', 'usage/grammar'],
  ['\\p{Nonsense}', 'usage/grammar'],
  ['\\u{110000}', 'usage/grammar'],
  ['a\\', 'usage/grammar'],
  ['(?=a)', 'unsupported/grammar'],
  ['(?<!a)b', 'unsupported/grammar'],
  ['(a)\\1', 'unsupported/grammar'],
  ['\\bword', 'unsupported/grammar'],
  ['a^b', 'unsupported/grammar'],
  ['(a$)b', 'unsupported/grammar'],
  ['a{1000001}', 'unsupported/grammar'],
  ['('.repeat(300) + ')'.repeat(300), 'unsupported/grammar'],
])('refuses %s', (pattern, code) => {
  expect(() => regexExpression(pattern)).toThrow(expect.objectContaining({ code }));
});
