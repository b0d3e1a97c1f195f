/** Attention over each KV dtype, for few rows and for many, and the merge of splits. Sizes are specialization constants. */
export default [
  ...['f32', 'f16', 'bf16', 'q8_0'].flatMap((dtype, code) => [
    { name: `attention-row-${dtype}`, source: 'attention.comp', defines: { STATE: code, TILE: 0 } },
    { name: `attention-tile-${dtype}`, source: 'attention.comp', defines: { STATE: code, TILE: 1 } },
  ]),
  { name: 'attention-merge', source: 'attention-merge.comp' },
];
