/** The calls of the contract that have nothing to do with arithmetic: life and death of devices, buffers and sets. */
import { ConformanceFailure } from './execute.js';
import type { Backend, DeviceInfo } from '@unicorn-exec/tensor';

export interface ContractContext {
  readonly backend: Backend;
  /** A usable device. */
  readonly id: string;
  readonly info: DeviceInfo;
}

export interface ContractCase {
  readonly name: string;
  /** @throws ConformanceFailure when the promise is broken */
  run(context: ContractContext): Promise<void>;
}

export const contractCases: readonly ContractCase[] = [
  {
    name: 'probe lists the device with its info',
    async run({ backend, id }) {
      const devices = await backend.probe();
      const device = devices.find((description) => description.id === id);
      if (!device?.usable || device.info.id !== id) {
        throw new ConformanceFailure(`A second probe does not list "${id}" as usable.`);
      }
    },
  },
];
