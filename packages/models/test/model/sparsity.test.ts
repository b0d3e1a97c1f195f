/** Shares of the gate that Gemma 3n drops, to the ends of their range. */
import { describe, expect, it } from 'vitest';
import { architectures, ConfigFields } from '../../src/index.js';

const gemma3n = architectures.find(({ id }) => id === 'gemma3n')!;

function deviations(share: number): number | undefined {
  const json = { num_hidden_layers: 5, num_kv_shared_layers: 0, activation_sparsity_pattern: share };
  return gemma3n.fromHuggingFace(ConfigFields.fromJson('config.json', json)).config.layers[0]!
    .sparsityDeviations;
}

describe('a share of the gate to drop', () => {
  it.each([0, 1e-308, 1e-46])('of %d drops nothing, since f32 takes it for 0', (share) => {
    expect(deviations(share)).toBeUndefined();
  });

  it.each([1e-44, 1e-30, 0.5, 0.95, 1 - 2 ** -24])('of %d has a finite cut', (share) => {
    expect(Number.isFinite(deviations(share))).toBe(true);
  });

  it.each([-1e-9, 1, 2 ** 31, 1e308, Infinity, NaN])('of %d is refused', (share) => {
    expect(() => deviations(share)).toThrow(expect.objectContaining({ code: 'format/config' }));
  });
});
