/** The fixture device without its quantization passes the suite like the reference, whose bits it computes. */
import { conformBackend } from '../src/index.js';
import { createInt8Backend } from '../src/fixture/index.js';

await conformBackend(createInt8Backend({ arithmetic: 'f32', weights: ['f32', 'q4_0'] }), {
  precisions: ['f32'],
  unsupported: { 'sample *': 'tokens are drawn elsewhere', 'chain head *': 'tokens are drawn elsewhere' },
});
