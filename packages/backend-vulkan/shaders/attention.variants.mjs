/**
 * Attention over each KV dtype: for few rows, for many, for many by cooperative matrices, and the merge of sections. Sizes
 * are specialization constants.
 */
const dtypes = ['f32', 'f16', 'bf16', 'q8_0'];

/** For few rows: by vectors of a key, chained or not, and with the heads of a single row. */
function rows(dtype, vectors, kind = '', defines = {}) {
  return {
    name: `attention-row-${dtype}-${vectors}${kind}`,
    source: 'attention-row.comp',
    defines: { STATE: dtypes.indexOf(dtype), KEY_VECTORS: vectors, ...defines },
    // Caches are of these, and their loops are worth unrolling in full.
    optimize: dtype === 'f16' || dtype === 'q8_0' ? 2 : 1,
  };
}

export default [
  ...dtypes.flatMap((dtype, code) => [
    ...[1, 2, 4, 8].map((vectors) => rows(dtype, vectors)),
    { name: `attention-tile-${dtype}`, source: 'attention-tile.comp', defines: { STATE: code } },
  ]),
  ...['f16', 'q8_0'].flatMap((dtype) =>
    [1, 2, 4, 8].map((vectors) => rows(dtype, vectors, '-chained', { CHAINED: 1 })),
  ),
  ...[1, 2, 4].flatMap((vectors) => [
    rows('f16', vectors, '-heads', { HEADS: 1 }),
    rows('f16', vectors, '-heads-chained', { HEADS: 1, CHAINED: 1 }),
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
