/**
 * Log-probabilities of tokens under raw logits: what a request is told about the tokens that `sample` drew, and how a
 * text is scored without its logits leaving the device. No penalty, bias, mask or temperature changes them.
 */
import { UnicornError } from '../error.js';
import { expectDim, expectDType, expectRank, shapeError, specElements, type Op } from './op.js';
import { noToken } from './sample.js';

export const logProbabilities: Op = {
  name: 'logProbabilities',
  about: 'of each row, the log-softmax of the token that is named, and of the best tokens, best first',
  operands: [
    { name: 'logits', about: 'f32 [rows, vocabulary]; of rows with NaN nothing is promised' },
    { name: 'ids', about: 'i32 [rows], a token of each row; of -1, no token, NaN is returned' },
  ],
  attributes: {
    top: {
      type: 'number',
      about:
        'also returns so many best tokens: i32 [rows, top], and f32 [rows, top]; of equal ones the lower id first',
      default: 0,
    },
  },
  outputs({ logits, ids }, attributes) {
    expectDType('logProbabilities', 'logits', logits!, 'f32');
    expectRank('logProbabilities', 'logits', logits!, 2);
    expectDType('logProbabilities', 'ids', ids!, 'i32');
    expectRank('logProbabilities', 'ids', ids!, 1);
    const [rows, vocabulary] = logits!.shape as [number | string, number | string];
    expectDim('logProbabilities', 'the rows of ids', ids!.shape[0], rows);
    const top = attributes.top as number;
    if (!Number.isInteger(top) || top < 0 || (typeof vocabulary === 'number' && top > vocabulary)) {
      throw shapeError('logProbabilities', `There are no ${top} best of ${vocabulary} tokens.`, { top });
    }
    const chosen = { dtype: 'f32', shape: [rows] } as const;
    if (top === 0) return [chosen];
    return [chosen, { dtype: 'i32', shape: [rows, top] }, { dtype: 'f32', shape: [rows, top] }];
  },
  flops: ({ logits }) => 4 * specElements(logits!),
  evaluate({ inputs, attributes, outputs }) {
    const vocabulary = inputs.logits!.columns;
    const top = attributes.top as number;
    inputs.ids!.integers.forEach((id, row) => {
      if (id !== noToken && (id < 0 || id >= vocabulary)) {
        throw new UnicornError(
          'usage/token-id',
          `Token id ${id} is outside the vocabulary of ${vocabulary}.`,
          {
            fields: { id, rows: vocabulary },
            fix: "Use ids of the model's own vocabulary.",
          },
        );
      }
      const logits = inputs.logits!.floats.subarray(row * vocabulary, (row + 1) * vocabulary);
      const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
      const of = (token: number): number => logits[token]! - largest - Math.log(total);
      outputs[0]!.floats[row] = id === noToken ? NaN : of(id);
      if (top === 0) return;
      const ranked = Array.from(logits, (_, token) => token).sort((a, b) => logits[b]! - logits[a]! || a - b);
      for (let rank = 0; rank < top; rank++) {
        outputs[1]!.integers[row * top + rank] = ranked[rank]!;
        outputs[2]!.floats[row * top + rank] = of(ranked[rank]!);
      }
    });
  },
};
