/**
 * Broken devices, to show that the suite sees what it is there to see: the reference device with one fault each.
 */
import {
  findOp,
  referenceBackend,
  type Backend,
  type Bindings,
  type Completion,
  type Device,
  type Evaluation,
  type Executable,
} from '@unicorn-exec/tensor';

/** Where a bound output or input lies in host memory. */
export interface BoundMemory {
  readonly host: Uint8Array;
  readonly byteOffset: number;
}

function memoryOf(binding: Bindings['buffers'][string] | undefined): BoundMemory | undefined {
  if (binding === undefined || ArrayBuffer.isView(binding)) return undefined;
  const view = binding;
  return 'buffer' in view
    ? { host: view.buffer.host!, byteOffset: view.byteOffset }
    : { host: view.host!, byteOffset: 0 };
}

/** Delegates everything to the reference device but what the overrides replace. */
export function wrapDevice(device: Device, overrides: Partial<Device>): Device {
  return new Proxy(device, {
    get(target, key: keyof Device) {
      const own = overrides[key];
      if (own !== undefined) return own;
      const value = target[key];
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value;
    },
  });
}

/** A device whose memory is touched after each submission. */
export async function meddlingDevice(
  meddle: (memory: (name: string) => BoundMemory | undefined, bindings: Bindings) => void,
): Promise<Device> {
  const device = await referenceBackend.open();
  return wrapDevice(device, {
    async compile(...args) {
      const executable = await device.compile(...args);
      return wrapExecutable(executable, (bindings) => ({
        times: () => [],
        done: executable
          .submit(bindings)
          .done.then(() => meddle((name) => memoryOf(bindings.buffers[name]), bindings)),
      }));
    },
  });
}

/**
 * A device on which one op means something else. The op is exchanged only while a submission runs, so that the oracle
 * keeps the true one.
 */
export async function misunderstandingDevice(
  opName: string,
  evaluate: (evaluation: Evaluation, original: (evaluation: Evaluation) => void) => void,
): Promise<Device> {
  const op = findOp(opName);
  const original = op.evaluate.bind(op);
  const device = await referenceBackend.open();
  return wrapDevice(device, {
    async compile(...args) {
      const executable = await device.compile(...args);
      return wrapExecutable(executable, (bindings) => {
        op.evaluate = (evaluation) => evaluate(evaluation, original);
        const { done, times } = executable.submit(bindings);
        return {
          times,
          done: done.finally(() => {
            op.evaluate = original;
          }),
        };
      });
    },
  });
}

function wrapExecutable(executable: Executable, submit: (bindings: Bindings) => Completion): Executable {
  return {
    signature: executable.signature,
    scratchBytes: executable.scratchBytes,
    describe: () => executable.describe(),
    profile: () => executable.profile(),
    dispose: () => executable.dispose(),
    submit,
  };
}

/** The reference backend over another device. */
export function backendOf(open: () => Promise<Device>): Backend {
  return { ...referenceBackend, open };
}
