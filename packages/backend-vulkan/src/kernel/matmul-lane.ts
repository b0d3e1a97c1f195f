/** Products by lanes that share a row of the weight: `shaders/matmul-float.comp` and `matmul-int8.comp`. */
import { chained } from '../dispatch/chain.js';
import { maximumGroups, type Dispatch, type Place } from '../dispatch/dispatch.js';
import { chainedTile } from './chained-tile.js';
import { foldedGroups } from './grid.js';
import { runnableTile, type LaneTile } from './lane-tile.js';
import { isWide } from './matrix.js';
import { preparedPlace, type Context } from './matmul-prepare.js';
import {
  chainedArguments,
  pinnedSubgroup,
  productArguments,
  profileName,
  sharedConstants,
  type SingleProduct,
} from './matmul-product.js';

/** Tiles of activations along x and z of the grid, rows of all products one after the other along y. */
export function laneDispatch(
  context: Context,
  products: readonly [SingleProduct, ...SingleProduct[]],
  form: 'float' | 'int8',
): Dispatch {
  const { rows, traits, tiler } = context;
  const { weight, up } = products[0];
  const banks = up ? 2 : 1;
  const total = products.reduce((sum, one) => sum + one.weight.rows, 0);
  const shape = { dtype: weight.dtype, rows: total, ...rows, banks } as const;
  const asked = tiler[form](shape, traits);
  const tile = form === 'int8' ? runnableTile(asked, banks) : asked;
  const x = preparedPlace(context, form);
  const dispatch = cutDispatch(context, products, form, tile, x);
  // More rows were not measured in a chain.
  const isSingle = form === 'int8' && rows.tokens === 1;
  const given = isSingle ? chainedArguments(rows.tokens, x, products) : undefined;
  if (!given) return dispatch;
  const inChain = chainedTile(tile, shape, traits);
  const { pipeline, groups } = cutDispatch(context, products, form, inChain, x);
  return { ...dispatch, chained: { ...chained({ pipeline }, given), groups } };
}

function cutDispatch(
  { rows, traits }: Context,
  products: readonly [SingleProduct, ...SingleProduct[]],
  form: 'float' | 'int8',
  tile: LaneTile,
  x: Place,
): Dispatch {
  const { weight, up } = products[0];
  const banks = up ? 2 : 1;
  const wideX = isWide(x, rows.columns) ? 1 : 0;
  const wideWeight = weight.wideColumns > 0 && weight.columns % weight.wideColumns === 0 ? 1 : 0;
  const width = Math.min(tile.lanes, traits.subgroupSize);
  const cut =
    form === 'float'
      ? [tile.lanes, tile.rows, tile.tokens, wideWeight, wideX, banks, products.length]
      : [width, tile.lanes / width, tile.rows, tile.tokens, tile.depth, banks, products.length];
  const [x0, z] = foldedGroups(Math.ceil(rows.tokens / tile.tokens));
  const rowsAtOnce = (tile.workgroup / tile.lanes) * tile.rows;
  const runs = products.reduce((sum, one) => sum + Math.ceil(one.weight.rows / rowsAtOnce), 0);
  const mostRuns = Math.max(1, Math.floor(tile.workgroups / (x0 * z)));
  return {
    pipeline: {
      shader: `matmul-${form}-${weight.dtype}`,
      constants: [tile.workgroup, ...sharedConstants(products[0]), ...cut],
      ...pinnedSubgroup(traits),
    },
    arguments: productArguments(rows.tokens, x, products),
    groups: [x0, Math.min(runs, mostRuns, maximumGroups), z],
    name: profileName(products, form),
  };
}
