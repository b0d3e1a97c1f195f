/**
 * Attention over each KV dtype: for few rows, for many, for many by cooperative matrices, and the merge of splits. Sizes
 * are specialization constants.
 */
const dtypes = ['f32', 'f16', 'bf16', 'q8_0'];

export default [
  ...dtypes.flatMap((dtype, code) => [
    ...['', '-chained'].flatMap((chained) =>
      [1, 2, 4, 8].map((vectors) => ({
        name: `attention-row-${dtype}-${vectors}${chained}`,
        source: 'attention-row.comp',
        defines: { STATE: code, KEY_VECTORS: vectors, ...(chained && { CHAINED: 1 }) },
        // Caches are of these, and their loops are worth unrolling in full.
        optimize: dtype === 'f16' || dtype === 'q8_0' ? 2 : 1,
      })),
    ),
    { name: `attention-tile-${dtype}`, source: 'attention-tile.comp', defines: { STATE: code } },
  ]),
  // An f16 holds what these hold, q8_0 to 11 bits; bf16 and f32 states take tiles.
  ...['f16', 'q8_0'].map((dtype) => ({
    name: `attention-matrix-${dtype}`,
    source: 'attention-matrix.comp',
    defines: { STATE: dtypes.indexOf(dtype) },
    optimize: 3,
  })),
  { name: 'attention-merge', source: 'attention-merge.comp' },
];
