/** Products by lanes of a subgroup that share a row of the weight: `shaders/matmul-float.comp` and `matmul-int8.comp`. */
import { maximumGroups, type Dispatch } from '../dispatch.js';
import { foldedGroups } from './grid.js';
import { isWide, type Matrix } from './matrix.js';
import type { LaneTile } from './lane-tile.js';
import { preparedBytes, preparedPlace, type Context } from './matmul-prepare.js';
import { pinnedSubgroup, productArguments, profileName, sharedConstants } from './matmul-product.js';
import type { ProductCall } from './operand.js';

/** Vectors that the root mean square of a row takes of shared memory (`SQUARE_SLOTS`). */
const normSharedBytes = 1024;

/** The forms in which lanes of a subgroup share a row of the weight: tiles of activations along x and z, rows along y. */
export function laneDispatch(
  context: Context,
  product: ProductCall,
  { form, tile }: { readonly form: 'float' | 'int8'; readonly tile: LaneTile },
  weight: Matrix,
  up?: Matrix,
): Dispatch {
  const { call, rows, traits } = context;
  const { norm } = call;
  const banks = up ? 2 : 1;
  const bytes = form === 'int8' ? preparedBytes(form, rows) : 0;
  const mostBytes = Math.min(tile.stagedBytes, traits.sharedMemoryBytes - normSharedBytes);
  // Rows that several tiles read are not worth preparing again in each workgroup.
  const staged = form === 'int8' && rows.tokens <= tile.tokens && bytes <= mostBytes;
  const x = staged ? call.x.place : preparedPlace(context, form);
  const wideX = isWide(x, rows.columns) ? 1 : 0;
  const wideWeight = weight.wideColumns > 0 && weight.columns % weight.wideColumns === 0 ? 1 : 0;
  const staging = staged ? [1, bytes / 16, norm ? 1 : 0, norm?.weight ? 1 : 0, wideX] : [0, 1, 0, 0, 0];
  const own =
    form === 'float'
      ? [tile.lanes, tile.rows, tile.tokens, wideWeight, wideX, banks]
      : [tile.lanes, tile.rows, tile.tokens, tile.depth, banks, ...staging];
  const [x0, z] = foldedGroups(Math.ceil(rows.tokens / tile.tokens));
  const runs = Math.ceil(weight.rows / ((tile.workgroup / tile.lanes) * tile.rows));
  const mostRuns = Math.max(1, Math.floor(tile.workgroups / (x0 * z)));
  return {
    kernel: {
      shader: `matmul-${form}-${weight.dtype}`,
      constants: [tile.workgroup, ...sharedConstants(product), ...own],
      ...pinnedSubgroup(traits),
    },
    arguments: productArguments(context, x, product, weight, up),
    groups: [x0, Math.min(runs, mostRuns, maximumGroups), z],
    name: profileName(context, product, form, staged),
  };
}
