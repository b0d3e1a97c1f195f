/**
 * Which products may leave their result as int8 blocks, and which take activations that way: the int8 form's side of
 * {@link Handoff}. A workgroup then makes whole blocks of 32 rows, and nothing prepares them between.
 */
import type { DeviceTraits } from '../dispatch.js';
import { partsOf, planningOf } from './matmul.js';
import { defaultTuner, type MatmulTuner } from './matmul-tile.js';
import type { MatmulCall, ProductCall } from './operand.js';

/** Whether the call does nothing with x but prepare it, for int8 products alone. */
export function acceptsPrepared(
  call: MatmulCall,
  traits: DeviceTraits,
  tuner: MatmulTuner = defaultTuner,
): boolean {
  if (call.norm || call.join) return false;
  const parts = partsOf(planningOf(call, traits, tuner));
  return parts.length > 0 && parts.every(({ form }) => form === 'int8');
}

/** Whether a product of the call can leave its result quantized. */
export function canQuantize(
  call: MatmulCall,
  product: ProductCall,
  traits: DeviceTraits,
  tuner: MatmulTuner = defaultTuner,
): boolean {
  const parts = partsOf(planningOf({ ...call, products: [product] }, traits, tuner));
  const [part] = parts;
  if (part?.form !== 'int8' || parts.length > 1 || part.after.length > 0) return false;
  // What lies in the place of a residual may not be written before all of that is read.
  return product.residual === undefined && part.products[0].weight.rows % 32 === 0;
}
