/** A special token that somebody types into a message must come out of the tokenizer as text, whatever the template does. */
import { existsSync, readFileSync } from 'node:fs';
import { openGguf } from '@unicorn-exec/checkpoint';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ChatTemplate,
  chatTemplateFromConfig,
  chatTemplateFromGguf,
  type ChatMessage,
  type Conversation,
} from '../../src/chat-template/index.js';
import { tokenizerFromGguf, tokenizerFromJson, type Tokenizer } from '../../src/tokenizer/index.js';
import { publishedTokenizer, shared } from '../tokenizer/golden.js';

const file = (name: string) => readFileSync(new URL(`../goldens/${name}`, import.meta.url), 'utf8');

/** Nano's vocabulary with other special tokens, for templates whose tokenizer is not at hand. */
function nanoWith(specials: readonly string[]): Tokenizer {
  const json = JSON.parse(file('nano-tokenizer.json')) as { added_tokens: { id: number; content: string }[] };
  const others = json.added_tokens.map((token, i) => ({
    ...token,
    content: specials[i] ?? `<|other ${i}|>`,
  }));
  return tokenizerFromJson({ ...json, added_tokens: others });
}

const chatMl = nanoWith(['<|im_start|>', '<|im_end|>', '<|endoftext|>']);

/** What people type, and what it is when nothing in it can be part of a special token. */
const pieces: readonly (readonly [typed: string, harmless: string])[] = [
  ...['<|im_end|>', '<|im_start|>', '<end_of_turn>', '<start_of_turn>', '<bos>', '<|endoftext|>'],
  ...['<|im_', 'end|>', '<|', '|>', '<end_of', '_turn>', '<', '>', '<b', 'os>', 'a <b> c', '<|im_end|'],
]
  .map((typed) => [typed, typed.replaceAll(/[<>|]/g, 'x')] as const)
  .concat(
    [
      '',
      ' ',
      '\n',
      '\n\n',
      'Hi',
      'user',
      'model',
      'system\n',
      'é漢🙂',
      '"',
      '\\',
      '\ue000',
      'x\ue001',
      '\u0085',
      'ß',
      '{}',
    ].map((text) => [text, text] as const),
    // Templates look for these; they are no special tokens.
    ['<think>', '</think>', '<tool_response>', '</tool_response>'].map((text) => [text, text] as const),
  );
interface Typed {
  typed: string;
  harmless: string;
}
const content: fc.Arbitrary<Typed> = fc.array(fc.constantFrom(...pieces), { maxLength: 8 }).map((all) => ({
  typed: all.map(([typed]) => typed).join(''),
  harmless: all.map(([, harmless]) => harmless).join(''),
}));

/** The same messages with what was typed, and without. */
function both(build: (pick: (text: Typed) => string) => ChatMessage[]): [ChatMessage[], ChatMessage[]] {
  return [build((text) => text.typed), build((text) => text.harmless)];
}

const turns = fc.record({
  system: fc.option(content),
  turns: fc.array(content, { minLength: 1, maxLength: 4 }),
  inParts: fc.boolean(),
  call: fc.option(
    fc.record({ name: content, key: content, value: content, thought: content, answer: content }),
  ),
});
type Turns = typeof turns extends fc.Arbitrary<infer T> ? T : never;

const plainMessages = ({ system, turns: all }: Turns) =>
  both((pick) => [
    ...(system === null ? [] : [{ role: 'system', content: pick(system) }]),
    ...all.map((text, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content: pick(text) })),
  ]);

const gemmaMessages = (some: Turns) =>
  !some.inParts
    ? plainMessages(some)
    : both((pick) => [
        {
          role: 'user',
          content: [{ type: 'image' }, ...some.turns.map((text) => ({ type: 'text', text: pick(text) }))],
        },
      ]);

const qwenMessages = (some: Turns) => {
  const { call } = some;
  const [typed, harmless] = plainMessages(some);
  if (call === null) return [typed, harmless] as const;
  const [called, calledHarmless] = both((pick) => [
    { role: 'user', content: 'go' },
    {
      role: 'assistant',
      content: pick(call.answer),
      reasoning_content: pick(call.thought),
      tool_calls: [
        { function: { name: pick(call.name), arguments: { [pick(call.key)]: [pick(call.value)] } } },
      ],
    },
    { role: 'tool', content: pick(call.value) },
  ]);
  return [
    [...typed, ...called],
    [...harmless, ...calledHarmless],
  ] as const;
};

function expectParts(
  template: ChatTemplate,
  tokenizer: Tokenizer,
  messages: (some: Turns) => readonly [readonly ChatMessage[], readonly ChatMessage[]],
): void {
  const specialIds = (text: string, literal: readonly (readonly [number, number])[]) =>
    tokenizer.encode(text, { special: true, literal }).filter((id) => tokenizer.isSpecial(id));
  fc.assert(
    fc.property(turns, (some) => {
      const [typed, harmless] = messages(some);
      const { text, literal } = template.renderParts({ messages: typed }, tokenizer);
      expect(text).toBe(template.render({ messages: typed }));
      // Every special token of the template is there, and no other.
      expect(specialIds(text, literal)).toEqual(specialIds(template.render({ messages: harmless }), []));
    }),
    { numRuns: 400 },
  );
}

describe('what somebody typed stays text in the prompt of', () => {
  const config = file('nano-tokenizer-config.json');
  const nano = tokenizerFromJson(file('nano-tokenizer.json'), config);
  const nanoTemplate = chatTemplateFromConfig(config)!;
  const golden = (name: string) => {
    const { template, special_tokens: specialTokens } = JSON.parse(file(`chat-${name}.json`)) as {
      template: string;
      special_tokens: Record<string, string>;
    };
    return new ChatTemplate(template, { specialTokens });
  };

  it('nano', () => expectParts(nanoTemplate, nano, plainMessages));
  it('SmolLM2', () => expectParts(golden('smollm2'), chatMl, plainMessages));
  it('Qwen3', () => expectParts(golden('qwen3'), chatMl, qwenMessages));

  const smollm2 = `${shared}models/SmolLM2-135M-Instruct.Q4_1.gguf`;
  it.skipIf(!existsSync(smollm2))('SmolLM2, with its own tokenizer', async () => {
    const gguf = await openGguf(smollm2);
    await gguf.close();
    const { metadata } = gguf;
    const tokenizer = tokenizerFromGguf(metadata);
    expectParts(chatTemplateFromGguf(metadata, tokenizer)!, tokenizer, plainMessages);
  });

  for (const [name, messages] of [
    ['gemma3', gemmaMessages],
    ['qwen2_5', qwenMessages],
    ['qwen3', qwenMessages],
  ] as const) {
    const folder = publishedTokenizer(name);
    it.skipIf(folder === undefined)(`${name}, from its package`, () => {
      const own = readFileSync(`${folder}/tokenizer_config.json`, 'utf8');
      const tokenizer = tokenizerFromJson(readFileSync(`${folder}/tokenizer.json`), own);
      expectParts(chatTemplateFromConfig(own)!, tokenizer, messages);
    });
  }

  it('nano, and the ranges say where it is', () => {
    const messages = [
      { role: 'system', content: 'Be <b>brief</b>.' },
      { role: 'user', content: '  What is <end_of_turn>?\n' },
    ];
    const { text, literal } = nanoTemplate.renderParts({ messages }, nano);
    expect(literal.map((range) => text.slice(...range))).toEqual([
      'Be <b>brief</b>.\n\nWhat is <end_of_turn>?',
    ]);
    const ids = nano.encode(text, { special: true, literal });
    expect(ids.filter((id) => nano.isSpecial(id)).map((id) => nano.piece(id))).toEqual([
      '<bos>',
      '<start_of_turn>',
      '<end_of_turn>',
      '<start_of_turn>',
    ]);
    expect(nano.decode(ids)).toBe(text);
  });

  it('nano, and a token typed in two messages that stand side by side', () => {
    const template = new ChatTemplate(
      '{% for m in messages %}{{ m.content | trim }}{% endfor %}<end_of_turn>',
    );
    const messages = ['<end', '_of_turn>', ' <', 'bos> '].map((text) => ({ role: 'user', content: text }));
    const { text, literal } = template.renderParts({ messages }, nano);
    expect(text).toBe('<end_of_turn><bos><end_of_turn>');
    expect(literal).toEqual([[0, 18]]);
  });
});

describe('ranges of a prompt', () => {
  const say = (content: string, more: object = {}): Conversation => ({
    messages: [{ role: 'user', content, ...more }],
  });
  const parts = (source: string, conversation: Conversation, options = {}) =>
    new ChatTemplate(source, options).renderParts(conversation, { specialTexts: ['<|end|>', '<|go|>'] });
  const show = '{{ messages[0].content }}<|end|>';

  it('are none, and cost nothing, where no message has a piece of a special token', () => {
    let renders = 0;
    const source = `${show}{% if messages[0].probe %}{% endif %}`;
    const messages = [
      Object.defineProperty({ role: 'user', content: 'a [b] "c" |d|' }, 'probe', {
        enumerable: true,
        get: () => renders++,
      }),
    ];
    new ChatTemplate(source).render({ messages });
    const once = renders;
    expect(parts(source, { messages }).literal).toEqual([]);
    // One render, and one look at the messages.
    expect(renders).toBe(2 * once + 1);
  });

  it('are none for a model without special tokens', () => {
    const template = new ChatTemplate(show);
    expect(template.renderParts(say('<|end|>'), { specialTexts: [] })).toEqual({
      text: '<|end|><|end|>',
      literal: [],
    });
  });

  it('leave out what tools and options say', () => {
    const source = '{{ tools[0] }}{{ mood }}{{ messages[0].content }}';
    const conversation = { ...say('<|end|>'), tools: ['<|go|>'], options: { mood: '<|go|>' } };
    expect(parts(source, conversation)).toEqual({ text: '<|go|><|go|><|end|>', literal: [[12, 19]] });
  });

  it('follow what a template cuts, turns and repeats', () => {
    const source =
      '{{ messages[0].content[2:] | upper }}:{{ messages[0].content | trim }}:{{ messages[0].content | length }}';
    expect(parts(source, say('ab<|end|> '))).toEqual({
      text: '<|END|> :<|end|>:10'.replace(':<', ':ab<'),
      literal: [
        [0, 7],
        [9, 18],
      ],
    });
  });

  it('count characters and not their units', () => {
    const source = '{{ messages[0].content[2:] }}:{{ messages[0].content | length }}<|end|>';
    expect(parts(source, say('😀b<|end|>🙂'))).toEqual({
      text: '<|end|>🙂:10<|end|>',
      literal: [[0, 9]],
    });
  });

  it('know the characters of all kinds of strings in messages', () => {
    const source = '<|go|>{{ messages[0].name }}{{ messages[0].data | tojson }}{{ messages[0].role }}<|end|>';
    const conversation = {
      messages: [{ role: 'a<|end|>', name: '<|go|>', data: { '<|end|>': ['"<|end|>\\'] } }],
    };
    const { text, literal } = parts(source, conversation);
    expect(text).toBe('<|go|><|go|>{"<|end|>": ["\\"<|end|>\\\\"]}a<|end|><|end|>');
    expect(
      literal
        .map((range) => text.slice(...range))
        .join(' ')
        .match(/<\|\w+\|>/g),
    ).toHaveLength(4);
    expect(literal[0]![0]).toBe(6);
    expect(literal.at(-1)![1]).toBe(text.length - 7);
  });

  it('render with one clock', () => {
    let calls = 0;
    const now = () => new Date(2025, 0, 1, 0, 0, calls++);
    const { text, literal } = parts(`{{ strftime_now('%S') }}${show}`, say('<|end|>'), { now });
    expect({ text, literal }).toEqual({ text: '00<|end|><|end|>', literal: [[2, 9]] });
  });

  it('are of the template for tools, where that is used', () => {
    const conversation = { ...say('<|end|>'), tools: [{}] };
    expect(parts('no', conversation, { toolUseSource: `tools ${show}` }).literal).toEqual([[6, 13]]);
  });

  describe('where a template looks at what is hidden', () => {
    it('are none when nothing typed is left', () => {
      const source = "{{ messages[0].content | replace('<|end|>', '') }}<|end|>";
      expect(parts(source, say('a <|end|> b'))).toEqual({ text: 'a  b<|end|>', literal: [] });
    });

    it('are all places of a token that is there too often', () => {
      const source =
        "{% if '<|end|>' in messages[0].content %}!{% endif %}<|go|>{{ messages[0].content }}<|end|>";
      expect(parts(source, say('<|end|>'))).toEqual({ text: '!<|go|><|end|><|end|>', literal: [[7, 21]] });
    });

    it('are all places of a token that a message spells, when the template refuses', () => {
      const source =
        "{% if '<|end|>' not in messages[0].content %}{{ raise_exception('no') }}{% endif %}<|go|>" + show;
      expect(parts(source, say('<|end|>'))).toEqual({ text: '<|go|><|end|><|end|>', literal: [[6, 20]] });
    });

    it('are found all the same when what it looks for is no special token', () => {
      const source =
        "{% if messages[0].content.startswith('<x>') %}{{ messages[0].content.split('<x>')[1] }}{% endif %}<|end|>";
      expect(parts(source, say('<x>a <|end|>'))).toEqual({ text: 'a <|end|><|end|>', literal: [[0, 9]] });
    });
  });

  it('refuse what render refuses', () => {
    expect(() => parts("{{ raise_exception('No') }}", say('<|end|>'))).toThrow(
      expect.objectContaining({ code: 'usage/chat-template' }),
    );
    expect(() => parts(show, { messages: [3] } as unknown as Conversation)).toThrow(
      expect.objectContaining({ code: 'usage/conversation' }),
    );
  });

  it('are found in a long conversation in little more time than two renders take', () => {
    const messages = Array.from({ length: 500 }, (_, i) => ({
      role: 'user',
      content: `<p>${'word <|end|> '.repeat(200)}${i}</p>`,
    }));
    const started = performance.now();
    const { text, literal } = parts('{% for m in messages %}{{ m.content }}<|end|>{% endfor %}', {
      messages,
    });
    // 0.4 s on a busy machine.
    expect(performance.now() - started).toBeLessThan(5000);
    expect(literal).toHaveLength(500);
    expect(text.length).toBeGreaterThan(1_000_000);
  });
});
