/** kvWrite into each KV dtype. */
export default ['f32', 'f16', 'bf16', 'q8_0'].map((dtype, code) => ({
  name: `kv-write-${dtype}`,
  source: 'kv-write.comp',
  defines: { STATE: code },
}));
