/** Tokenizers that a file made such that reading or using them would take for ever, or all memory. */
import { describe, expect, it } from 'vitest';
import { tokenizerFromGguf, tokenizerFromJson } from '../../src/tokenizer/index.js';
import { PrefixTree } from '../../src/tokenizer/prefix-tree.js';
import { metadataOf } from './metadata.js';

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, use_regex: true };

function json(overrides: Record<string, unknown>): Record<string, unknown> {
  return {
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    added_tokens: [],
    model: { type: 'BPE', vocab: { a: 0, e: 1, $: 2, '&': 3 }, merges: [] },
    ...overrides,
  };
}

const replace = (pattern: object, content: string) => ({ type: 'Replace', pattern, content });
const sequence = (...normalizers: object[]) => ({ type: 'Sequence', normalizers });
const refuses = (code: string, work: () => unknown): void =>
  expect(work).toThrow(expect.objectContaining({ code }) as Error);

describe('normalizers', () => {
  const doublings: Record<string, object> = {
    'a string': { String: 'e' },
    'a pattern': { Regex: 'e' },
    'a pattern that matches nothing at all': { Regex: '' },
    'a string of none': { String: '' },
  };
  for (const [name, pattern] of Object.entries(doublings)) {
    it(`that double a text again and again by ${name} end in an error`, () => {
      const steps = new Array<object>(60).fill(replace(pattern, 'ee'));
      const tokenizer = tokenizerFromJson(json({ normalizer: sequence(...steps) }));
      refuses('resource/tokenizer', () => tokenizer.encode('e'));
    });
  }

  it('that add much in one step end before it is built', () => {
    const normalizer = replace({ String: 'e' }, 'x'.repeat(2 ** 20));
    const tokenizer = tokenizerFromJson(json({ normalizer }));
    refuses('resource/tokenizer', () => tokenizer.encode('e'.repeat(2 ** 20)));
  });

  it('that put much in front end in an error', () => {
    const normalizer = sequence(
      ...new Array<object>(64).fill({ type: 'Prepend', prepend: 'x'.repeat(2 ** 19) }),
    );
    refuses('resource/tokenizer', () => tokenizerFromJson(json({ normalizer })).encode('e'));
  });

  it('are no more than a file may have', () => {
    const steps = new Array<object>(65).fill({ type: 'NFC' });
    refuses('format/tokenizer', () => tokenizerFromJson(json({ normalizer: sequence(...steps) })));
  });

  it('take their content as it stands', () => {
    const normalizer = replace({ String: 'e' }, '$&');
    expect(tokenizerFromJson(json({ normalizer })).encode('e')).toEqual([2, 3]);
  });

  it.each([
    { type: 'Replace', pattern: 'e', content: 'x' },
    { type: 'Replace', pattern: {}, content: 'x' },
    { type: 'Replace', pattern: { String: 'e' }, content: 3 },
    { type: 'Prepend', prepend: ['a'] },
  ])('of the wrong types are refused: %j', (normalizer) => {
    refuses('format/tokenizer', () => tokenizerFromJson(json({ normalizer })));
  });
});

describe('splitting steps', () => {
  it.each(['', '__', 5])('have one character for a space, not %j', (replacement) => {
    const metaspace = { type: 'Metaspace', replacement, prepend_scheme: 'always' };
    refuses('format/tokenizer', () =>
      tokenizerFromJson(json({ pre_tokenizer: metaspace, decoder: metaspace })),
    );
  });

  it('are no more than a file may have', () => {
    const pretokenizers = new Array<object>(65).fill({ type: 'Digits', individual_digits: true });
    refuses('format/tokenizer', () =>
      tokenizerFromJson(json({ pre_tokenizer: { type: 'Sequence', pretokenizers } })),
    );
  });
});

describe('one long token', () => {
  const long = '<'.repeat(20_000_000);

  it('is refused as an added one', () => {
    const added = [{ id: 9, content: long, special: true }];
    refuses('format/tokenizer', () => tokenizerFromJson(json({ added_tokens: added })));
  });

  it('is refused as an ordinary one', () => {
    refuses('format/tokenizer', () =>
      tokenizerFromJson(json({ model: { type: 'BPE', vocab: { [long]: 0 }, merges: [] } })),
    );
  });

  it.each([1, 3, 4])('is refused in a GGUF file, of type %i', async (type) => {
    const metadata = await metadataOf([
      ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
      ['tokenizer.ggml.tokens', { type: 'array', elementType: 'string', values: ['a', long] }],
      ['tokenizer.ggml.token_type', { type: 'array', elementType: 'i32', values: [1, type] }],
      ['tokenizer.ggml.merges', { type: 'array', elementType: 'string', values: [] }],
    ]);
    refuses('format/tokenizer', () => tokenizerFromGguf(metadata));
  });
});

it('finds keys of a prefix tree as a list of them does', () => {
  const letters = 'ab<';
  const random = (length: number): string =>
    Array.from({ length }, () => letters[Math.floor(Math.random() * letters.length)]).join('');
  for (let round = 0; round < 200; round++) {
    const tree = new PrefixTree<string>();
    const keys = new Set(Array.from({ length: 12 }, () => random(1 + Math.floor(Math.random() * 5))));
    for (const key of keys) tree.set(key, key);
    const text = random(30);
    for (let at = 0; at < text.length; at++) {
      const found: string[] = [];
      tree.prefixesAt(text, at, (key, end) => {
        expect(end).toBe(at + key.length);
        found.push(key);
      });
      const expected = [...keys].filter((key) => text.startsWith(key, at));
      expect(found).toEqual(expected.sort((a, b) => a.length - b.length));
    }
  }
});
