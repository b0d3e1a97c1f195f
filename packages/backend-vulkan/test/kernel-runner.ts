/** Kernels by themselves, for tests: the runner that measuring uses too. */
export { KernelRunner } from '../src/kernel-runner.js';
