/** copySlots, by the units in which a slot is a whole number of them. */
export default [1, 2, 4].map((bytes) => ({
  name: `copy-slots-${8 * bytes}`,
  source: 'copy-slots.comp',
  defines: { UNIT_BYTES: bytes },
}));
