/** The calls of the contract that have nothing to do with arithmetic. */
import { completionCases } from './completion.js';
import type { ContractCase } from './contract-case.js';
import { deviceCases } from './device.js';
import { foreignCases } from './foreign.js';
import { loadCases } from './load.js';
import { plainCallerCases } from './plain-caller.js';
import { plannerCases } from './planner.js';
import { sharingCases } from './sharing.js';
import { submitCases } from './submit.js';

export const contractCases: readonly ContractCase[] = [
  ...deviceCases,
  ...loadCases,
  ...submitCases,
  ...completionCases,
  ...foreignCases,
  ...sharingCases,
  ...plannerCases,
  ...plainCallerCases,
];
export type { ContractCase, ContractContext } from './contract-case.js';
