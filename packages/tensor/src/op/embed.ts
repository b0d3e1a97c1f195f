/** Rows of a table, by token id. */
import { UnicornError } from '../error.js';
import { rowBytes } from '../dtype.js';
import { expectDType, expectRank, specBytes, type Op } from './op.js';
import { noToken } from './sample.js';

export const embed: Op = {
  name: 'embed',
  about: 'table[ids] * scale',
  operands: [
    { name: 'ids', about: 'i32 [tokens]; -1, no token, is taken for row 0' },
    { name: 'table', about: 'any dtype [vocabulary, features]' },
  ],
  attributes: {
    scale: { type: 'number', about: 'multiplies every element', default: 1 },
    beyond: {
      type: 'string',
      about:
        'an id past the table: an error, or row 0 (Gemma 3n per-layer embeddings of image and audio ids)',
      default: 'error',
      values: ['error', 'firstRow'],
    },
  },
  outputs({ ids, table }) {
    expectDType('embed', 'ids', ids!, 'i32');
    expectRank('embed', 'ids', ids!, 1);
    expectRank('embed', 'table', table!, 2);
    return [{ dtype: 'f32', shape: [ids!.shape[0]!, table!.shape[1]!] }];
  },
  flops: () => 0,
  bytes({ ids, table }) {
    const features = table!.shape[1]!;
    return specBytes(ids!) + ids!.shape[0]! * (rowBytes(table!.dtype, features) + 4 * features);
  },
  evaluate({ inputs, attributes, outputs }) {
    const ids = inputs.ids!.integers;
    const table = inputs.table!;
    const out = outputs[0]!.floats;
    const scale = attributes.scale as number;
    for (let token = 0; token < ids.length; token++) {
      let id = ids[token]!;
      if (id === noToken) id = 0;
      if (id < 0 || id >= table.rows) {
        if (attributes.beyond === 'error' || id < 0) {
          throw new UnicornError(
            'usage/token-id',
            `Token id ${id} is outside the table of ${table.rows} rows.`,
            {
              fields: { id, rows: table.rows },
              fix: "Use ids of the model's own vocabulary.",
            },
          );
        }
        id = 0;
      }
      const start = token * table.columns;
      table.decodeRow(id, out, start);
      if (scale !== 1) for (let i = start; i < start + table.columns; i++) out[i]! *= scale;
    }
  },
};
