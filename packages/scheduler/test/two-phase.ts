/**
 * A device of two, one for each phase, as whoever places prompts on another device than answers makes it: states and
 * outputs are the second one's, lie in the host's memory, and are bound on both. Told by its programs which is meant.
 */
import {
  referenceBackend,
  type Device,
  type Executable,
  type Phase,
  type RowShapes,
  type WeightEntry,
  type WeightSet,
} from '@unicorn-exec/tensor';
import { ToyModel } from './toy-model.js';

class SetOfTwo implements WeightSet {
  constructor(readonly sets: Readonly<Record<Phase, WeightSet>>) {}

  get names(): readonly string[] {
    return this.sets.token.names;
  }

  get byteLength(): number {
    return this.sets.prompt.byteLength + this.sets.token.byteLength;
  }

  spec(...[name]: Parameters<WeightSet['spec']>): ReturnType<WeightSet['spec']> {
    return this.sets.token.spec(name);
  }

  dispose(): void {
    this.sets.prompt.dispose();
    this.sets.token.dispose();
  }
}

export interface TwoPhaseOptions {
  /** What the prompt's device makes of a weight. */
  readonly promptWeight?: (entry: WeightEntry) => WeightEntry;
  readonly rows?: RowShapes;
  /** Sees each submission before it is made. */
  readonly onSubmit?: (phase: Phase, positions: readonly number[]) => void;
}

/** `prompt` and `token` as one device with two classes of bits. */
export function twoPhaseDevice(prompt: Device, token: Device, options: TwoPhaseOptions = {}): Device {
  const { promptWeight = (entry) => entry, rows = token.info.rows, onSubmit } = options;
  const sides = { prompt, token };
  const info = { ...token.info, numerics: { prompt: 'rounded', token: 'plain' }, rows };
  const load: Device['load'] = async (entries, loading) =>
    new SetOfTwo({
      prompt: await prompt.load(entries.map(promptWeight), loading),
      token: await token.load(entries, loading),
    });
  const compile: Device['compile'] = async (graph, weights, compiling) => {
    const { phase } = compiling;
    if (phase === undefined) throw new Error('a device of two phases must be told which is meant');
    const executable = await sides[phase].compile(graph, (weights as SetOfTwo).sets[phase], compiling);
    if (!onSubmit) return executable;
    const submit: Executable['submit'] = (bindings, submitting) => {
      onSubmit(phase, [...(bindings.buffers.positions as Int32Array)]);
      return executable.submit(bindings, submitting);
    };
    return withMembers(executable, { submit });
  };
  const close = async (): Promise<void> => {
    await prompt.close();
    await token.close();
  };
  return withMembers(token, { info, load, compile, close });
}

/** An object with some of its members replaced. */
export function withMembers<T extends object>(target: T, members: Partial<T>): T {
  return new Proxy(target, {
    get(_, name) {
      if (name in members) return Reflect.get(members, name) as unknown;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** Three bits of mantissa: other bits, and other tokens, than those of the whole weight. */
export function roundedWeight(entry: WeightEntry): WeightEntry {
  if (entry.source.kind !== 'bytes') return entry;
  const bits = new Int32Array(entry.source.bytes.slice().buffer);
  for (let i = 0; i < bits.length; i++) bits[i] = (bits[i]! + (1 << 19)) & ~((1 << 20) - 1);
  return { ...entry, source: { kind: 'bytes', bytes: new Uint8Array(bits.buffer) } };
}

export interface TwoPhaseBench {
  readonly model: ToyModel;
  readonly device: Device;
  readonly weights: WeightSet;
}

/** The toy on two reference devices, the prompt's of which rounds its weights. */
export async function twoPhaseBench(
  model = new ToyModel(),
  options: TwoPhaseOptions = {},
): Promise<TwoPhaseBench> {
  const [prompt, token] = [await referenceBackend.open(), await referenceBackend.open()];
  const device = twoPhaseDevice(prompt, token, { promptWeight: roundedWeight, ...options });
  return { model, device, weights: await device.load(model.weights) };
}
