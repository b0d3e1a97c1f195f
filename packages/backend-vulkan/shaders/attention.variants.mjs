/**
 * Attention over each KV dtype: for few rows, for many, for many by cooperative matrices, and the merge of splits. Sizes
 * are specialization constants.
 */
const dtypes = ['f32', 'f16', 'bf16', 'q8_0'];

export default [
  ...dtypes.flatMap((dtype, code) => [
    { name: `attention-row-${dtype}`, source: 'attention-row.comp', defines: { STATE: code } },
    { name: `attention-tile-${dtype}`, source: 'attention-tile.comp', defines: { STATE: code } },
  ]),
  // An f16 holds what these hold, q8_0 to 11 bits; bf16 and f32 states take tiles.
  ...['f16', 'q8_0'].map((dtype) => ({
    name: `attention-matrix-${dtype}`,
    source: 'attention-matrix.comp',
    defines: { STATE: dtypes.indexOf(dtype) },
  })),
  { name: 'attention-merge', source: 'attention-merge.comp' },
];
