/** The oracle passes its own suite. It computes the same at both precisions, so one is enough here. */
import { referenceBackend } from '@unicorn-exec/tensor';
import { conformBackend } from '../src/index.js';

await conformBackend(referenceBackend, { precisions: ['f32'], threads: [] });
