/** Which products take activations as int8 blocks where attention may leave them: the reader's side of {@link Handoff}. */
import type { DeviceTraits } from '../dispatch.js';
import { partsOf, planningOf } from './matmul.js';
import { defaultTuner, type MatmulTuner } from './matmul-tile.js';
import type { MatmulCall } from './operand.js';

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
