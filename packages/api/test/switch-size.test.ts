/** A conversation that goes on under another size: what the kept cache changes, with the bundled model. */
import { resolveSize } from '@unicorn-exec/models';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../src/index.js';

const stories = [
  'a brave fox who finds a golden key',
  'a girl and her red boat',
  'a cat who is afraid of the dark',
];

describe('switching sizes over a kept cache', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.load({ context: 512 });
  });
  afterAll(() => engine.close());

  it.each([
    ['full', 'full'],
    ['full', 'half'],
    ['half', 'full'],
  ])('from %s to %s', async (from, to) => {
    const [first, second] = [resolveSize(engine.model, from), resolveSize(engine.model, to)];
    // Another story for each pair, since what was scored stays in the prefix cache.
    const question = `Tell me a story about ${stories[2 * Number(from === 'half') + Number(to === 'half')]!}.`;
    const context = await engine.promptTokens({ messages: [{ role: 'user', content: question }] });
    const tokens = [...context, ...(await engine.tokenize('Once upon a time, there lived somebody small.'))];
    await engine.forward([context], { logits: 'none', size: first, reuse: 'sameSize' });
    const [kept] = await engine.forward([tokens], { logits: 'all', size: second, reuse: 'anySize' });
    const [own] = await engine.forward([tokens], { logits: 'all', size: second });
    expect(kept!.reusedTokens).toBe(context.length);
    const expected = own!.logits!.subarray(context.length * engine.model.vocabularySize);
    expect(kept!.logits!.length).toBe(expected.length);
    const differing = expected.reduce((count, value, i) => count + Number(value !== kept!.logits![i]), 0);
    if (from === to) expect(differing).toBe(0);
    else expect(differing).toBeGreaterThan(expected.length / 2);
  });
});
