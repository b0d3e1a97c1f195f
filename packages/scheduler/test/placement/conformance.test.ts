/** The conformance suite on two reference devices as one, cut by op: every node next to a crossing, every state on both. */
import { conformBackend } from '@unicorn-exec/conformance';
import { referenceBackend } from '@unicorn-exec/tensor';
import { createSplitBackend } from '../../src/placement/index.js';

await conformBackend(
  createSplitBackend({
    name: 'split',
    backends: [{ backend: referenceBackend }, { backend: referenceBackend }],
    place: ({ nodes }) => nodes.map(({ id }) => id % 2),
  }),
);
