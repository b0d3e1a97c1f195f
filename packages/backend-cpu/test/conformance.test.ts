/** The backend against the suite that every backend must pass. */
import { conformBackend } from '@unicorn-exec/conformance';
import { cpuBackend } from '../src/index.js';

await conformBackend(cpuBackend);
