/** Ops whose state has a slot for each sequence: any cut into steps gives the same numbers, and a snapshot is a way back. */
import { describe, expect, it } from 'vitest';
import { HostTensor } from '../../src/index.js';
import { evaluateOp, f32, i32 } from './evaluate-op.js';

const scattered = (count: number, seed: number) =>
  Array.from({ length: count }, (_, i) => Math.sin(seed + 7.3 * i));
type Run = (state: HostTensor, rows: readonly [number, number], slots: readonly [number, number]) => number[];

const rowsOf = (tensor: HostTensor, [begin, end]: readonly [number, number]): HostTensor => {
  const inner = tensor.elements / tensor.shape[0]!;
  return f32([end - begin, ...tensor.shape.slice(1)], tensor.floats.subarray(begin * inner, end * inner));
};

const x = f32([9, 2], scattered(18, 1));
const weight = f32([2, 3], scattered(6, 2));
const conv: Run = (state, rows, slots) => {
  const inputs = { state, x: rowsOf(x, rows), weight, starts: i32([1], [0]), slots: i32([1, 2], slots) };
  return [...evaluateOp('causalConv', inputs)[0]!.floats];
};

const tokens = {
  query: f32([9, 1, 3], scattered(27, 3)),
  key: f32([9, 1, 3], scattered(27, 4)),
  value: f32([9, 2, 2], scattered(36, 5)),
  decay: f32([9, 2], scattered(18, 6)),
  beta: f32([9, 2], scattered(18, 7)),
};
const delta: Run = (state, rows, slots) => {
  const own = Object.fromEntries(
    Object.entries(tokens).map(([name, tensor]) => [name, rowsOf(tensor, rows)]),
  );
  const inputs = { state, ...own, starts: i32([1], [0]), slots: i32([1, 2], slots) };
  return [...evaluateOp('gatedDelta', inputs)[0]!.floats];
};

describe.each([
  ['causalConv', conv, [4, 2, 2]],
  ['gatedDelta', delta, [4, 2, 3, 2]],
] as const)('%s', (_, run, shape) => {
  it('is the same in steps, in other slots, and after a rollback', () => {
    const whole = run(HostTensor.zeros('f32', shape), [0, 9], [0, 1]);
    const state = HostTensor.zeros('f32', shape);
    const first = run(state, [0, 4], [0, 2]);
    // A guess that is not kept goes to another slot; what it began with stays.
    run(state, [6, 9], [2, 3]);
    const second = run(state, [4, 5], [2, 2]);
    evaluateOp('copySlots', { state, pairs: i32([1, 2], [2, 1]) });
    run(state, [0, 3], [2, 2]);
    expect([...first, ...second, ...run(state, [5, 9], [1, 1])]).toEqual(whole);
  });

  it('reads slot 0 as zeros and keeps nothing in it', () => {
    const state = f32(shape, new Array<number>(shape.reduce((a, b) => a * b, 1)).fill(7));
    const first = run(state, [0, 3], [0, 0]);
    expect(first).toEqual(run(HostTensor.zeros('f32', shape), [0, 3], [0, 1]));
    expect(state.floats.every((value) => value === 7)).toBe(true);
  });
});

it('gatedDelta recalls what it stored under a key of unit norm', () => {
  const inputs = {
    state: HostTensor.zeros('f32', [2, 1, 2, 1]),
    query: f32([2, 1, 2], [0, 1, 1, 0]),
    key: f32([2, 1, 2], [1, 0, 0, 1]),
    value: f32([2, 1, 1], [3, 5]),
    decay: f32([2, 1], [0, Math.log(0.5)]),
    beta: f32([2, 1], [1, 1]),
    starts: i32([1], [0]),
    slots: i32([1, 2], [0, 1]),
  };
  // The first token asks for the other key; the second for the first one's value, which has decayed by half.
  expect([...evaluateOp('gatedDelta', inputs)[0]!.floats]).toEqual([0, 1.5]);
});
