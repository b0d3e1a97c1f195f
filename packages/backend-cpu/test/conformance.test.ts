/** The backend against the suite that every backend must pass. */
import { conformBackend } from '@unicorn-exec/conformance';
import { cpuBackend } from '../src/index.js';

const noKernel = 'there is no kernel for it yet';
const foreign = 'memory that is not coherent is not synchronized';

await conformBackend(cpuBackend, {
  unsupported: {
    'causalConv *': noKernel,
    'gatedDelta *': noKernel,
    'copySlots *': noKernel,
  },
  expectedFailures: {
    'an unknown device id is refused': 'device/unavailable does not name the device',
    'close is idempotent and ends everything': 'device/closed does not name the device',
    'an executable reads several sets': 'weights of the first set alone are read',
    'times lie between submission and end, in order, of the device': 'times are not taken',
    'a copy waits, and keeps its place in the queue': 'a copy is made at once',
    'inputs may lie in memory of other devices': foreign,
    'outputs may lie in memory of other devices': foreign,
    'states may lie in memory of other devices': foreign,
    'a cache is read where another device wrote it': foreign,
    'two devices work on disjoint blocks of one state at once': foreign,
    'memory of other devices is imported without a copy, or copied and counted': foreign,
  },
});
