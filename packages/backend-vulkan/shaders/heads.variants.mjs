/** Heads before attention, stored in each KV dtype; queries alone are any variant's. */
export default ['f32', 'f16', 'bf16', 'q8_0'].flatMap((dtype, code) => [
  { name: `heads-${dtype}`, source: 'heads.comp', defines: { STATE: code } },
  { name: `heads-${dtype}-chained`, source: 'heads.comp', defines: { STATE: code, CHAINED: 1 } },
]);
