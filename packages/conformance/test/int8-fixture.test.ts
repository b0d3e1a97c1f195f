/**
 * The fixture device passes the suite as it stands: with int8 products, without them, and as a device that has nothing
 * but products, which shows that a device is held to what it supports and may declare the rest.
 */
import { ops } from '@unicorn-exec/tensor';
import { createInt8Backend, layerOps, productOps } from '../src/fixture/index.js';
import { conformBackend } from '../src/index.js';

/** Declarations for all cases of the ops that are not there. */
function without(present: readonly string[]): Record<string, string> {
  const absent = ops.filter(({ name }) => !present.includes(name));
  return Object.fromEntries(absent.map(({ name }) => [`${name} *`, 'there is no kernel for it']));
}

const sampling = {
  ...without(layerOps),
  'chain head *': 'tokens are drawn elsewhere',
};

await conformBackend(createInt8Backend({ name: 'int8 layers', weights: ['f32', 'q4_0'] }), {
  unsupported: sampling,
});

await conformBackend(createInt8Backend({ name: 'f32 layers', arithmetic: 'f32', weights: ['f32', 'q4_0'] }), {
  precisions: ['f32'],
  unsupported: sampling,
});

await conformBackend(
  createInt8Backend({ name: 'int8 products', ops: productOps, weights: ['bf16', 'q8_0'] }),
  {
    unsupported: {
      ...without(productOps),
      'chain *': 'they have more than products',
      'a failure belongs to its own submission': 'no product fails while it runs',
      'what waits for a failed submission fails with its error': 'no product fails while it runs',
      'a table that stays in host memory gives the same rows': 'there are no tables',
      'state is changed in place, and inputs may be outputs of the step before': 'there is no state',
      'states may lie in memory of other devices': 'there is no state',
      'two devices work on disjoint blocks of one state at once': 'there is no state',
      'a cache is read where another device wrote it': 'there is no state',
    },
  },
);
