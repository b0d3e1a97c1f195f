/** Products by cooperative matrices: one variant for each stored type; everything else is a specialization constant. */
import { weightTypes } from './include/weight-types.mjs';

export default weightTypes.map((type) => ({
  name: `matmul-f16-${type}`,
  source: 'matmul-f16.comp',
  defines: { DTYPE: type.toUpperCase() },
}));
