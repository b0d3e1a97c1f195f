import { describe, expect, it } from 'vitest';
import { GraphBuilder, graphSignature, poolDim, stateName, StepInputs, type KvGroup } from '../src/index.js';

describe('StepInputs', () => {
  const groups: readonly KvGroup[] = [
    { name: 'full', layers: [0, 2], kvHeads: 2, headDim: 8 },
    { name: 'sliding', layers: [1], kvHeads: 1, headDim: 4, window: 32 },
  ];

  it('declares the inputs and states of a step under the names that a scheduler binds', () => {
    const builder = new GraphBuilder('step');
    const step = new StepInputs(builder, groups, { kvDType: 'f16', blockTokens: 16 });
    for (const group of groups) {
      step.slots(group);
      step.blocks(group);
    }
    expect([step.state(2).shape, step.state(1).shape]).toEqual([
      ['pool.full', 2, 2, 16, 8],
      ['pool.sliding', 2, 1, 16, 4],
    ]);
    // Asked for twice, declared once.
    expect(step.rows).toBe(step.rows);
    expect(step.rowStarts.shape).toEqual(['sequences']);
    expect([step.given(64).shape, step.givenRows.shape, step.reach.shape]).toEqual([
      ['given', 64],
      ['given'],
      ['tokens'],
    ]);
    const { inputs, state } = graphSignature(builder.build());
    expect(Object.keys(inputs)).toEqual([
      'ids',
      'positions',
      'starts',
      'slots.full',
      'blocks.full',
      'slots.sliding',
      'blocks.sliding',
      'rows',
      'rowStarts',
      'given',
      'givenRows',
      'reach',
    ]);
    expect(Object.keys(state)).toEqual([stateName(2), stateName(1)]);
    expect(poolDim(groups[1]!)).toBe('pool.sliding');
  });
});
