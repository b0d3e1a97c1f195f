/** Rows of several sequences, flattened: where each begins and ends, and the mean of each. */
import { UnicornError } from '../error.js';
import { expectDType, expectRank, shapeError, specElements, type Op } from './op.js';

/** Rows [begin, end) of one segment. */
export interface RowRange {
  readonly begin: number;
  readonly end: number;
}

/**
 * The segments that ascending `starts` cut `rows` rows into: each ends where the next begins, the last at the end.
 *
 * @throws UnicornError `usage/starts` when they do not ascend within the rows
 */
export function segmentRanges(starts: Int32Array, rows: number): RowRange[] {
  return Array.from(starts, (begin, segment) => {
    const end = segment + 1 < starts.length ? starts[segment + 1]! : rows;
    if (begin < 0 || begin > end || end > rows) {
      throw new UnicornError('usage/starts', 'The starts of sequences must ascend within the rows.', {
        fields: { sequence: segment, start: begin, end, rows },
      });
    }
    return { begin, end };
  });
}

export const segmentMean: Op = {
  name: 'segmentMean',
  about: 'the mean of the rows of each segment, 0 of an empty one: pools tokens to one row for each sequence',
  operands: [
    { name: 'x', about: 'f32 [rows, features]' },
    { name: 'starts', about: 'i32 [segments], first row of each; a segment ends where the next begins' },
  ],
  attributes: {},
  outputs({ x, starts }) {
    expectDType('segmentMean', 'x', x!, 'f32');
    expectRank('segmentMean', 'x', x!, 2);
    if (typeof x!.shape[1] !== 'number') throw shapeError('segmentMean', 'needs a known number of features.');
    expectDType('segmentMean', 'starts', starts!, 'i32');
    expectRank('segmentMean', 'starts', starts!, 1);
    return [{ dtype: 'f32', shape: [starts!.shape[0]!, x!.shape[1]] }];
  },
  flops: ({ x }) => specElements(x!),
  evaluate({ inputs, outputs }) {
    const { columns, floats, rows } = inputs.x!;
    const out = outputs[0]!.floats;
    segmentRanges(inputs.starts!.integers, rows).forEach(({ begin, end }, segment) => {
      for (let i = 0; i < columns && begin < end; i++) {
        let sum = 0;
        for (let row = begin; row < end; row++) sum += floats[row * columns + i]!;
        out[segment * columns + i] = sum / (end - begin);
      }
    });
  },
};
