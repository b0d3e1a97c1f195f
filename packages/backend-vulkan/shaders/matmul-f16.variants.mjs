/**
 * Products by cooperative matrices: one variant for each stored type; everything else is a specialization constant. Some
 * are there also in plain arithmetic, so that tests can run them on devices without such matrices.
 */
import { weightTypes } from './include/weight-types.mjs';

const emulated = ['f32', 'f16', 'bf16', 'q4_0', 'q5_1', 'q8_0', 'q4_k', 'q6_k', 'iq4_nl'];

const variant = (type, isEmulated) => ({
  name: `matmul-f16-${isEmulated ? 'emulated-' : ''}${type}`,
  source: 'matmul-f16.comp',
  defines: { DTYPE: type.toUpperCase(), EMULATED: isEmulated },
});

export default [
  ...weightTypes.map((type) => variant(type, false)),
  ...emulated.map((type) => variant(type, true)),
];
