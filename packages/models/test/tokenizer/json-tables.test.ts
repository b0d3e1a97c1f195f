/** Reading `tokenizer.json` from its bytes must be what JSON.parse and a loop over its values would give, or nothing. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tokenizerFromJson } from '../../src/tokenizer/index.js';
import { jsonTables } from '../../src/tokenizer/json-tables.js';

const nano = readFileSync(new URL('../goldens/nano-tokenizer.json', import.meta.url));
const texts = ['ab', 'a b "ab"', '\\n\n\t', 'é🙂é', '<x>ab<x>', 'a'.repeat(40)];

/** All that can be seen of a tokenizer, or the code of the error: both ways must agree in it. */
function outcome(json: unknown): unknown {
  try {
    const tokenizer = tokenizerFromJson(json);
    const pieces = Array.from({ length: Math.min(tokenizer.vocabSize, 10_000) }, (_, id) =>
      tokenizer.piece(id),
    );
    return {
      vocabSize: tokenizer.vocabSize,
      pieces,
      ids: texts.map((text) => tokenizer.encode(text, { special: true })),
      found: pieces.map((piece) => tokenizer.idOf(piece)),
    };
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

function expectTwins(text: string): void {
  expect(outcome(Buffer.from(text)), text).toEqual(outcome(text));
}

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, use_regex: true };
/** Spelled out, so that what a test changes can be seen. */
const file = (vocab: string, merges: string, more = '') =>
  `{"added_tokens": [{"id": 9, "content": "<x>", "special": true}], "pre_tokenizer": ${JSON.stringify(byteLevel)},
  "decoder": ${JSON.stringify(byteLevel)}, "model": {"type": "BPE", "unk_token": null, "vocab": ${vocab},
  "merges": ${merges}}${more}}`;
const vocab = '{"a": 0, "b": 1, "ab": 2, "\\"": 3, "\\\\": 4, "Ċ": 5, "\\u00c3": 6, "Ġ": 7, "Ġa": 8}';
const merges = '[["a", "b"], ["Ġ", "a"]]';

describe('the tables of tokenizer.json', () => {
  it('equal those of its parsed value, for nano', () => {
    const tables = jsonTables(nano)!;
    expect(tables.vocabulary.size).toBe(8192);
    expect((tables.root['model'] as Record<string, unknown>)['vocab']).toBeNull();
    const [fast, slow] = [tokenizerFromJson(nano), tokenizerFromJson(JSON.parse(nano.toString()))];
    for (let id = 0; id < fast.vocabSize; id++) expect(fast.piece(id)).toBe(slow.piece(id));
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 100 }), (text) => {
        expect(fast.encode(text)).toEqual(slow.encode(text));
      }),
    );
  });

  it.each<[string, string]>([
    ['pairs', file(vocab, merges)],
    ['entries with a space', file(vocab, '["a b", "Ġ a"]')],
    ['both kinds, on one line', file(vocab, '["a b",["Ġ","a"]]').replaceAll(/\n */g, '')],
    ['nothing in them', file('{ }', '[\t]')],
    ['odd spaces', file(vocab, merges).replaceAll('"a"', '\r\n\t         "a"  \n      ')],
    [
      'tables before their kind',
      file(vocab, merges).replace('"type": "BPE", ', '').replace('"merges":', '"type": "BPE", "merges":'),
    ],
    [
      'characters beyond 16 bits, escaped',
      file('{"\\ud83d\\ude42": 0, "🙂": 1, "a": 2}', '[]').replace('"🙂": 1, ', ''),
    ],
    ['names that objects have of their own', file('{"__proto__": 0, "constructor": 1, "a": 2}', '[]')],
    ['names that look like numbers', file('{"b": 1, "1": 0, "0": 2, "a": 3}', '[]')],
    ['a merge of parts that are no tokens', file(vocab, '[["", "ab"]]')],
    ['a pair listed twice', file(vocab, '[["a", "b"], ["Ġ", "a"], ["a", "b"]]')],
  ])('are read with %s', (_, text) => {
    expect(jsonTables(Buffer.from(text))).toBeDefined();
    expectTwins(text);
  });

  it.each<[string, string]>([
    ['a spelling twice', file('{"a": 0, "a": 1, "b": 2}', '[]')],
    ['a spelling and its id twice', file('{"a": 0, "a": 0}', '[]')],
    ['an id twice', file('{"a": 0, "b": 0}', '[]')],
    ['half a character', file('{"a": 0, "\\ud83d": 1}', '[]')],
    ['half a character in a merge', file('{"a": 0, "🙂": 1}', '[["\\ud83d", "\\ude42"]]')],
    ['an id with a sign', file('{"a": -0}', '[]')],
    ['an id with a fraction', file('{"a": 0.0, "b": 1e0}', '[]')],
    ['an id that begins with 0', file('{"a": 00}', '[]')],
    ['an id beyond all vocabularies', file('{"a": 4194304}', '[]')],
    ['an id of many digits', file('{"a": 10000000000000000000000}', '[]')],
    ['an id that is text', file('{"a": "0"}', '[]')],
    ['a comma too many', file('{"a": 0,}', '[]')],
    ['a comma too few', file('{"a": 0 "b": 1}', '[]')],
    ['a line break in a spelling', file('{"a\n": 0}', '[]')],
    ['an escape that JSON has not', file('{"\\x41": 0}', '[]')],
    [
      'merges before the vocabulary',
      file(vocab, merges).replace('"vocab"', '"v"').replace('"merges"', '"vocab"').replace('"v"', '"merges"'),
    ],
    ['a merge that makes no token', file(vocab, '[["b", "a"]]')],
    ['a merge of three', file(vocab, '[["a", "b", "a"]]')],
    ['a merge without a space', file(vocab, '["ab"]')],
    ['a merge that begins with its only space', file(vocab, '[" ab"]')],
    ['the model twice', file(vocab, merges, ', "model": {"type": "BPE", "vocab": {}, "merges": []}')],
    [
      'the model twice, once in disguise',
      file(vocab, merges, ', "m\\u006fdel": {"type": "BPE", "vocab": null, "merges": null}'),
    ],
    ['the vocabulary twice', file(vocab, merges).replace('"unk_token": null', '"vocab": {"z": 0}')],
    ['more behind its end', `${file(vocab, merges)} {}`],
    ['its end missing', file(vocab, merges).slice(0, -1)],
    [
      'brackets that do not match',
      file(vocab, merges).replace('"added_tokens": [', '"x": [{]}, "added_tokens": ['),
    ],
    ['a byte order mark', `\ufeff${file(vocab, merges)}`],
    ['a list for an object', `[${file(vocab, merges)}]`],
    ['nothing at all', ''],
  ])('are left to JSON.parse with %s', (_, text) => {
    expect(jsonTables(Buffer.from(text))).toBeUndefined();
    expectTwins(text);
  });

  it('are left to JSON.parse when the file is not UTF-8', () => {
    const bytes = Buffer.from(file('{"a": 0, "?": 1}', '[]'));
    bytes[bytes.indexOf('?')] = 0xff;
    expect(jsonTables(bytes)).toBeUndefined();
    expect(outcome(bytes)).toEqual(outcome(bytes.toString()));
  });

  it('never differ from JSON.parse, whatever is changed in a file', () => {
    const whole = file(vocab, '["a b", ["Ġ", "a"]]');
    const snippet = fc.oneof(
      fc.constantFrom(
        '"',
        '\\',
        '{',
        '}',
        '[',
        ']',
        ',',
        ':',
        ' ',
        '\n',
        '0',
        '1',
        'a',
        'null',
        '\u0000',
        'é',
        '\\u0061',
      ),
      fc.constantFrom(
        '"model"',
        '"vocab":',
        '"merges":',
        '"a":',
        '"a b"',
        '["a","b"]',
        '\\ud83d',
        '-1',
        '1e3',
        '{}',
        '[]',
      ),
    );
    const change = fc.record({ at: fc.nat(whole.length), cut: fc.nat(6), snippet });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
        let text = whole;
        for (const { at, cut, snippet } of changes) text = text.slice(0, at) + snippet + text.slice(at + cut);
        expectTwins(text);
      }),
      { numRuns: 3000 },
    );
  });
});
