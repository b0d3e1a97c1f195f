/** The step over a layer's heads gives the bits of its plain twins: rmsNorm, rope and kvWrite one after the other. */
import { HostTensor, tensorBytes, type DType } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { faultCodes, type Operand } from '../src/kernel/operand.js';
import type { HeadPart, HeadsCall } from '../src/kernel/heads.js';
import { heads } from '../src/kernel/heads.js';
import { kvWrite } from '../src/kernel/kv-write.js';
import { rmsNorm } from '../src/kernel/norm.js';
import { rope, ropeTable } from '../src/kernel/rope.js';
import { kernelProblem, KernelRun } from './kernel-run.js';
import { normals } from './random.js';

const problem = kernelProblem();

interface Case {
  readonly rows: number;
  readonly queryHeads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Turned; none where 0. */
  readonly pairs: number;
  readonly layout?: 'half' | 'interleaved';
  readonly dtype: DType;
  /** `n` norm, `w` with a weight: of queries, keys and values. */
  readonly norms: readonly ['' | 'n' | 'w', '' | 'n' | 'w', '' | 'n' | 'w'];
}

const cases: Case[] = [
  { rows: 1, queryHeads: 4, kvHeads: 1, headDim: 256, pairs: 128, dtype: 'f16', norms: ['w', 'w', ''] },
  { rows: 3, queryHeads: 7, kvHeads: 1, headDim: 64, pairs: 32, dtype: 'f32', norms: ['', '', ''] },
  { rows: 5, queryHeads: 6, kvHeads: 3, headDim: 33, pairs: 11, dtype: 'f32', norms: ['w', 'n', 'n'] },
  {
    rows: 2,
    queryHeads: 3,
    kvHeads: 3,
    headDim: 22,
    pairs: 7,
    layout: 'interleaved',
    dtype: 'bf16',
    norms: ['n', '', 'w'],
  },
  { rows: 17, queryHeads: 4, kvHeads: 2, headDim: 96, pairs: 48, dtype: 'q8_0', norms: ['w', 'w', 'n'] },
  {
    rows: 9,
    queryHeads: 2,
    kvHeads: 1,
    headDim: 512,
    pairs: 100,
    layout: 'interleaved',
    dtype: 'q8_0',
    norms: ['w', 'w', 'w'],
  },
  { rows: 4, queryHeads: 1, kvHeads: 1, headDim: 1, pairs: 0, dtype: 'f16', norms: ['n', 'w', ''] },
  { rows: 6, queryHeads: 0, kvHeads: 5, headDim: 80, pairs: 40, dtype: 'f16', norms: ['', '', ''] },
  { rows: 6, queryHeads: 8, kvHeads: 0, headDim: 128, pairs: 64, dtype: 'f16', norms: ['w', '', ''] },
];

describe.skipIf(problem !== undefined)(`heads${problem ? ` (${problem})` : ''}`, () => {
  let run: KernelRun;
  beforeAll(() => {
    run = KernelRun.open();
  });
  afterAll(() => {
    expect(run.close()).toEqual([]);
  });

  const floats = (shape: number[], seed: number, scale = 1): Promise<Operand> =>
    run.tensor(
      HostTensor.f32(
        shape,
        normals(
          shape.reduce((a, b) => a * b, 1),
          seed,
        ).map((x) => x * scale),
      ),
    );

  const blockTokens = 4;

  async function statesOf({ rows, kvHeads, headDim, dtype }: Case): Promise<[Operand, Operand]> {
    const shape = [Math.ceil(rows / blockTokens) + 1, 2, kvHeads, blockTokens, headDim];
    const junk = new Uint8Array(tensorBytes(dtype, shape)).fill(0x11);
    return [await run.operand(dtype, shape, junk), await run.operand(dtype, shape, junk)];
  }

  /** What the plain kernels make of a part, in place of it. */
  function plainly(part: HeadPart | undefined, call: HeadsCall) {
    if (!part) return [];
    const { x, weight } = part;
    const { epsilon, weightOffset } = call;
    return [
      ...(part.normed
        ? rmsNorm.dispatch({ x, out: x, epsilon, weightOffset, ...(weight ? { weight } : {}) }, run.traits)
        : []),
      ...(part.turned && call.rope ? rope.dispatch({ x, out: x, ...call.rope }, run.traits) : []),
    ];
  }

  it.each(cases)('$rows rows of $queryHeads+$kvHeads heads of $headDim, $norms, into $dtype', async (one) => {
    const { rows, queryHeads, kvHeads, headDim, pairs, layout = 'half', norms } = one;
    const table = await run.operand('f32', [rows, 2, Math.max(1, pairs)]);
    const part = async (count: number, norm: string, seed: number, turned: boolean): Promise<HeadPart> => ({
      x: await floats([rows, count, headDim], seed, 0.3 * seed),
      normed: norm !== '',
      ...(norm === 'w' ? { weight: await floats([headDim], seed + 10) } : {}),
      turned,
    });
    const query = queryHeads > 0 ? await part(queryHeads, norms[0], 1, pairs > 0) : undefined;
    const key = await part(Math.max(1, kvHeads), norms[1], 2, pairs > 0);
    const value = await part(Math.max(1, kvHeads), norms[2], 3, false);
    const [state, expectedState] = kvHeads > 0 ? await statesOf(one) : [];
    const slots = await run.tensor(
      HostTensor.i32(
        [rows],
        Array.from({ length: rows }, (_, i) => rows - i),
      ),
    );
    const out = query && (await run.operand('f32', query.x.shape));
    const call: HeadsCall = {
      ...(query && out ? { query: { ...query, out } } : {}),
      ...(state ? { stored: { key, value, state, slots } } : {}),
      epsilon: 1e-6,
      weightOffset: 1,
      ...(pairs > 0 ? { rope: { table, layout } } : {}),
      faults: run.faults,
    };
    if (pairs > 0) {
      const positions = await run.tensor(
        HostTensor.i32(
          [rows],
          Array.from({ length: rows }, (_, i) => 3 * i + 1),
        ),
      );
      const frequencies = await run.tensor(
        HostTensor.f32(
          [pairs],
          Array.from({ length: pairs }, (_, i) => 10_000 ** (-i / pairs)),
        ),
      );
      await run.run(ropeTable.dispatch({ positions, frequencies, out: table, magnitude: 1.5 }, run.traits));
    }
    await run.run(heads.dispatch(call, run.traits));
    const results = [out && (await run.read(out)).bytes, state && (await run.read(state)).bytes];
    // In place, which the fused step may do with queries too.
    await run.run([
      ...plainly(query, call),
      ...(state ? [...plainly(key, call), ...plainly(value, call)] : []),
    ]);
    if (expectedState) {
      await run.run(
        kvWrite.dispatch(
          { state: expectedState, key: key.x, value: value.x, slots, faults: run.faults },
          run.traits,
        ),
      );
    }
    expect(results[0]).toEqual(query && (await run.read(query.x)).bytes);
    expect(results[1]).toEqual(expectedState && (await run.read(expectedState)).bytes);
    expect(await run.takeFault()).toBe(0);
  });

  it('turns queries in place, and notes a slot that there is not without writing it', async () => {
    const one: Case = { ...cases[1]!, rows: 2 };
    const [state, before] = await statesOf(one);
    const x = await floats([2, 1, 64], 5);
    const weight = await floats([64], 6);
    const expected = await run.operand('f32', [2, 1, 64]);
    await run.run(rmsNorm.dispatch({ x, weight, out: expected, epsilon: 1e-6, weightOffset: 0 }, run.traits));
    const key: HeadPart = { x: await floats([2, 1, 64], 7), normed: false, turned: false };
    await run.run(
      heads.dispatch(
        {
          query: { x, weight, normed: true, turned: false, out: x },
          stored: { key, value: key, state, slots: await run.tensor(HostTensor.i32([2], [-1, 4 * 2])) },
          epsilon: 1e-6,
          weightOffset: 0,
          faults: run.faults,
        },
        run.traits,
      ),
    );
    expect((await run.read(x)).bytes).toEqual((await run.read(expected)).bytes);
    expect((await run.read(state)).bytes).toEqual((await run.read(before)).bytes);
    expect(await run.takeFault()).toBe(faultCodes.slot);
  });

  it('has nothing to do without rows', async () => {
    const key: HeadPart = { x: await run.operand('f32', [0, 1, 64]), normed: false, turned: false };
    const query = { ...key, out: key.x };
    expect(heads.dispatch({ query, epsilon: 0, weightOffset: 0, faults: run.faults }, run.traits)).toEqual(
      [],
    );
  });
});
