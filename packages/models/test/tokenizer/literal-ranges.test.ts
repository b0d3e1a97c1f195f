/** Special tokens that somebody typed: ordinary text, wherever they stand in a prompt. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AddedTokenMatcher, type AddedToken } from '../../src/tokenizer/added-tokens.js';
import { tokenizerFromJson, type TextRange } from '../../src/tokenizer/index.js';
import { LiteralRanges } from '../../src/tokenizer/literal-ranges.js';

const file = (name: string) => readFileSync(new URL(`../goldens/${name}`, import.meta.url));
const nano = tokenizerFromJson(file('nano-tokenizer.json'), file('nano-tokenizer-config.json').toString());
const specialId = (id: number) => nano.isSpecial(id);

/** Places of a text, cut into an even number of pieces: every other one is literal. */
const cuts = fc.array(fc.nat(60), { maxLength: 8 }).map((places) => places.sort((a, b) => a - b));
function rangesOf(places: readonly number[], text: string): TextRange[] {
  const ranges: TextRange[] = [];
  for (let i = 0; i + 1 < places.length; i += 2) {
    ranges.push([Math.min(places[i]!, text.length), Math.min(places[i + 1]!, text.length)]);
  }
  return ranges;
}

describe('a literal part of a text', () => {
  const text = '<bos><start_of_turn>user\n<end_of_turn> x<end_of_turn>\n';
  const typed: TextRange = [text.indexOf('\n') + 1, text.indexOf(' x')];

  it('keeps what it spells from becoming special, and nothing else', () => {
    const ids = nano.encode(text, { special: true, literal: [typed] });
    expect(ids.filter(specialId)).toEqual([2, 4, 5]);
    expect(nano.decode(ids)).toBe(text);
    expect(nano.encode(text, { special: true }).filter(specialId)).toEqual([2, 4, 5, 5]);
    // As if the text were plain there: the same ids as between special tokens that stand alone.
    const plain = nano.encode('user\n<end_of_turn> x');
    expect(ids.slice(2, -2)).toEqual(plain);
  });

  it('matters from the first character of a token to the last', () => {
    const token = '<end_of_turn>';
    for (let at = 0; at < token.length; at++) {
      const ids = nano.encode(`a${token}b`, { special: true, literal: [[at + 1, at + 2]] });
      expect(ids.filter(specialId)).toEqual([]);
    }
    for (const range of [
      [0, 1],
      [14, 15],
      [5, 5],
    ] as const) {
      expect(nano.encode(`a${token}b`, { special: true, literal: [range] }).filter(specialId)).toEqual([5]);
    }
  });

  it('makes all of a text as without special tokens, and none of it as with them', () => {
    const parts = fc.constantFrom(
      '<bos>',
      '<end_of_turn>',
      '<start_of_turn>',
      '<',
      '>',
      'turn',
      ' ',
      'é',
      '<pad><unk>',
    );
    fc.assert(
      fc.property(
        fc.array(parts).map((all) => all.join('')),
        (text) => {
          expect(nano.encode(text, { special: true, literal: [[0, text.length]] })).toEqual(
            nano.encode(text),
          );
          expect(nano.encode(text, { special: true, literal: [] })).toEqual(
            nano.encode(text, { special: true }),
          );
        },
      ),
    );
  });

  it.each<[string, unknown]>([
    ['not a list', 'x'],
    ['not pairs', [3]],
    ['not integers', [[0.5, 2]]],
    ['backwards', [[3, 2]]],
    ['before the text', [[-1, 2]]],
    ['behind the text', [[0, 5]]],
    [
      'not sorted',
      [
        [2, 3],
        [0, 1],
      ],
    ],
    [
      'over one another',
      [
        [0, 2],
        [1, 3],
      ],
    ],
  ])('is refused when the ranges are %s', (_, literal) => {
    expect(() => nano.encode('text', { special: true, literal: literal as TextRange[] })).toThrow(
      expect.objectContaining({ code: 'usage/literal-ranges' }),
    );
  });
});

describe('finding added tokens beside literal ranges', () => {
  const token = (id: number, content: string, special: boolean): AddedToken => ({
    id,
    content,
    special,
    normalized: false,
    singleWord: false,
    lstrip: false,
    rstrip: false,
  });
  const tokens = ['<a>', '<a', 'a>b', '>', 'ab', 'b<a>b', 'bb'].map((content, id) =>
    token(id, content, id !== 4 && id !== 6),
  );
  const matcher = new AddedTokenMatcher(tokens);

  /** The slow twin: at each place, every token in turn; every character of a range, one by one. */
  function splitSlowly(text: string, literal: readonly TextRange[]): (number | string)[] {
    const isLiteral = Array.from(text, (_, i) => literal.some(([start, end]) => start <= i && i < end));
    const sections: (number | string)[] = [];
    let plain = '';
    for (let at = 0; at < text.length;) {
      const found = tokens
        .filter(({ content }) => text.startsWith(content, at))
        .map((candidate) => ({ ...candidate, under: isLiteral.slice(at, at + candidate.content.length) }))
        .filter(({ special, under }) => !special || !under.includes(true) || !under.includes(false))
        .sort((a, b) => b.content.length - a.content.length)[0];
      if (found !== undefined && !(found.special && found.under.includes(true))) {
        if (plain !== '') sections.push(plain);
        plain = '';
        sections.push(found.id);
        at += found.content.length;
      } else {
        const length = found?.content.length ?? 1;
        plain += text.slice(at, at + length);
        at += length;
      }
    }
    if (plain !== '') sections.push(plain);
    return sections;
  }

  it('is what its slow twin finds', () => {
    const letters = fc.string({ unit: fc.constantFrom('<', 'a', '>', 'b'), maxLength: 30 });
    fc.assert(
      fc.property(letters, cuts, (text, places) => {
        const literal = rangesOf(places, text);
        const sections = matcher
          .split(text, true, LiteralRanges.of(literal, text))
          .map((section) => (typeof section === 'number' ? section : text.slice(...section)));
        expect(sections).toEqual(splitSlowly(text, literal));
      }),
      { numRuns: 2000 },
    );
  });

  it('loses nothing that stands behind a token half typed', () => {
    // `b<a>b` begins in the range and hides nothing, so `<a>` behind it is found.
    const found = matcher.split('b<a>b', true, LiteralRanges.of([[0, 1]], 'b<a>b'));
    expect(found).toEqual([[0, 1], 0, [4, 5]]);
  });
});

describe('special tokens that are found after normalization', () => {
  const step = { type: 'ByteLevel', add_prefix_space: false, use_regex: true };
  const tokenizer = (normalizer: unknown) =>
    tokenizerFromJson({
      normalizer,
      pre_tokenizer: step,
      decoder: step,
      added_tokens: [{ id: 9, content: '<x>', special: true, normalized: true }],
      model: { type: 'BPE', vocab: { '<': 0, x: 1, '>': 2, Ġ: 3, _: 4 }, merges: [] },
    });

  it.each<[string, unknown]>([
    ['lower case', { type: 'Lowercase' }],
    ['a longer text', { type: 'Replace', pattern: { String: ' ' }, content: '__' }],
    ['nothing', null],
  ])('stay text in literal ranges, through %s', (_, normalizer) => {
    const whole = tokenizer(normalizer);
    const text = '<x>  <x> <x>';
    const count = (literal: TextRange[]) =>
      whole.encode(text, { special: true, literal }).filter((id) => id === 9).length;
    expect(count([])).toBe(3);
    expect(count([[5, 8]])).toBe(2);
    expect(count([[6, 7]])).toBe(2);
    expect(count([[3, 5]])).toBe(3);
    expect(
      count([
        [0, 1],
        [11, 12],
      ]),
    ).toBe(1);
    expect(count([[0, 12]])).toBe(0);
  });

  it('stay text behind what a normalizer puts in front', () => {
    const whole = tokenizer({ type: 'Prepend', prepend: '_' }); // also of the token: `_<x>` is looked for
    expect(whole.encode('<x><x>', { special: true }).filter((id) => id === 9)).toHaveLength(1);
    expect(whole.encode('<x><x>', { special: true, literal: [[3, 6]] })).toContain(9);
    expect(whole.encode('<x><x>', { special: true, literal: [[0, 1]] })).not.toContain(9);
  });

  it('follow very many ranges in bounded time, recognizing less', () => {
    const text = '<x> '.repeat(20_000);
    const literal = Array.from({ length: 10_000 }, (_, i) => [8 * i + 3, 8 * i + 4] as const);
    const started = performance.now();
    const ids = tokenizer({ type: 'Replace', pattern: { String: ' ' }, content: '_' }).encode(text, {
      special: true,
      literal,
    });
    expect(performance.now() - started).toBeLessThan(5000);
    expect(ids.filter((id) => id === 9)).toHaveLength(2); // before the first range, and behind the last
  });
});
