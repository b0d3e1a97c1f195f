/** Vocabularies small enough to be read, for what the published ones do not show. */
import type { MetadataEntry } from '@unicorn-exec/checkpoint';
import { describe, expect, it } from 'vitest';
import { tokenizerFromGguf, tokenizerFromJson } from '../../src/tokenizer/index.js';
import { metadataOf } from './metadata.js';

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, use_regex: true };

function bpe(
  overrides: Record<string, unknown> = {},
  model: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    added_tokens: [],
    model: { type: 'BPE', vocab: { a: 0, b: 1, ab: 2, Ġ: 3, Ġa: 4 }, merges: ['a b', 'Ġ a'], ...model },
    ...overrides,
  };
}

const added = (id: number, content: string, flags: Record<string, boolean> = {}) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: false,
  ...flags,
});

describe('a byte-level vocabulary', () => {
  const tokenizer = tokenizerFromJson(bpe());

  it('merges, and drops what it cannot spell', () => {
    expect(tokenizer.encode('ab a b')).toEqual([2, 4, 3, 1]);
    expect(tokenizer.encode('axb')).toEqual([2]);
    expect(tokenizer.encode('')).toEqual([]);
    expect(tokenizer.decode([])).toBe('');
    expect(tokenizer.decode([4, 1])).toBe(' ab');
    expect(tokenizer.bosId).toBeUndefined();
    expect(tokenizer.addBos).toBe(false);
  });

  it('ends at ends that the file does not call special, and nobody can type them', () => {
    const file = bpe({ added_tokens: [added(7, '<|im_end|>'), added(8, '<think>')] });
    const ending = tokenizerFromJson(file);
    expect(ending.eosIds).toEqual([7]);
    expect(ending.encode('<|im_end|><think>')).toEqual([8]);
    expect(ending.encode('<|im_end|>', { special: true })).toEqual([7]);
  });

  it('knows the gaps between its ids', () => {
    expect(tokenizer.absentIds).toEqual([]);
    const gaps = bpe({ added_tokens: [added(9, '<end>')] }, { vocab: { a: 0, b: 3 }, merges: [] });
    expect(tokenizerFromJson(gaps).absentIds).toEqual([1, 2, 4, 5, 6, 7, 8]);
  });

  it('gives the unknown token where there is one', () => {
    const model = { vocab: { a: 0, '?': 1 }, merges: [], unk_token: '?' };
    expect(tokenizerFromJson(bpe({}, model)).encode('axya')).toEqual([0, 1, 1, 0]);
  });

  it('does not take a word apart that is a token, where the model says so', () => {
    const model = { vocab: { a: 0, b: 1, aba: 2 }, merges: [] };
    expect(tokenizerFromJson(bpe({}, model)).encode('aba')).toEqual([0, 1, 0]);
    expect(tokenizerFromJson(bpe({}, { ...model, ignore_merges: true })).encode('aba')).toEqual([2]);
  });

  it('puts a space before the text, once, where the model says so', () => {
    const step = { ...byteLevel, add_prefix_space: true };
    expect(tokenizerFromJson(bpe({ pre_tokenizer: step })).encode('a a')).toEqual([4, 4]);
    expect(tokenizerFromJson(bpe({ pre_tokenizer: step })).encode(' a')).toEqual([4]);
  });

  it.each([-1, 1.5, 5, NaN, 2 ** 40])('refuses the id %s by name', (id) => {
    const error = expect.objectContaining({ code: 'usage/token-id' }) as Error;
    expect(() => tokenizer.decode([0, id])).toThrow(error);
    expect(() => tokenizer.piece(id)).toThrow(error);
    expect(() => tokenizer.bytes(id)).toThrow(error);
    expect(() => tokenizer.isSpecial(id)).toThrow(error);
    expect(() => tokenizer.detokenizer({ skipSpecial: true }).push(id)).toThrow(error);
  });

  it.each([undefined, null, 3, ['a']])('refuses %s as text', (value) => {
    expect(() => tokenizer.encode(value as unknown as string)).toThrow(
      expect.objectContaining({ code: 'usage/text' }),
    );
  });

  it('refuses a text beyond its limit', () => {
    expect(() => tokenizer.encode('a'.repeat(2 ** 24 + 1))).toThrow(
      expect.objectContaining({ code: 'usage/text' }),
    );
  });

  it('encodes a megabyte of one letter without quadratic work', () => {
    const started = performance.now();
    expect(tokenizer.encode('a'.repeat(1_000_000))).toHaveLength(1_000_000);
    // 0.3 s here; quadratic work would take hours.
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  it('gives an error and no crash for more of one kind than a pattern can hold', () => {
    const text = '🙂'.repeat(2 ** 23);
    let outcome: unknown;
    try {
      outcome = tokenizer.encode(text);
    } catch (error) {
      outcome = (error as { code: string }).code;
    }
    expect([[], 'usage/text']).toContainEqual(outcome);
  });
});

describe('added tokens', () => {
  const model = { vocab: { a: 0, b: 1, Ġ: 2, '<': 3, '>': 4, x: 5 }, merges: [] };
  const encode = (text: string, tokens: unknown[], special = true) =>
    tokenizerFromJson(bpe({ added_tokens: tokens }, model)).encode(text, { special });

  it('finds the leftmost, then the longest', () => {
    expect(encode('<ab><a>', [added(6, '<a'), added(7, '<ab>'), added(8, 'b>')])).toEqual([7, 6, 4]);
  });

  it('finds special ones only on demand, and they hide what they contain either way', () => {
    const tokens = [added(6, '<x>', { special: true }), added(7, 'x')];
    expect(encode('<x>x', tokens)).toEqual([6, 7]);
    expect(encode('<x>x', tokens, false)).toEqual([3, 5, 4, 7]);
  });

  it('obeys words and white space around them', () => {
    const word = [added(6, 'x', { single_word: true })];
    expect(encode('x ax xb <x>', word)).toEqual([6, 2, 0, 5, 2, 5, 1, 2, 3, 6, 4]);
    expect(encode('a  x  a', [added(6, 'x', { lstrip: true, rstrip: true })])).toEqual([0, 6, 0]);
    expect(encode(' xx ', [added(6, 'x', { lstrip: true, rstrip: true })])).toEqual([6, 6]);
  });

  it('finds normalized ones after normalization', () => {
    const tokens = [added(6, 'X', { normalized: true }), added(7, 'B')];
    const tokenizer = tokenizerFromJson(
      bpe({ added_tokens: tokens, normalizer: { type: 'Lowercase' } }, model),
    );
    expect(tokenizer.encode('AXBx')).toEqual([0, 6, 7, 6]);
    expect(tokenizer.decode([0, 6, 7])).toBe('aXB');
  });

  it('knows BOS and EOS from either file', () => {
    const tokens = [added(6, '<s>', { special: true }), added(7, '</s>', { special: true })];
    const postProcessor = {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>' } }, { Sequence: {} }],
    };
    const json = bpe({ added_tokens: tokens, post_processor: postProcessor }, model);
    expect(tokenizerFromJson(json)).toMatchObject({ bosId: 6, eosIds: [7], addBos: true });
    expect(tokenizerFromJson(json, { bos_token: { content: '<s>' }, add_bos_token: false })).toMatchObject({
      bosId: 6,
      addBos: false,
    });
    expect(tokenizerFromJson(bpe(), '{"eos_token": "b", "bos_token": null}')).toMatchObject({ eosIds: [1] });
  });
});

describe('a byte-level vocabulary in GGUF', () => {
  const ends = ['<|im_end|>', '<|eot_id|>', '<|end|>', '<end_of_turn>', '<|endoftext|>', '<|end_of_text|>'];
  const pieces = ['a', ...ends, '<think>', '<eos>'];
  const open = async (type: number, more: [string, MetadataEntry][] = []) =>
    tokenizerFromGguf(
      await metadataOf(
        new Map<string, MetadataEntry>([
          ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
          ['tokenizer.ggml.tokens', { type: 'array', elementType: 'string', values: pieces }],
          ['tokenizer.ggml.merges', { type: 'array', elementType: 'string', values: [] }],
          [
            'tokenizer.ggml.token_type',
            { type: 'array', elementType: 'i32', values: pieces.map((_, id) => (id === 0 ? 1 : type)) },
          ],
          ...more,
        ]),
      ),
    );
  const pre: [string, MetadataEntry] = ['tokenizer.ggml.pre', { type: 'string', value: 'qwen2' }];

  it.each([1, 4, 5])(
    'ends answers at ends that the file types %i, and nobody can type them',
    async (type) => {
      const tokenizer = await open(type, [pre]);
      expect(tokenizer.eosIds).toEqual(ends.map((piece) => pieces.indexOf(piece)));
      expect(tokenizer.warnings).toHaveLength(ends.length);
      for (const piece of ends) {
        expect(tokenizer.isSpecial(pieces.indexOf(piece))).toBe(true);
        expect(tokenizer.encode(piece)).not.toContain(pieces.indexOf(piece));
        expect(tokenizer.encode(piece, { special: true })).toEqual([pieces.indexOf(piece)]);
      }
      expect(tokenizer.isSpecial(pieces.indexOf('<think>'))).toBe(false);
    },
  );

  it('knows the ids that stand for no token: unused ones with the spelling of padding, and nothing else', async () => {
    const tokens = ['a', '[PAD1]', 'b', '[PAD4]', '[PAD4]', '<unused5>', '[PAD6]', '[PAD7]'];
    const types = [1, 5, 1, 5, 5, 5, 1, 5];
    const tokenizer = await open(1, [
      pre,
      ['tokenizer.ggml.tokens', { type: 'array', elementType: 'string', values: tokens }],
      ['tokenizer.ggml.token_type', { type: 'array', elementType: 'i32', values: types }],
    ]);
    expect(tokenizer.absentIds).toEqual([1, 4, 7]);
    expect(tokenizer.vocabSize).toBe(tokens.length);
  });

  it('says nothing of a file that is well', async () => {
    expect((await open(3, [pre])).warnings).toEqual([]);
  });

  it('says that a file does not name its splitting', async () => {
    expect((await open(3)).warnings).toEqual([expect.stringContaining('tokenizer.ggml.pre is absent')]);
  });
});

describe('a SentencePiece vocabulary in GGUF', () => {
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
  const pieces = ['<unk>', '<s>', '</s>', ...bytes, '▁', 'a', 'b', '▁a', 'ab', '▁ab', '<u>'];
  const at = (piece: string) => pieces.indexOf(piece);
  const scores: Record<string, number> = { '▁': -8, a: -7, b: -6, '▁a': -3, ab: -2, '▁ab': -4 };
  const entries = (changes: [string, MetadataEntry][] = []): [string, MetadataEntry][] => {
    const map = new Map<string, MetadataEntry>([
      ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
      ['tokenizer.ggml.tokens', { type: 'array', elementType: 'string', values: pieces }],
      [
        'tokenizer.ggml.scores',
        { type: 'array', elementType: 'f32', values: pieces.map((piece) => scores[piece] ?? 0) },
      ],
      [
        'tokenizer.ggml.token_type',
        {
          type: 'array',
          elementType: 'i32',
          values: pieces.map((p, i) =>
            i === 0 ? 2 : i < 3 ? 3 : p.startsWith('<0x') ? 6 : p === '<u>' ? 4 : 1,
          ),
        },
      ],
      ['tokenizer.ggml.bos_token_id', { type: 'u32', value: 1 }],
      ['tokenizer.ggml.eos_token_id', { type: 'u32', value: 2 }],
      ['tokenizer.ggml.unknown_token_id', { type: 'u32', value: 0 }],
      ...changes,
    ]);
    return [...map];
  };

  const ids = ['bos', 'eos', 'eot', 'eom', 'unknown'];
  const wrong: Extract<MetadataEntry, { value: unknown }>[] = [
    { type: 'i32', value: -1 },
    { type: 'u32', value: 2 ** 32 - 1 },
    { type: 'u32', value: pieces.length },
  ];
  for (const name of ids) {
    it.each(wrong)(`does without ${name}_token_id where it is %j, and says so`, async (entry) => {
      const key = `tokenizer.ggml.${name}_token_id`;
      const tokenizer = tokenizerFromGguf(await metadataOf(entries([[key, entry]])));
      expect(tokenizer.warnings).toEqual([
        `${key} is ${String(entry.value)}, but there are ${pieces.length} tokens: it is not used.`,
      ]);
      // An end of text is known by its spelling too.
      expect(tokenizer).toMatchObject({ bosId: name === 'bos' ? undefined : 1, eosIds: [2] });
    });
  }

  it('merges by score, spells the unknown in bytes, and takes its own space off again', async () => {
    const tokenizer = tokenizerFromGguf(await metadataOf(entries()));
    expect(tokenizer).toMatchObject({ bosId: 1, eosIds: [2], addBos: true });
    const ids = tokenizer.encode('ab a');
    expect(ids).toEqual([at('▁ab'), at('▁a')]);
    expect(tokenizer.decode(ids)).toBe('ab a');
    const accented = tokenizer.encode('é');
    expect(accented).toEqual([at('▁'), at('<0xC3>'), at('<0xA9>')]);
    expect(tokenizer.decode(accented)).toBe('é');
    expect(tokenizer.piece(at('<0xC3>'))).toBe('\ufffd');
    expect([...tokenizer.bytes(at('▁a'))]).toEqual([0x20, 0x61]);
    const stream = tokenizer.detokenizer();
    expect(accented.map((id) => stream.push(id))).toEqual(['', '', 'é']);
    // The stream starts afresh: its first space is the tokenizer's own again.
    expect([stream.end(), stream.push(at('▁a')), stream.push(at('▁a'))]).toEqual(['', 'a', ' a']);
    expect(tokenizer.encode('a<s><u>', { special: true })).toEqual([at('▁a'), 1, at('<u>')]);
    expect(tokenizer.encode('<u>a')).toEqual([at('<u>'), at('▁a')]);
  });

  it('adds no space where the file says so', async () => {
    const metadata = await metadataOf(
      entries([['tokenizer.ggml.add_space_prefix', { type: 'bool', value: false }]]),
    );
    const tokenizer = tokenizerFromGguf(metadata);
    expect(tokenizer.encode('ab a')).toEqual([at('ab'), at('▁a')]);
    expect(tokenizer.decode([at('▁a')])).toBe(' a');
  });

  it('replaces each byte of a run that is no UTF-8, and the stream what is left of it', async () => {
    const tokenizer = tokenizerFromGguf(await metadataOf(entries()));
    const run = (...values: number[]) => values.map((value) => 3 + value);
    expect(tokenizer.decode(run(0xc3, 0xa9, 0xff))).toBe('\ufffd\ufffd\ufffd');
    const stream = tokenizer.detokenizer();
    const chunks = [...run(0xc3, 0xa9, 0xff, 0xe2, 0x82), at('a')].map((id) => stream.push(id));
    expect(chunks).toEqual(['', 'é', '\ufffd', '', '', '\ufffd\ufffda']);
    expect([...run(0xf0, 0x9f)].map((id) => stream.push(id)).join('') + stream.end()).toBe('\ufffd\ufffd');
  });

  it.each<[string, [string, MetadataEntry], string]>([
    ['another model', ['tokenizer.ggml.model', { type: 'string', value: 't5' }], 'unsupported/tokenizer'],
    [
      'too few scores',
      ['tokenizer.ggml.scores', { type: 'array', elementType: 'f32', values: [1] }],
      'format/tokenizer',
    ],
    [
      'no tokens',
      ['tokenizer.ggml.tokens', { type: 'array', elementType: 'string', values: [] }],
      'format/tokenizer',
    ],
    [
      'numbers for tokens',
      ['tokenizer.ggml.tokens', { type: 'array', elementType: 'u8', values: [1] }],
      'format/metadata-type',
    ],
    [
      'byte-level without merges',
      ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
      'format/tokenizer',
    ],
  ])('refuses %s', async (_, change, code) => {
    const metadata = await metadataOf(entries([change]));
    expect(() => tokenizerFromGguf(metadata)).toThrow(expect.objectContaining({ code }));
  });

  it('refuses a file without a tokenizer', async () => {
    const metadata = await metadataOf([]);
    expect(() => tokenizerFromGguf(metadata)).toThrow(expect.objectContaining({ code: 'format/tokenizer' }));
  });
});

describe('a tokenizer.json that cannot be used', () => {
  it.each<[string, unknown, string]>([
    ['no JSON', '{"model": ', 'format/tokenizer'],
    ['null', null, 'format/tokenizer'],
    ['no model', {}, 'format/tokenizer'],
    ['another model', bpe({}, { type: 'Unigram' }), 'unsupported/tokenizer'],
    ['a suffix at word ends', bpe({}, { end_of_word_suffix: '</w>' }), 'unsupported/tokenizer'],
    ['an id that is no number', bpe({}, { vocab: { a: '0' } }), 'format/tokenizer'],
    ['an id that would need gigabytes', bpe({}, { vocab: { a: 2 ** 31 } }), 'format/tokenizer'],
    ['a negative id', bpe({ added_tokens: [added(-1, 'x')] }), 'format/tokenizer'],
    ['a merge of unknown tokens', bpe({}, { merges: ['a z'] }), 'format/tokenizer'],
    ['a merge that is no pair', bpe({}, { merges: ['ab'] }), 'format/tokenizer'],
    ['merges that are no list', bpe({}, { merges: {} }), 'format/tokenizer'],
    ['another normalizer', bpe({ normalizer: { type: 'BertNormalizer' } }), 'unsupported/tokenizer'],
    ['another pre-tokenizer', bpe({ pre_tokenizer: { type: 'UnicodeScripts' } }), 'unsupported/tokenizer'],
    ['another decoder', bpe({ decoder: { type: 'WordPiece' } }), 'unsupported/tokenizer'],
    ['no decoder', bpe({ decoder: null, pre_tokenizer: null }), 'unsupported/tokenizer'],
    ['a decoder for another spelling', bpe({ pre_tokenizer: null }), 'unsupported/tokenizer'],
    ['a broken sequence', bpe({ pre_tokenizer: { type: 'Sequence' } }), 'format/tokenizer'],
    [
      'a broken pattern',
      bpe({ pre_tokenizer: { type: 'Split', pattern: 'x', behavior: 'Isolated' } }),
      'format/tokenizer',
    ],
  ])('%s', (_, json, code) => {
    expect(() => tokenizerFromJson(json)).toThrow(expect.objectContaining({ code }));
  });

  it('nested without end', () => {
    let decoder: unknown = byteLevel;
    for (let i = 0; i < 50_000; i++) decoder = { type: 'Sequence', decoders: [decoder] };
    expect(tokenizerFromJson(bpe({ decoder })).vocabSize).toBe(5);
  });
});
