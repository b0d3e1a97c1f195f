/** A device of tests, taken for one that is given steps before those before them have ended. */
import type { Device, Executable } from '@unicorn-exec/tensor';

export function runningAhead(device: Device): Device {
  const compile: Device['compile'] = async (...given) => {
    const executable: Executable = await device.compile(...given);
    return Object.defineProperty(executable, 'runsAhead', { value: true });
  };
  return new Proxy(device, {
    get(target, name) {
      if (name === 'compile') return compile;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
