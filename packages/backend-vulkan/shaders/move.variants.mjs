/** slice, concat, takeRows, copy, by the largest unit that divides their runs. */
export default [1, 2, 4].map((bytes) => ({
  name: `move-${8 * bytes}`,
  source: 'move.comp',
  defines: { UNIT_BYTES: bytes },
}));
