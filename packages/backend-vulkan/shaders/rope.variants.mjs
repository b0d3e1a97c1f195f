/** Rotary embedding. */
export default [
  { name: 'rope', source: 'rope.comp', defines: { TABLE: false } },
  { name: 'rope-table', source: 'rope.comp', defines: { TABLE: true } },
];
