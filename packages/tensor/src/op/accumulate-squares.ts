/**
 * Collects an importance matrix: how large the inputs of a product are, column by column. The caller counts the rows that
 * went in.
 */
import { expectDim, expectDType, expectRank, specElements, type Op } from './op.js';

export const accumulateSquares: Op = {
  name: 'accumulateSquares',
  about: 'adds the sum over rows of x^2 to a state; returns the state as a new value',
  operands: [
    { name: 'state', about: 'f32 [columns]' },
    { name: 'x', about: 'f32 [rows, columns]' },
  ],
  attributes: {},
  outputs({ state, x }) {
    expectDType('accumulateSquares', 'state', state!, 'f32');
    expectRank('accumulateSquares', 'state', state!, 1);
    expectDType('accumulateSquares', 'x', x!, 'f32');
    expectRank('accumulateSquares', 'x', x!, 2);
    expectDim('accumulateSquares', 'the columns of x', x!.shape[1], state!.shape[0]);
    return [state!];
  },
  // Every row of the state is touched, which is what an absent rule says.
  aliases: { 0: 'state' },
  flops: ({ x }) => 2 * specElements(x!),
  evaluate({ inputs }) {
    const { columns, floats, rows } = inputs.x!;
    const state = inputs.state!.floats;
    for (let i = 0; i < columns; i++) {
      let sum = 0;
      for (let row = 0; row < rows; row++) sum += floats[row * columns + i]! ** 2;
      state[i]! += sum;
    }
  },
};
