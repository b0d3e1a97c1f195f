/** The bundled model on the GPU with its dispatches in chains: the very tokens that it gives with barriers. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { chainVariable } from '@unicorn-exec/backend-vulkan';
import { Engine } from '../src/index.js';
import { backends } from './shared.js';

const { backend, usable } = backends.find(({ name }) => name === 'vulkan')!;

describe.skipIf(!usable)('chains of dispatches (needs mesa-vulkan-drivers)', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  async function tokensOf(chains: '0' | '1'): Promise<number[]> {
    vi.stubEnv(chainVariable, chains);
    const engine = await Engine.load({ backend, context: 128, maxSequences: 1 });
    const ids: number[] = [];
    const messages = [{ role: 'user', content: 'Who are you?' }] as const;
    const sampling = { temperature: 0.9, seed: 7 };
    for await (const { tokens } of engine.generate({ messages, sampling, maxTokens: 24 }))
      ids.push(...tokens);
    await engine.close();
    return ids;
  }

  it('decode what barriers decode', async () => {
    const expected = await tokensOf('0');
    expect(expected.length).toBeGreaterThan(8);
    expect(await tokensOf('1')).toEqual(expected);
  });
});
