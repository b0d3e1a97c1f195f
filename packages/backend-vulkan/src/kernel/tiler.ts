/**
 * How the forms of the product are cut over a device, as specialization constants of the shaders. The defaults follow from
 * rules; another tiler may answer otherwise.
 */
import type { DeviceTraits } from '../dispatch/dispatch.js';
import { floatTile, int8Tile, type LaneTile } from './lane-tile.js';
import { f16Tile, type MatrixTile } from './matrix-tile.js';
import type { ProductShape } from './product-shape.js';

export interface MatmulTiler {
  /** The form for many rows, or undefined where `int8` or `float` shall serve: no such hardware, or too few rows. */
  f16(shape: ProductShape, traits: DeviceTraits): MatrixTile | undefined;
  float(shape: ProductShape, traits: DeviceTraits): LaneTile;
  int8(shape: ProductShape, traits: DeviceTraits): LaneTile;
}

export const defaultTiler: MatmulTiler = { f16: f16Tile, float: floatTile, int8: int8Tile };
