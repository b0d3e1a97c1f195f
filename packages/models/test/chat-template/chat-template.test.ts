import { describe, expect, it } from 'vitest';
import {
  ChatTemplate,
  chatTemplateFromConfig,
  chatTemplateFromGguf,
  conversationFrom,
} from '../../src/chat-template/index.js';

const hi = { messages: [{ role: 'user', content: 'Hi' }] };
const render = (source: string, options = {}, conversation: object = hi) =>
  new ChatTemplate(source, options).render(conversation as typeof hi);
const coded = (code: string, message = '') =>
  expect.objectContaining({ code, message: expect.stringContaining(message) as string }) as Error;

describe('what a template sees', () => {
  it('special tokens, options and the generation prompt, which is asked for by default', () => {
    const source =
      '{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{% if add_generation_prompt %}>{% endif %}{{ mood }}';
    const specialTokens = { bos_token: '<s>', eos_token: '</s>' };
    expect(render(source, { specialTokens })).toBe('<s>Hi</s>>');
    const options = { add_generation_prompt: false, mood: 'calm' };
    expect(render(source, { specialTokens }, { ...hi, options })).toBe('<s>Hi</s>calm');
  });

  it('tools and documents as none where there are none', () => {
    const source =
      '{% if tools is none and documents is none %}none{% else %}{{ tools | length }}{% endif %}';
    expect(render(source)).toBe('none');
    expect(render(source, {}, { ...hi, tools: [] })).toBe('none');
    expect(render(source, {}, { ...hi, tools: [{}, {}] })).toBe('2');
  });

  it('JSON with neither HTML nor other scripts escaped', () => {
    const tools = [{ text: '<a & "b"> é 漢 🙂', list: [1, true, null] }];
    expect(render('{{ tools[0] | tojson }}', {}, { ...hi, tools })).toBe(
      '{"text": "<a & \\"b\\"> é 漢 🙂", "list": [1, true, null]}',
    );
  });

  it('the clock, in English whatever the locale', () => {
    const now = () => new Date(2025, 6, 4, 9, 5, 7);
    expect(render("{{ strftime_now('%d %b %Y') }}", { now })).toBe('04 Jul 2025');
    expect(render("{{ strftime_now('%A %-d %B %y, %H:%M:%S %I%p 100%% %Q') }}", { now })).toBe(
      'Friday 4 July 25, 09:05:07 09AM 100% %Q',
    );
    expect(render("{{ strftime_now('%Y') }}")).toBe(String(new Date().getFullYear()));
  });

  it('range as Python has it', () => {
    const source = (call: string) => `{% for i in range(${call}) %}{{ i }},{% endfor %}`;
    expect(render(source('3'))).toBe('0,1,2,');
    expect(render(source('5, 0, -2'))).toBe('5,3,1,');
    expect(render(source('2, 2'))).toBe('');
    expect(() => render(source('0, 5, 0'))).toThrow(coded('usage/chat-template', 'step must not be zero'));
  });

  it('lets an option take the name of a built-in function', () => {
    expect(render('{{ range }}', {}, { ...hi, options: { range: 7 } })).toBe('7');
  });

  it('uses the template for tools when the conversation has some', () => {
    const options = { toolUseSource: 'tools' };
    expect(render('plain', options)).toBe('plain');
    expect(render('plain', options, { ...hi, tools: [{}] })).toBe('tools');
  });
});

describe('BOS', () => {
  it('is noticed in the prompt', () => {
    const template = new ChatTemplate('{{ bos_token }}x', { specialTokens: { bos_token: '<s>' } });
    expect(template.beginsWithBos(template.render(hi))).toBe(true);
    expect(template.beginsWithBos('x')).toBe(false);
    expect(new ChatTemplate('x').beginsWithBos('x')).toBe(false);
  });
});

describe('where templates are found', () => {
  it('in tokenizer_config.json, alone or by name', () => {
    const config = (chat_template: unknown) => ({
      chat_template,
      bos_token: { content: '<s>' },
      eos_token: null,
    });
    expect(chatTemplateFromConfig(config('{{ bos_token }}a'))!.render(hi)).toBe('<s>a');
    const named = [
      { name: 'default', template: 'a' },
      { name: 'tool_use', template: 'b' },
    ];
    expect(chatTemplateFromConfig(config(named))!.render(hi)).toBe('a');
    expect(chatTemplateFromConfig(config(named))!.render({ ...hi, tools: [{}] })).toBe('b');
    expect(chatTemplateFromConfig(config('a'), 'beside')!.render(hi)).toBe('beside');
    expect(chatTemplateFromConfig(JSON.stringify(config('a')))!.source).toBe('a');
    expect(chatTemplateFromConfig({})).toBeUndefined();
    expect(() => chatTemplateFromConfig('{')).toThrow(coded('format/chat-template'));
    expect(() => chatTemplateFromConfig('[]')).toThrow(coded('format/chat-template'));
  });

  it('in GGUF metadata', () => {
    const values = new Map<string, string | number>([
      ['tokenizer.chat_template', '{{ bos_token }}a'],
      ['tokenizer.ggml.bos_token_id', 1],
    ]);
    const unused = () => expect.unreachable();
    const metadata = {
      has: (key: string) => values.has(key),
      string: (key: string) => values.get(key) as string,
      number: (key: string) => values.get(key) as number,
      boolean: unused,
      strings: unused,
      numbers: unused,
    };
    const tokenizer = { piece: (id: number) => `<${id}>` };
    expect(chatTemplateFromGguf(metadata, tokenizer)!.render(hi)).toBe('<1>a');
    values.set('tokenizer.chat_template.tool_use', 'tools');
    expect(chatTemplateFromGguf(metadata, tokenizer)!.render({ ...hi, tools: [{}] })).toBe('tools');
    values.clear();
    expect(chatTemplateFromGguf(metadata, tokenizer)).toBeUndefined();
  });
});

describe('a template that refuses or fails', () => {
  it('says so in its own words, after a colon', () => {
    expect(() => render("{{ raise_exception('No: never.') }}")).toThrow(
      coded('usage/chat-template', ': No: never.'),
    );
    expect(() => render('{{ messages[0].content + none }}')).toThrow(coded('usage/chat-template'));
    expect(() => render('{{ [1] | nonsense }}')).toThrow(coded('usage/chat-template', 'nonsense'));
  });

  it.each(['{% if %}', '{{ "', '{% for x in %}', '{% endif %}', '{{ a ', '{% macro %}', '{#'])(
    'is refused when it is no template: %s',
    (source) => {
      expect(() => new ChatTemplate(source)).toThrow(coded('format/chat-template', ': '));
    },
  );

  it('is refused when nested without end', () => {
    expect(() => new ChatTemplate(`{{ ${'('.repeat(200_000)}1 }}`)).toThrow(coded('format/chat-template'));
    const loops = '{% for a in [1] %}'.repeat(20_000) + '{% endfor %}'.repeat(20_000);
    expect(() => render(loops)).toThrow(/chat-template|nested too deep/);
    expect(() => new ChatTemplate('x'.repeat(2 ** 20 + 1))).toThrow(coded('format/chat-template'));
  });
});

describe('a hostile template', () => {
  const ends = (source: string) => {
    const started = performance.now();
    expect(() => render(source)).toThrow(coded('resource/chat-template'));
    return performance.now() - started;
  };
  const loop = '{% for a in range(100000) %}';

  it('is stopped in nested loops', () => {
    expect(ends(`${loop}${loop}{% endfor %}{% endfor %}`)).toBeLessThan(5000);
  });

  it('is stopped in one long step of the library', () => {
    // Each level holds the one before it twice: 2^60 leaves to write as JSON.
    // The sizes are bounded before a step runs.
    const begun = ends("{{ 'a'|indent(70000000, true)|replace(' ', '')|length }}");
    expect(begun).toBeLessThan(5000);
    ends(
      `{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a | tojson }}`,
    );
  });

  it('is read in a time that grows with its length only', () => {
    const blank = ' '.repeat(2 ** 19);
    const started = performance.now();
    expect(render(`${blank}x`)).toBe(`${blank}x`);
    expect(() => new ChatTemplate(`{{ ${blank}`)).toThrow(coded('format/chat-template'));
    expect(() => new ChatTemplate(`{{ '${'\\a'.repeat(2 ** 18)}`)).toThrow(coded('format/chat-template'));
    expect(() => new ChatTemplate('{%raw%}' + '{% endraw'.repeat(2 ** 16))).toThrow(
      coded('format/chat-template'),
    );
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it('ends at the same place on every machine, however busy', () => {
    const source = `${loop}{{ 'abc' | upper }}{% endfor %}`;
    const work = (maxWork: number) => () => render(source, { maxWork });
    expect(work(2 ** 24)).not.toThrow();
    expect(work(2 ** 23)).toThrow(coded('resource/chat-template', String(2 ** 23)));
  });

  it.each([
    "{{ ' ' * 200000000 }}",
    '{{ [0] * 200000000 }}',
    "{{ 'a' | center(200000000) }}",
    "{{ 'a'.ljust(200000000) }}",
    "{{ 'a'.zfill(200000000) }}",
    "{{ '\t'.expandtabs(200000000) }}",
    '{{ [1] | batch(200000000, 0) | list }}',
    '{{ [1] | slice(200000000) | list }}',
    '{{ [1] | tojson(indent=200000000) }}',
    "{{ ('ab' * 1000000).replace('', 'x' * 1000) | length }}",
    "{{ ('a' * 1000000).find('b' ~ 'a' * 500000) }}",
    "{{ ('a' * 1000000).split('a') | join('y' * 1000) | length }}",
    '{% set ns = namespace(d={}) %}{% for i in range(100000) %}{% set ns.d = dict(ns.d, **{i | string: 1}) %}{% endfor %}',
  ])('pays before a step runs: %s', (source) => {
    expect(ends(source)).toBeLessThan(5000);
  });

  it.each([
    "{{ '%200000000d' % 1 }}",
    "{{ '{:200000000}'.format(1) }}",
    '{{ 9 ** 387420489 }}',
    "{{ '%.*f' % (200000000, 1.0) }}",
  ])('has no step without a bound: %s', (source) => {
    expect(() => render(source)).toThrow(/chat template/);
  });

  it.each([
    [
      'doubled strings',
      `{% set ns = namespace(s='x', all=[]) %}${loop}{% set ns.s = ns.s ~ ns.s %}{% set ns.all = ns.all + [ns.s | upper] %}{% endfor %}`,
    ],
    ['doubled lists', `{% set ns = namespace(s=[1]) %}${loop}{% set ns.s = ns.s + ns.s %}{% endfor %}`],
    [
      'copies',
      `{% set ns = namespace(s=range(100000), all=[]) %}${loop}{% set ns.all = ns.all + [ns.s[1:]] %}{% endfor %}`,
    ],
  ])('cannot fill the memory with %s', (_, source) => {
    expect(() => render(source)).toThrow(coded('resource/chat-template'));
    expect(process.memoryUsage().rss).toBeLessThan(3 * 2 ** 30);
  });

  it('cannot ask for a huge list in one step', () => {
    expect(() => render('{{ range(1000000000) }}')).toThrow(coded('usage/chat-template', 'limit'));
    expect(() => render('{{ range(0, 1, 0.0000001) }}')).toThrow(coded('usage/chat-template', 'integer'));
  });

  it('cannot recurse without end', () => {
    expect(() => render('{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}')).toThrow(
      coded('usage/chat-template'),
    );
  });

  it.each([
    '{{ messages.constructor }}',
    '{{ "".constructor.constructor("return process")() }}',
    '{{ raise_exception.constructor }}',
    '{{ strftime_now.__proto__ }}',
    '{{ range.call }}',
  ])('cannot reach outside: %s', (source) => {
    let outcome: string;
    try {
      outcome = render(source);
    } catch (error) {
      outcome = (error as { code: string }).code;
    }
    expect(['', 'undefined', 'usage/chat-template']).toContain(outcome);
  });

  it('leaves the next render as it was', () => {
    expect(render('{{ messages[0].content }}')).toBe('Hi');
  });
});

describe('conversationFrom', () => {
  it('takes messages alone, or with tools and options', () => {
    expect(conversationFrom(hi.messages)).toEqual(hi);
    const whole = { ...hi, tools: [{}], options: { enable_thinking: false } };
    expect(conversationFrom(whole)).toBe(whole);
    const parts = [{ role: 'user', content: [{ type: 'image' }, { type: 'text', text: 'What?' }] }];
    expect(conversationFrom(parts).messages).toBe(parts);
    expect(conversationFrom([{ role: 'assistant', content: null, tool_calls: [] }]).messages).toHaveLength(1);
  });

  it.each<[unknown, string]>([
    [null, 'a conversation'],
    ['Hi', 'a conversation'],
    [{}, 'messages'],
    [{ messages: {} }, 'messages'],
    [[null], 'messages[0]'],
    [['Hi'], 'messages[0]'],
    [[{ content: 'Hi' }], 'messages[0].role'],
    [[{ role: 'user', content: 3 }], 'messages[0].content'],
    [[{ role: 'user', content: [{ text: 'x' }] }], 'messages[0].content[0]'],
    [{ messages: [], tools: {} }, 'tools'],
    [{ messages: [], options: [] }, 'options'],
  ])('refuses %j, naming the place', (value, place) => {
    expect(() => conversationFrom(value)).toThrow(
      expect.objectContaining({
        code: 'usage/conversation',
        fields: expect.objectContaining({ place }) as object,
      }),
    );
  });
});
