// Units in which a row is a whole number of them.
export default [1, 2, 4].map((bytes) => ({
  name: `put-rows-${8 * bytes}`,
  source: 'put-rows.comp',
  defines: { UNIT_BYTES: bytes },
}));
