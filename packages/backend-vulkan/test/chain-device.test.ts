/** Chains on a device: the results of barriers, and back to barriers when a wait was given up. */
import { randomWeight } from '@unicorn-exec/conformance';
import {
  GraphBuilder,
  HostTensor,
  namedValues,
  resolveShape,
  sampleControls,
  sampleParameters,
  tensorBytes,
  type DeviceBuffer,
  type Executable,
  type Graph,
  type TensorSpec,
} from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { chainVariable, withChains } from '../src/dispatch/chain.js';
import { u32, type Argument, type Dispatch } from '../src/dispatch/dispatch.js';
import type { VulkanDevice } from '../src/device/device.js';
import { faultError } from '../src/device/faults.js';
import { vulkanBackend } from '../src/index.js';
import { heads } from '../src/kernel/heads.js';
import { faultCodes, type Operand } from '../src/kernel/operand.js';
import { decoderGraph } from './graphs.js';
import { kernelProblem, KernelRun } from './kernel-run.js';
import { driver } from './lavapipe.js';
import { normals } from './random.js';

const problem = kernelProblem();

describe.skipIf(problem !== undefined)(`chained dispatches${problem ? ` (${problem})` : ''}`, () => {
  const shape = [3, 5, 32] as const;
  let run: KernelRun;
  beforeAll(() => {
    run = KernelRun.open();
  });
  afterAll(() => {
    expect(run.close()).toEqual([]);
  });

  /** Norms heads, then norms what came of it with another weight. */
  async function normedTwice(): Promise<{ dispatches: Dispatch[]; out: Operand }> {
    const floats = (dims: readonly number[], seed: number): Promise<Operand> =>
      run.tensor(
        HostTensor.f32(
          dims,
          normals(
            dims.reduce((a, b) => a * b, 1),
            seed,
          ),
        ),
      );
    const norm = async (x: Operand, seed: number) => {
      const out = await run.operand('f32', shape);
      const query = { x, normed: true, turned: false, weight: await floats([shape[2]], seed), out };
      const common = { epsilon: 1e-6, weightOffset: 0, faults: run.faults };
      return { dispatches: heads.dispatch({ query, ...common }, run.traits), out };
    };
    const first = await norm(await floats(shape, 1), 2);
    const second = await norm(first.out, 3);
    return { dispatches: [...first.dispatches, ...second.dispatches], out: second.out };
  }

  it('give the bits of dispatches with barriers', async () => {
    const { dispatches, out } = await normedTwice();
    const results: HostTensor[] = [];
    for (const all of [dispatches, withChains(dispatches)]) {
      await run.run(all);
      expect(await run.takeFault()).toBe(0);
      results.push(await run.read(out));
    }
    expect(withChains(dispatches).every(({ isChained }) => isChained)).toBe(true);
    expect(results[1]).toEqual(results[0]);
  });

  it('give up a wait that does not end, and begin anew the next time', async () => {
    const { dispatches } = await normedTwice();
    const chain = withChains(dispatches);
    const tooMany = ({ arguments: given }: Dispatch): Argument[] =>
      given.map((argument) => (argument.kind === 'before' ? u32(1000) : argument));
    const stalls = chain.map((one, index) => (index === 0 ? one : { ...one, arguments: tooMany(one) }));
    await run.run(stalls);
    expect(await run.takeFault()).toBe(faultCodes.stalled);
    await run.run(chain);
    expect(await run.takeFault()).toBe(0);
  });
});

const [columns, rows] = [64, 96];

interface Links {
  dispatches: number;
  barriers: number;
}

/** What a recording's words say (`NativeAddon.record`). */
function linksIn(words: Uint32Array): Links {
  const links = { dispatches: 0, barriers: 0 };
  for (let at = 0; at < words.length; at += 6 + words[at + 5]!) {
    links.dispatches++;
    links.barriers += words[at + 4]!;
  }
  return links;
}

/** Two products, each with its activations prepared: four dispatches that are chained. */
function twoProducts(): Graph {
  const builder = new GraphBuilder('chain');
  const x = builder.input('x', 'f32', ['tokens', columns]);
  const first = builder.matmul(x, builder.weight('first', { dtype: 'q8_0', shape: [rows, columns] }));
  builder.output(
    'y',
    builder.matmul(first, builder.weight('second', { dtype: 'q8_0', shape: [columns, rows] })),
  );
  return builder.build();
}

describe.skipIf(!driver.present)(`a device with chains (${driver.need})`, () => {
  let device: VulkanDevice;
  beforeAll(async () => {
    vi.stubEnv(chainVariable, '1');
    device = (await vulkanBackend.open()) as VulkanDevice;
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await device.close();
  });

  async function compiled(): Promise<Executable> {
    const entry = (name: string, shape: readonly [number, number]) =>
      ({
        name,
        dtype: 'q8_0',
        shape,
        source: { kind: 'bytes', bytes: randomWeight('q8_0', ...shape, name) },
      }) as const;
    const weights = await device.load([entry('first', [rows, columns]), entry('second', [columns, rows])]);
    return device.compile(twoProducts(), weights, { dims: { tokens: { max: 4 } } });
  }

  it('fails what a stalled chain was a part of, and goes on with barriers', async () => {
    const [executable, other] = [await compiled(), await compiled()];
    const x = normals(columns, 1);
    const computed = async (by: Executable): Promise<Float32Array> => {
      const y = device.allocate(4 * columns);
      await by.submit({ dims: { tokens: 1 }, buffers: { x, y } }).done;
      const bytes = await device.read(y, 0, 4 * columns);
      return new Float32Array(bytes.buffer);
    };
    const record = vi.spyOn(device.addon, 'record');
    const before = await computed(executable);
    await computed(other);
    expect(before.some((value) => value !== 0)).toBe(true);
    const links = (): Links => linksIn(record.mock.lastCall![2]);
    expect(links()).toEqual({ dispatches: 4, barriers: 1 });

    const stalled = vi
      .spyOn(device.faults, 'give')
      .mockImplementationOnce(() => faultError(faultCodes.stalled, 7, 3, 'gpu'));
    await expect(computed(executable)).rejects.toMatchObject({
      code: 'device/stalled',
      fields: { value: 7 },
    });
    stalled.mockRestore();
    for (const one of [executable, other]) {
      record.mockClear();
      expect(await computed(one)).toEqual(before);
      expect(record).toHaveBeenCalledOnce();
      expect(links()).toEqual({ dispatches: 4, barriers: 4 });
    }
    record.mockRestore();
    executable.dispose();
    other.dispose();
  });
});

/** Of the one layer of `decoderGraph`. */
const layerDims = { sequences: 1, columns: 2, pool: 2, outputs: 1, historyRows: 1, capacity: 40 };
const vocabulary = 80;

/** Logits of a prompt and of steps after it, and how the last step's dispatches follow each other. */
async function decoded(chains: '0' | '1'): Promise<{ logits: Float32Array[]; step: Links }> {
  vi.stubEnv(chainVariable, chains);
  const device = (await vulkanBackend.open()) as VulkanDevice;
  vi.unstubAllEnvs();
  const graph = decoderGraph('q4_0');
  const weights = await device.load(
    [...namedValues(graph, 'weight')].map(([name, [value]]) => {
      const { source } = value!;
      if (source.kind !== 'weight') throw new Error('no weight');
      const { dtype } = source.stored;
      const shape = source.stored.shape as number[];
      const bytes = randomWeight(dtype, shape.length > 1 ? shape[0]! : 1, shape.at(-1)!, name);
      return { name, dtype, shape, source: { kind: 'bytes', bytes } as const };
    }),
  );
  const executable = await device.compile(graph, weights, { dims: { tokens: { max: 8 }, ...layerDims } });
  const allocated = ({ dtype, shape }: TensorSpec): DeviceBuffer =>
    device.allocate(tensorBytes(dtype, resolveShape(shape, layerDims)));
  const { state, outputs } = executable.signature;
  const kept = Object.entries({ ...state, ...outputs }).map(([name, spec]) => [name, allocated(spec)]);
  const buffers = Object.fromEntries(kept) as Record<string, DeviceBuffer>;
  const record = vi.spyOn(device.addon, 'record');
  const run = async (begin: number, tokens: number): Promise<Float32Array> => {
    const positions = Int32Array.from({ length: tokens }, (_, i) => begin + i);
    const given = {
      ids: positions.map((position) => (7 * position) % vocabulary),
      positions,
      slots: positions,
      starts: Int32Array.of(0),
      blocks: Int32Array.of(0, 1),
      rows: Int32Array.of(tokens - 1),
      parameters: new Float32Array(sampleParameters.length),
      controls: new Int32Array(sampleControls.length),
      biasIds: new Int32Array(1),
      biasValues: new Float32Array(1),
    };
    await executable.submit({ dims: { ...layerDims, tokens }, buffers: { ...given, ...buffers } }).done;
    const bytes = await device.read(buffers['logits']!, 0, 4 * vocabulary);
    return new Float32Array(bytes.buffer);
  };
  const logits = [await run(0, 8)];
  for (let position = 8; position < 20; position++) logits.push(await run(position, 1));
  const step = linksIn(record.mock.lastCall![2]);
  record.mockRestore();
  await device.close();
  return { logits, step };
}

describe.skipIf(!driver.present)(`a decoder layer (${driver.need})`, () => {
  it('has the same bits in chains, with fewer barriers', async () => {
    const [plain, chained] = [await decoded('0'), await decoded('1')];
    expect(plain.logits.every((row) => row.some((value) => value !== 0))).toBe(true);
    expect(chained.logits).toEqual(plain.logits);
    expect(chained.step.dispatches).toBe(plain.step.dispatches);
    // Between the dispatches of the layer; around the lookup and the sampler they stay.
    expect(plain.step.barriers - chained.step.barriers).toBeGreaterThanOrEqual(6);
  });
});
