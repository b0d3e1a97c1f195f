/**
 * Decoder layers with dispatches in chains, which this device would not have by itself: `npm run test:long` runs the whole
 * suite so.
 */
import { conformBackend } from '@unicorn-exec/conformance';
import { chainVariable } from '../src/dispatch/chain.js';
import { vulkanBackend } from '../src/index.js';

process.env[chainVariable] = '1';

await conformBackend(vulkanBackend, {
  precisions: ['fast'],
  only: /^chain (llama|qwen|gemma) layer (f32 with KV (f16|q8_0)|q4_0 with KV f32)( in any chunks)?$/,
});
