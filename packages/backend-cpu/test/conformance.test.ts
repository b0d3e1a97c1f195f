/** The backend against the suite that every backend must pass. */
import { conformBackend } from '@unicorn-exec/conformance';
import { cpuBackend } from '../src/index.js';

const noKernel = 'there is no kernel for it yet';

await conformBackend(cpuBackend, {
  unsupported: {
    'causalConv *': noKernel,
    'gatedDelta *': noKernel,
    'copySlots *': noKernel,
  },
});
