/** The kernels with another choice of tiles for products. */
import type { KernelTable } from '../lowering/kernel-table.js';
import { kernelTable } from './kernels.js';
import { matmul, matmulCounterBytes, matmulScratchBytes } from './matmul.js';
import { acceptsPrepared } from './matmul-handoff.js';
import type { MatmulTuner } from './matmul-tile.js';

export function tunedKernels(tuner: MatmulTuner): KernelTable {
  return {
    ...kernelTable,
    kernels: { ...kernelTable.kernels, matmul: (call, traits) => matmul(call, traits, tuner) },
    memory: {
      ...kernelTable.memory,
      matmul: {
        scratchBytes: (call, traits) => matmulScratchBytes(call, traits, tuner),
        counterBytes: (call, traits) => matmulCounterBytes(call, traits, tuner),
      },
    },
    handoff: {
      ...kernelTable.handoff!,
      accepts: (call, traits) => acceptsPrepared(call, traits, tuner),
    },
  };
}
