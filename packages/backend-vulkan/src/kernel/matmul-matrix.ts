/** Products of many rows by cooperative matrices: `shaders/matmul-f16.comp`. */
import type { Dispatch } from '../dispatch.js';
import { foldedGroups } from './grid.js';
import { preparedPlace, type Context } from './matmul-prepare.js';
import {
  pinnedSubgroup,
  productArguments,
  profileName,
  sharedConstants,
  type SingleProduct,
} from './matmul-product.js';
import { matrixWorkgroup, type MatrixTile } from './matrix-tile.js';

export function matrixDispatch(context: Context, product: SingleProduct, tile: MatrixTile): Dispatch {
  const { rows, traits } = context;
  const { weight, up } = product;
  const x = preparedPlace(context, weight.planes ? 'f16 swapped' : 'f16');
  const { m, n, k } = tile.matrix;
  const [y, z] = foldedGroups(Math.ceil(weight.rows / tile.rows));
  return {
    kernel: {
      shader: `matmul-f16-${weight.dtype}`,
      constants: [
        ...[matrixWorkgroup(tile, traits), ...sharedConstants(product)],
        ...[tile.rows, tile.tokens, tile.depth, tile.subgroupRows, tile.subgroupTokens],
        ...[m, n, k, up ? 2 : 1],
      ],
      ...pinnedSubgroup(traits),
    },
    arguments: productArguments(rows.tokens, x, [product]),
    groups: [Math.ceil(rows.tokens / tile.tokens), y, z],
    name: profileName([product], 'f16'),
  };
}
