/** A conversation: what it forgets when the context is full, what it takes back, what it refuses at once. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Chat, Engine, type ChatOptions, type GenerateChunk } from '../src/index.js';

const contextLength = 256;
const greedy = { temperature: 0 };
let engine: Engine;
beforeAll(async () => (engine = await Engine.load({ context: contextLength })));
afterAll(() => engine.close());

async function last(turn: AsyncIterable<GenerateChunk>): Promise<GenerateChunk & { whole: string }> {
  let whole = '';
  let end: GenerateChunk | undefined;
  for await (const chunk of turn) {
    whole += chunk.text;
    end = chunk;
  }
  return { ...end!, whole };
}

const words = (count: number): string => 'fox '.repeat(count);

describe('a full context', () => {
  it('forgets the oldest turns, and keeps the system message and the newest', async () => {
    const chat = new Chat(engine, { system: 'Be kind.', overflow: 'shift', sampling: greedy, maxTokens: 8 });
    const forgotten: number[] = [];
    for (let turn = 0; turn < 12; turn++) {
      const { usage } = await last(chat.ask(`${words(20)}${turn}`));
      expect(usage!.promptTokens).toBeLessThanOrEqual(contextLength);
      forgotten.push(chat.forgotten);
    }
    expect(forgotten[0]).toBe(0);
    expect(forgotten.at(-1)).toBeGreaterThan(4);
    expect(forgotten).toEqual([...forgotten].sort((a, b) => a - b));
    // A turn that forgets makes room for several.
    expect(new Set(forgotten).size).toBeLessThan(6);
    expect(chat.messages).toHaveLength(24);
    expect(chat.messages[chat.forgotten]!.role).toBe('user');
  });

  it('forgets a turn at a time no less than fits: a later turn prefills only what is new', async () => {
    const chat = new Chat(engine, { overflow: 'shift', sampling: greedy, maxTokens: 4 });
    let cached = 0;
    for (let turn = 0; turn < 12; turn++) {
      const before = chat.forgotten;
      const { usage } = await last(chat.ask(`${words(20)}${turn}`));
      if (turn > 0 && chat.forgotten === before) {
        expect(usage!.promptTokens - usage!.cachedPromptTokens).toBeLessThan(50);
        cached++;
      }
    }
    expect(cached).toBeGreaterThan(5);
  });

  it('refuses a message that is too long alone, and goes on', async () => {
    const chat = new Chat(engine, { overflow: 'shift', sampling: greedy, maxTokens: 4 });
    await last(chat.ask('Hi'));
    await expect(last(chat.ask(words(400)))).rejects.toMatchObject({ code: 'usage/context' });
    expect(chat.messages).toHaveLength(2);
    expect(chat.forgotten).toBe(0);
    await last(chat.ask('Hi'));
    expect(chat.messages).toHaveLength(4);
  });

  it('refuses every later message where nothing may be forgotten', async () => {
    const chat = new Chat(engine, { sampling: greedy, maxTokens: 4 });
    await last(chat.ask(words(100)));
    await expect(last(chat.ask(words(200)))).rejects.toMatchObject({ code: 'usage/context' });
    expect(chat.messages).toHaveLength(2);
  });
});

describe('taking back', () => {
  it('undo leaves what was before, turn by turn', async () => {
    const chat = new Chat(engine, { sampling: greedy, maxTokens: 4 });
    await last(chat.ask('One'));
    const { whole } = await last(chat.ask('Two'));
    await last(chat.ask('Three'));
    expect(chat.undo()).toBe('Three');
    expect(chat.undo()).toBe('Two');
    expect(chat.messages.map(({ content }) => content)[0]).toBe('One');
    // The same turn again is the same.
    expect((await last(chat.ask('Two'))).whole).toBe(whole);
    chat.undo();
    chat.undo();
    expect(chat.undo()).toBeUndefined();
    expect(chat.messages).toEqual([]);
  });

  it('regenerate puts another answer in the place of the last one', async () => {
    const chat = new Chat(engine, { sampling: { temperature: 1.5 }, maxTokens: 12 });
    await expect(last(chat.regenerate())).rejects.toMatchObject({ code: 'usage/conversation' });
    await last(chat.ask('Tell me a story.'));
    const { whole } = await last(chat.regenerate());
    expect(chat.messages).toEqual([
      { role: 'user', content: 'Tell me a story.' },
      { role: 'assistant', content: whole },
    ]);
  });

  it('regenerate that is cancelled before anything came leaves the answer', async () => {
    const chat = new Chat(engine, { sampling: greedy, maxTokens: 4 });
    await last(chat.ask('Hi'));
    const { messages } = chat;
    await last(chat.regenerate({ signal: AbortSignal.abort() })).catch(() => {});
    expect(chat.messages).toEqual(messages);
    expect(chat.undo()).toBe('Hi');
  });
});

describe('options', () => {
  it.each<[string, ChatOptions, string]>([
    ['a size', { elastic: 'huge' }, 'usage/elastic'],
    ['a draft', { speculation: { draft: 'huge' } }, 'usage/elastic'],
    ['a temperature', { sampling: { temperature: -1 } }, 'usage/sampling'],
    ['a top p', { sampling: { topP: 3 } }, 'usage/sampling'],
    ['a biased token', { sampling: { logitBias: { 99999999: 1 } } }, 'usage/sampling'],
    ['a limit', { maxTokens: 0 }, 'usage/max-tokens'],
  ])('%s that no turn could be computed with is refused at once', (_what, options, code) => {
    expect(() => new Chat(engine, options)).toThrow(expect.objectContaining({ code }));
    const chat = new Chat(engine, { elastic: 'half' });
    expect(() => chat.change(options)).toThrow(expect.objectContaining({ code }));
    expect(chat.options).toEqual({ elastic: 'half' });
  });
});
