/**
 * Products by cooperative matrices: a variant for each stored type, for steps fetched one ahead and two ahead; everything
 * else is a specialization constant. Some are there also in plain arithmetic, so that tests can run them on devices without
 * such matrices.
 */
import { weightTypes } from './include/weight-types.mjs';

/** By steps that are fetched ahead: every way in which a weight is stored; and for the walk alone, one with planes and one without. */
const emulated = {
  1: ['f32', 'f16', 'bf16', 'q4_0', 'q5_1', 'q8_0', 'q4_k', 'q6_k', 'iq4_nl'],
  2: ['f16', 'q4_0'],
};

const variant = (type, ahead, isEmulated) => ({
  name: `matmul-f16-${isEmulated ? 'emulated-' : ''}${ahead}-${type}`,
  source: 'matmul-f16.comp',
  defines: { DTYPE: type.toUpperCase(), AHEAD: ahead, EMULATED: isEmulated },
});

export default [1, 2].flatMap((ahead) => [
  ...weightTypes.map((type) => variant(type, ahead, false)),
  ...emulated[ahead].map((type) => variant(type, ahead, true)),
]);
