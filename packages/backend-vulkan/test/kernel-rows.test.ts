/**
 * Element-wise and row-wise kernels where the conformance suite does not go: functions over their whole range against
 * float64, sizes past one workgroup and past one axis of the grid, deep broadcasts, units of one and two bytes.
 */
import { findOp, HostTensor, type ActivationKind, type DType } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { add, broadcastAxes } from '../src/kernel/broadcast.js';
import { activation, scale } from '../src/kernel/elementwise.js';
import { concat, copy, slice, takeRows } from '../src/kernel/move.js';
import { rmsNorm } from '../src/kernel/norm.js';
import { rope, ropeTable } from '../src/kernel/rope.js';
import { kernelProblem, KernelRun } from './kernel-run.js';
import { normals, uniforms } from './random.js';

const problem = kernelProblem();

/** Distance in units of f32 of the expected value's magnitude, at least of `least`. */
function units(actual: number, expected: number, least: number): number {
  const size = Math.max(Math.abs(expected), least, 2 ** -126);
  return Math.abs(actual - expected) / (size * 2 ** -24);
}

describe.skipIf(problem !== undefined)(`row kernels${problem ? ` (${problem})` : ''}`, () => {
  let run: KernelRun;
  beforeAll(() => {
    run = KernelRun.open();
  });
  afterAll(() => {
    expect(run.close()).toEqual([]);
  });

  /** From 2^-30 to 2^7, either sign. */
  function wideNumbers(count: number): Float32Array {
    const uniform = uniforms(11);
    return Float32Array.from(
      { length: count },
      () => (uniform() < 0.5 ? -1 : 1) * 2 ** (37 * uniform() - 30),
    );
  }

  const functions: Record<
    ActivationKind,
    { f: (x: number) => number; least: (x: number) => number; units: number }
  > = {
    // Relative to |x| where the function is x times something that cancels or vanishes.
    silu: { f: (x) => x / (1 + Math.exp(-x)), least: () => 0, units: 8 },
    geluTanh: {
      f: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
      least: Math.abs,
      units: 8,
    },
    relu: { f: (x) => Math.max(x, 0), least: () => 0, units: 0 },
    tanh: { f: Math.tanh, least: () => 0, units: 6 },
    sigmoid: { f: (x) => 1 / (1 + Math.exp(-x)), least: () => 0, units: 6 },
  };

  for (const [kind, { f, least, units: limit }] of Object.entries(functions)) {
    it(`${kind} within ${limit} units`, async () => {
      // Beyond -80 exp(-x) leaves what f32 divides by exactly.
      const values = wideNumbers(20_011).map((x) => Math.max(x, -80));
      const x = await run.tensor(HostTensor.f32([values.length], values));
      const out = await run.operand('f32', [values.length]);
      await run.run(activation.dispatch({ x, out, activation: kind as ActivationKind }, run.traits));
      const result = (await run.read(out)).floats;
      let worst = 0;
      for (let i = 0; i < values.length; i++) {
        worst = Math.max(worst, units(result[i]!, f(values[i]!), least(values[i]!)));
      }
      expect(worst).toBeLessThanOrEqual(limit);
    });
  }

  it('turns by any angle that f32 holds, within 2^-22', async () => {
    const positions = [0, 1, 2, 7, 100, 8191, 131_071, 1_000_003, 16_777_216, 2 ** 31 - 1, -5];
    const pairs = 257;
    const uniform = uniforms(3);
    const frequencies = Float32Array.from({ length: pairs }, (_, i) =>
      i === 0 ? 1 : uniform() * 10 ** (-i / 40),
    );
    const table = await run.operand('f32', [positions.length, 2, pairs]);
    await run.run(
      ropeTable.dispatch(
        {
          positions: await run.tensor(HostTensor.i32([positions.length], positions)),
          frequencies: await run.tensor(HostTensor.f32([pairs], frequencies)),
          out: table,
          magnitude: 1,
        },
        run.traits,
      ),
    );
    const result = (await run.read(table)).floats;
    let worst = 0;
    positions.forEach((position, row) => {
      for (let pair = 0; pair < pairs; pair++) {
        const angle = Math.fround(Math.fround(position) * frequencies[pair]!);
        worst = Math.max(worst, Math.abs(result[2 * row * pairs + pair]! - Math.cos(angle)));
        worst = Math.max(worst, Math.abs(result[(2 * row + 1) * pairs + pair]! - Math.sin(angle)));
      }
    });
    expect(worst).toBeLessThan(2 ** -22);
  });

  it('turns heads in place', async () => {
    const x = HostTensor.f32([3, 5, 22], normals(330, 8));
    const positions = HostTensor.i32([3], [4, 0, 977]);
    const frequencies = HostTensor.f32(
      [7],
      Float32Array.from({ length: 7 }, (_, i) => 10 ** -i),
    );
    const expected = HostTensor.zeros('f32', x.shape);
    const attributes = { layout: 'interleaved', magnitude: 1.5 };
    findOp('rope').evaluate({ inputs: { x, positions, frequencies }, attributes, outputs: [expected] });
    const own = await run.tensor(x);
    const table = await run.operand('f32', [3, 2, 7]);
    await run.run([
      ...ropeTable.dispatch(
        {
          positions: await run.tensor(positions),
          frequencies: await run.tensor(frequencies),
          out: table,
          magnitude: 1.5,
        },
        run.traits,
      ),
      ...rope.dispatch({ x: own, table, out: own, layout: 'interleaved' }, run.traits),
    ]);
    const result = (await run.read(own)).floats;
    result.forEach((value, i) => expect(value).toBeCloseTo(expected.floats[i]!, 5));
  });

  it('adds to a normed row, and scales the sum, as steps of their own would', async () => {
    const shape = [5, 333];
    const floats = (seed: number, size = 5 * 333) => normals(size, seed);
    const given = (seed: number) => run.tensor(HostTensor.f32(shape, floats(seed)));
    const [x, first, second] = [await given(1), await given(2), await given(3)];
    const weight = await run.tensor(HostTensor.f32([333], floats(4, 333)));
    const [expected, out] = [await run.operand('f32', shape), await run.operand('f32', shape)];
    const call = { x, weight, epsilon: 1e-6, weightOffset: 1 };
    await run.run([
      ...rmsNorm.dispatch({ ...call, out: expected }, run.traits),
      ...add.dispatch({ a: first, b: expected, out: expected }, run.traits),
      ...add.dispatch({ a: expected, b: second, out: expected }, run.traits),
      ...scale.dispatch({ x: expected, out: expected, factor: Math.SQRT1_2 }, run.traits),
    ]);
    await run.run(
      rmsNorm.dispatch({ ...call, addends: [first, second], scale: Math.SQRT1_2, out }, run.traits),
    );
    const wanted = (await run.read(expected)).bytes;
    expect((await run.read(out)).bytes).toEqual(wanted);
    // In place of an addend.
    await run.run(
      rmsNorm.dispatch({ ...call, addends: [first, second], scale: Math.SQRT1_2, out: second }, run.traits),
    );
    expect((await run.read(second)).bytes).toEqual(wanted);
  });

  it('norms more rows than one axis of the grid has', async () => {
    const [rows, features] = [65_601, 3];
    const x = HostTensor.f32([rows, features], normals(rows * features, 4));
    const expected = HostTensor.zeros('f32', x.shape);
    findOp('rmsNorm').evaluate({
      inputs: { x },
      attributes: { epsilon: 1e-6, weightOffset: 0 },
      outputs: [expected],
    });
    const [given, out] = [await run.tensor(x), await run.operand('f32', x.shape)];
    const call = { x: given, out, epsilon: 1e-6, weightOffset: 0 };
    await run.run(rmsNorm.dispatch(call, run.traits));
    const result = (await run.read(out)).floats;
    const worst = result.reduce((most, value, i) => Math.max(most, Math.abs(value - expected.floats[i]!)), 0);
    expect(worst).toBeLessThan(1e-6);
  });

  it('broadcasts over eight axes that do not merge, and integers', async () => {
    const [a, b] = [
      [2, 1, 3, 1, 2, 1, 3, 1],
      [1, 3, 1, 2, 1, 2, 1, 5],
    ];
    const left = HostTensor.f32(a, normals(36, 1));
    const right = HostTensor.i32(
      b,
      Array.from({ length: 60 }, (_, i) => i - 30),
    );
    const shape = [2, 3, 3, 2, 2, 2, 3, 5];
    const expected = HostTensor.zeros('f32', shape);
    // The reference adds floats only.
    const asFloats = HostTensor.f32(b, Float32Array.from(right.integers));
    findOp('add').evaluate({ inputs: { a: left, b: asFloats }, attributes: {}, outputs: [expected] });
    const out = await run.operand('f32', shape);
    await run.run(add.dispatch({ a: await run.tensor(left), b: await run.tensor(right), out }, run.traits));
    expect((await run.read(out)).floats).toEqual(expected.floats);
  });

  for (const dtype of ['u8', 'f16', 'f32', 'i64'] as DType[]) {
    it(`moves ${dtype}`, async () => {
      const bytes = { u8: 1, f16: 2, f32: 4, i64: 8 }[dtype as string]!;
      const shape = [3, 5, 7];
      const uniform = uniforms(bytes);
      const x = new HostTensor(
        dtype,
        shape,
        Uint8Array.from({ length: 105 * bytes }, () => 256 * uniform()),
      );
      const rows = HostTensor.i32([4], [4, 0, 0, 2]);
      const expected = {
        slice: HostTensor.zeros(dtype, [3, 2, 7]),
        concat: HostTensor.zeros(dtype, [3, 7, 7]),
        takeRows: HostTensor.zeros(dtype, [3, 4, 7]),
      };
      const attributes = { axis: 1, start: 3, count: 2 };
      findOp('slice').evaluate({ inputs: { x }, attributes, outputs: [expected.slice] });
      findOp('concat').evaluate({
        inputs: { 0: x, 1: expected.slice },
        attributes,
        outputs: [expected.concat],
      });
      findOp('takeRows').evaluate({ inputs: { x, rows }, attributes, outputs: [expected.takeRows] });
      const given = await run.tensor(x);
      const out = {
        slice: await run.operand(dtype, expected.slice.shape),
        concat: await run.operand(dtype, expected.concat.shape),
        takeRows: await run.operand(dtype, expected.takeRows.shape),
        copy: await run.operand(dtype, shape),
      };
      const faults = run.faults;
      await run.run([
        ...slice.dispatch({ x: given, out: out.slice, axis: 1, start: 3 }, run.traits),
        ...concat.dispatch({ parts: [given, out.slice], out: out.concat, axis: 1 }, run.traits),
        ...takeRows.dispatch(
          { x: given, rows: await run.tensor(rows), out: out.takeRows, axis: 1, faults },
          run.traits,
        ),
        ...copy.dispatch({ x: given, out: out.copy }, run.traits),
      ]);
      expect((await run.read(out.slice)).bytes).toEqual(expected.slice.bytes);
      expect((await run.read(out.concat)).bytes).toEqual(expected.concat.bytes);
      expect((await run.read(out.takeRows)).bytes).toEqual(expected.takeRows.bytes);
      expect((await run.read(out.copy)).bytes).toEqual(x.bytes);
      expect(await run.takeFault()).toBe(0);
    });
  }

  it('copies rows that lie apart, and notes a row that there is not', async () => {
    const x = HostTensor.f32([4, 4], normals(16, 2));
    const out = await run.operand('f32', [4, 3]);
    const given = await run.tensor(x);
    await run.run(copy.dispatch({ x: { ...given, shape: [4, 3] }, rowStrideBytes: 16, out }, run.traits));
    const result = (await run.read(out)).floats;
    for (let i = 0; i < 12; i++) expect(result[i]).toBe(x.floats[Math.floor(i / 3) * 4 + (i % 3)]);
    const rows = await run.tensor(HostTensor.i32([3], [3, 4, -1]));
    const taken = await run.operand('f32', [3, 4]);
    await run.run(takeRows.dispatch({ x: given, rows, out: taken, axis: 0, faults: run.faults }, run.traits));
    expect(await run.takeFault()).toBe(5);
  });
});

describe('broadcastAxes', () => {
  it('merges what runs on', () => {
    expect(broadcastAxes([5, 7], [5, 7], [5, 7])).toEqual([{ dim: 35, a: 1, b: 1 }]);
    expect(broadcastAxes([4, 5, 7], [7], [4, 5, 7])).toEqual([
      { dim: 7, a: 1, b: 1 },
      { dim: 20, a: 7, b: 0 },
    ]);
    expect(broadcastAxes([1], [1, 1], [1, 1])).toEqual([{ dim: 1, a: 0, b: 0 }]);
  });
});
