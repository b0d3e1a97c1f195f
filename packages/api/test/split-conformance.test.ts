/**
 * The conformance suite on the CPU and the GPU as one device, cut by op: every node next to a crossing, every state on
 * both. Exact arithmetic alone, unless long tests are asked for (`npm run test:long`).
 */
import { conformBackend } from '@unicorn-exec/conformance';
import { createSplitBackend } from '@unicorn-exec/scheduler/placement';
import { backends } from './shared.js';

const [cpu, vulkan] = ['cpu', 'vulkan'].map((name) => backends.find((one) => one.name === name)!);
const isLong = process.env.UNICORN_LONG_TESTS === '1';

await conformBackend(
  createSplitBackend({
    backends: [{ backend: cpu!.backend }, { backend: vulkan!.backend }],
    place: ({ nodes }) => nodes.map(({ id }) => id % 2),
  }),
  isLong ? {} : { precisions: ['f32'] },
);
