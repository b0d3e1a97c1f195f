/** Products by lanes: one variant for each form and stored type; everything else is a specialization constant. */
import { planeTypes, weightTypes } from './include/weight-types.mjs';

export default [
  { name: 'matmul-prepare', source: 'matmul-prepare.comp', defines: { DTYPE: 'F32' } },
  {
    name: 'matmul-prepare-chained',
    source: 'matmul-prepare.comp',
    defines: { DTYPE: 'F32', CHAINED: 1, VULKAN_MODEL: 1 },
  },
  ...weightTypes.map((type) => ({
    name: `matmul-float-${type}`,
    source: 'matmul-float.comp',
    defines: { DTYPE: type.toUpperCase() },
  })),
  ...planeTypes.map((type) => ({
    name: `matmul-int8-${type}`,
    source: 'matmul-int8.comp',
    defines: { DTYPE: type.toUpperCase() },
  })),
  ...planeTypes.map((type) => ({
    name: `matmul-int8-${type}-chained`,
    source: 'matmul-int8.comp',
    defines: { DTYPE: type.toUpperCase(), CHAINED: 1, VULKAN_MODEL: 1 },
  })),
];
