/** Chains on a device: the results of barriers, and back to barriers when a wait was given up. */
import { randomWeight } from '@unicorn-exec/conformance';
import { GraphBuilder, HostTensor, type Executable, type Graph } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { chainVariable, withChains } from '../src/chain.js';
import type { Dispatch } from '../src/dispatch.js';
import type { VulkanDevice } from '../src/device.js';
import { faultError } from '../src/faults.js';
import { vulkanBackend } from '../src/index.js';
import { heads } from '../src/kernel/heads.js';
import { faultCodes, type Operand } from '../src/kernel/operand.js';
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
      return { dispatches: heads({ query, ...common }, run.traits), out };
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
});

const [columns, rows] = [64, 96];

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
    /** Of the dispatches of a recording those with a barrier. */
    const barriers = (): number => {
      const [, , words] = record.mock.lastCall!;
      let [count, at] = [0, 0];
      for (; at < words.length; at += 6 + words[at + 5]!) count += words[at + 4]!;
      return count;
    };
    expect(barriers()).toBe(1);

    const stalled = vi
      .spyOn(device.faults, 'give')
      .mockImplementationOnce(() => faultError(faultCodes.stalled, 7, 3));
    await expect(computed(executable)).rejects.toMatchObject({
      code: 'device/stalled',
      fields: { value: 7 },
    });
    stalled.mockRestore();
    for (const one of [executable, other]) {
      record.mockClear();
      expect(await computed(one)).toEqual(before);
      expect(record).toHaveBeenCalledOnce();
      expect(barriers()).toBe(4);
    }
    record.mockRestore();
    executable.dispose();
    other.dispose();
  });
});
