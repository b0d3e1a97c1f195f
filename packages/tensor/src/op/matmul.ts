/** The product with a stored weight. */
import { expectDType, expectDim, expectRank, specElements, type Op } from './op.js';

export const matmul: Op = {
  name: 'matmul',
  about: 'x @ weight^T; the weight may be of any dtype and a view of a stored one',
  operands: [
    { name: 'x', about: 'f32 [..., k]' },
    { name: 'weight', about: 'any dtype [n, k]' },
  ],
  attributes: {},
  outputs({ x, weight }) {
    expectDType('matmul', 'x', x!, 'f32');
    expectRank('matmul', 'weight', weight!, 2);
    expectDim('matmul', 'the last axis of x', x!.shape.at(-1), weight!.shape[1]);
    return [{ dtype: 'f32', shape: [...x!.shape.slice(0, -1), weight!.shape[0]!] }];
  },
  flops: ({ x, weight }) => 2 * specElements(x!) * weight!.shape[0]!,
  evaluate({ inputs, outputs }) {
    const x = inputs.x!.floats;
    const { rows, columns: k } = inputs.x!;
    const weight = inputs.weight!;
    const n = weight.rows;
    const out = outputs[0]!.floats;
    const line = new Float32Array(k);
    for (let column = 0; column < n; column++) {
      weight.decodeRow(column, line);
      for (let row = 0; row < rows; row++) {
        // Four sums because one would wait for its own addition; the order is fixed, so rows do not depend on each other.
        let sum0 = 0;
        let sum1 = 0;
        let sum2 = 0;
        let sum3 = 0;
        const start = row * k;
        let i = 0;
        for (; i + 3 < k; i += 4) {
          sum0 += x[start + i]! * line[i]!;
          sum1 += x[start + i + 1]! * line[i + 1]!;
          sum2 += x[start + i + 2]! * line[i + 2]!;
          sum3 += x[start + i + 3]! * line[i + 3]!;
        }
        for (; i < k; i++) sum0 += x[start + i]! * line[i]!;
        out[row * n + column] = sum0 + sum1 + (sum2 + sum3);
      }
    }
  },
};
