import { readFileSync } from 'node:fs';
import type { MetadataEntry } from '@unicorn-exec/checkpoint';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChatTemplate, chatTemplateFromConfig, chatTemplateFromGguf } from '../../src/chat-template/index.js';
import { tokenizerFromGguf, tokenizerFromJson, tokenizerToGguf } from '../../src/tokenizer/index.js';
import { metadataOf } from './metadata.js';

const text = (name: string) => readFileSync(new URL(`../goldens/${name}`, import.meta.url), 'utf8');
const json = text('nano-tokenizer.json');
const config = text('nano-tokenizer-config.json');
const { prompts } = JSON.parse(text('nano-prompts.json')) as {
  prompts: { prompt: string; ids: number[]; tokens: number[]; text: string }[];
};
const fromJson = tokenizerFromJson(json, config);
const entries = tokenizerToGguf(JSON.parse(json), JSON.parse(config));
const metadata = await metadataOf(entries);
const fromGguf = tokenizerFromGguf(metadata);

describe.each([
  ['tokenizer.json', fromJson, chatTemplateFromConfig(config)],
  ['GGUF metadata', fromGguf, chatTemplateFromGguf(metadata, fromGguf)],
])('nano, from %s', (_, tokenizer, template) => {
  it('knows its special tokens', () => {
    expect(tokenizer.vocabSize).toBe(8192);
    expect(tokenizer.bosId).toBe(2);
    expect(tokenizer.eosIds).toEqual([1, 5]);
    expect(tokenizer.addBos).toBe(true);
    expect([0, 1, 2, 3, 4, 5, 6].map((id) => tokenizer.isSpecial(id))).toEqual([
      ...Array(6).fill(true),
      false,
    ]);
    expect(tokenizer.idOf('<end_of_turn>')).toBe(5);
    expect(tokenizer.piece(5)).toBe('<end_of_turn>');
  });

  it.each(prompts)(
    'encodes the prompt the model was checked with: $prompt',
    ({ prompt, ids, tokens, text: answer }) => {
      const rendered = template!.render({ messages: [{ role: 'user', content: prompt }] });
      expect(template!.beginsWithBos(rendered)).toBe(true);
      expect(tokenizer.encode(rendered, { special: true })).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(rendered);
      expect(tokenizer.decode(tokens)).toBe(answer);
    },
  );

  it('takes special text as ordinary unless asked', () => {
    const plain = tokenizer.encode('<end_of_turn>');
    expect(plain).not.toContain(5);
    expect(tokenizer.decode(plain)).toBe('<end_of_turn>');
    expect(tokenizer.encode('<end_of_turn>', { special: true })).toEqual([5]);
  });

  it('does not show special tokens in a stream that leaves them out', () => {
    const stream = tokenizer.detokenizer({ skipSpecial: true });
    const ids = tokenizer.encode('Hi 🙂<end_of_turn>', { special: true });
    expect(ids.map((id) => stream.push(id)).join('') + stream.end()).toBe('Hi 🙂');
  });
});

describe('nano as a property', () => {
  const anyText = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc.string({ maxLength: 200 }),
    fc
      .array(
        fc.constantFrom(
          ' ',
          '  ',
          '\n',
          '\t',
          "'s",
          'é',
          '漢字',
          '🙂',
          '٣',
          '½',
          '\u0085',
          '\ufeff',
          '<bos>',
          'fox',
        ),
      )
      .map((parts) => parts.join('')),
  );

  it('gives back any text, and both files agree', () => {
    fc.assert(
      fc.property(anyText, (value) => {
        const ids = fromJson.encode(value);
        expect(fromGguf.encode(value)).toEqual(ids);
        expect(fromJson.decode(ids)).toBe(value.replace(/\p{Surrogate}/gu, '\ufffd'));
      }),
      { numRuns: 500 },
    );
  });

  it('streams what it decodes, for any ids', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(8191)), (ids) => {
        const stream = fromJson.detokenizer();
        const chunks = ids.map((id) => stream.push(id));
        expect(chunks.join('') + stream.end()).toBe(fromJson.decode(ids));
        for (const chunk of chunks) expect(chunk).not.toMatch(/\p{Surrogate}/u);
        const bytes = Buffer.concat(ids.map((id) => fromJson.bytes(id)));
        expect(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)).toBe(fromJson.decode(ids));
      }),
      { numRuns: 500 },
    );
  });
});

describe('writing nano to GGUF', () => {
  it('names the pre-tokenizer that splits exactly as tokenizer.json does', () => {
    expect(entries.get('tokenizer.ggml.pre')).toEqual({ type: 'string', value: 'smollm' });
    expect([...entries.keys()]).toContain('tokenizer.chat_template');
  });

  it('refuses a tokenizer that no name stands for', () => {
    const changed = JSON.parse(json) as { pre_tokenizer: unknown };
    changed.pre_tokenizer = { type: 'Sequence', pretokenizers: [{ type: 'ByteLevel', use_regex: false }] };
    expect(() => tokenizerToGguf(changed, JSON.parse(config))).toThrow(/no tokenizer\.ggml\.pre/);
  });

  it('refuses a splitting pattern of unknown name when reading', async () => {
    const other = new Map<string, MetadataEntry>(entries);
    other.set('tokenizer.ggml.pre', { type: 'string', value: 'viking' });
    const viking = await metadataOf(other);
    expect(() => tokenizerFromGguf(viking)).toThrow(
      expect.objectContaining({
        code: 'unsupported/tokenizer',
        message: expect.stringContaining('viking') as string,
      }),
    );
  });
});

describe('the template of nano', () => {
  const template = chatTemplateFromConfig(config) as ChatTemplate;

  it('puts the system text before the first user turn', () => {
    expect(
      template.render({
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: ' Hi ' },
        ],
      }),
    ).toBe('<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n');
  });

  it('refuses roles that do not alternate, in its own words', () => {
    const user = { role: 'user', content: 'Hi' };
    expect(() => template.render({ messages: [user, user] })).toThrow(
      /: Conversation roles must alternate user\/assistant\/user\/assistant\/\.\.\.$/,
    );
  });
});
