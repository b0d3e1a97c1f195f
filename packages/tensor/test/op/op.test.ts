/** The meaning of each op, against numbers computed by hand or by another program (numpy, where noted). */
import { describe, expect, it } from 'vitest';
import { HostTensor, noToken, ops } from '../../src/index.js';
import { evaluateOp, f32, i32, valuesOf } from './evaluate-op.js';

/** Seven significant digits: what f32 holds. */
function expectClose(actual: readonly number[], wanted: readonly number[]): void {
  expect(actual).toHaveLength(wanted.length);
  wanted.forEach((value, i) =>
    expect(Math.abs(actual[i]! - value)).toBeLessThanOrEqual(1e-6 * (1 + Math.abs(value))),
  );
}

describe('declarations', () => {
  it('have unique names, operands that aliases and views name, and sane defaults', () => {
    expect(new Set(ops.map(({ name }) => name)).size).toBe(ops.length);
    for (const op of ops) {
      const operands = op.operands === 'list' ? [] : op.operands.map(({ name }) => name);
      for (const operand of [...Object.values(op.aliases ?? {}), ...Object.values(op.view ?? {})]) {
        expect(operands).toContain(operand);
      }
      for (const { default: value, values } of Object.values(op.attributes)) {
        if (values && value !== undefined) expect(values).toContain(value);
      }
    }
  });
});

describe('embed', () => {
  const table = f32([3, 2], [1, 2, 3, 4, 5, 6]);
  it('takes rows by id and scales them', () => {
    expect(valuesOf('embed', { ids: i32([3], [2, 0, 2]), table }, { scale: 10 })).toEqual([
      50, 60, 10, 20, 50, 60,
    ]);
  });
  it('refuses an id past the table, or takes row 0 for it; for a negative one only where it is no token', () => {
    const refused = expect.objectContaining({ code: 'usage/token-id' });
    expect(() => valuesOf('embed', { ids: i32([1], [3]), table })).toThrow(refused);
    expect(valuesOf('embed', { ids: i32([1], [3]), table }, { beyond: 'firstRow' })).toEqual([1, 2]);
    expect(() => valuesOf('embed', { ids: i32([1], [-2]), table }, { beyond: 'firstRow' })).toThrow(refused);
    expect(valuesOf('embed', { ids: i32([1], [noToken]), table })).toEqual([1, 2]);
  });
});

describe('norms', () => {
  it('rmsNorm divides by the root mean square', () => {
    // rms(3, 4) = sqrt(12.5)
    const x = f32([1, 2], [3, 4]);
    expectClose(valuesOf('rmsNorm', { x }, { epsilon: 0 }), [0.8485281, 1.1313708]);
    const weight = f32([2], [1, -0.5]);
    expectClose(valuesOf('rmsNorm', { x, weight }, { epsilon: 3.5, weightOffset: 1 }), [1.5, 0.5]);
  });
  it('matchRms gives x the magnitude of the reference', () => {
    const reference = f32([1, 2], [3, 4]);
    expectClose(valuesOf('matchRms', { x: f32([1, 2], [2, -2]), reference }), [3.5355339, -3.5355339]);
    // mean x^2 = 1e-6 is below the floor of 1e-4: divided by 0.01 instead of 0.001.
    expectClose(
      valuesOf('matchRms', { x: f32([1, 2], [1e-3, 1e-3]), reference }, { floor: 1e-4 }),
      [0.35355339, 0.35355339],
    );
  });
});

describe('matmul', () => {
  it('multiplies rows with rows', () => {
    const x = f32([2, 3], [1, 2, 3, 4, 5, 6]);
    const weight = f32([2, 3], [1, 0, -1, 10, 100, 1000]);
    expect(valuesOf('matmul', { x, weight })).toEqual([-2, 3210, -2, 6540]);
  });
  it('sums in f64: what f32 would lose stays', () => {
    const x = f32([1, 5], [1e8, 1, 1, 1, -1e8]);
    expect(valuesOf('matmul', { x, weight: f32([1, 5], [1, 1, 1, 1, 1]) })).toEqual([3]);
  });
  it('keeps leading axes', () => {
    const [y] = evaluateOp('matmul', { x: f32([2, 3, 1], [1, 2, 3, 4, 5, 6]), weight: f32([2, 1], [1, 2]) });
    expect(y!.shape).toEqual([2, 3, 2]);
  });
});

describe('rope', () => {
  const positions = i32([1], [1]);
  const frequencies = f32([1], [Math.PI / 2]);
  it('turns halves or neighbours by a quarter, and leaves the rest', () => {
    const x = f32([1, 1, 4], [1, 2, 3, 4]);
    // One pair of four elements: (0, 1) in both layouts, then (0, 2), (1, 3) with two pairs.
    expectClose(valuesOf('rope', { x, positions, frequencies }), [-2, 1, 3, 4]);
    const two = f32([2], [Math.PI / 2, Math.PI]);
    expectClose(valuesOf('rope', { x, positions, frequencies: two }), [-3, -2, 1, -4]);
    expectClose(
      valuesOf('rope', { x, positions, frequencies: two }, { layout: 'interleaved' }),
      [-2, 1, -3, -4],
    );
  });
  it('multiplies what it turns by the magnitude', () => {
    const x = f32([1, 1, 3], [1, 2, 3]);
    expectClose(valuesOf('rope', { x, positions, frequencies }, { magnitude: 2 }), [-4, 2, 3]);
  });
});

describe('nonlinear functions', () => {
  it.each([
    ['silu', [-0.26894142, 0, 1.7615942]],
    ['geluTanh', [-0.15880801, 0, 1.9545977]],
    ['relu', [0, 0, 2]],
    ['tanh', [-0.76159416, 0, 0.96402758]],
    ['sigmoid', [0.26894142, 0.5, 0.88079708]],
  ])('%s of -1, 0, 2 (PyTorch)', (kind, wanted) => {
    expectClose(valuesOf('activation', { x: f32([3], [-1, 0, 2]) }, { kind }), wanted);
    const gated = valuesOf('glu', { gate: f32([3], [-1, 0, 2]), up: f32([3], [10, 10, -10]) }, { kind });
    expectClose(gated, [10 * wanted[0]!, 10 * wanted[1]!, -10 * wanted[2]!]);
  });
  it('softcap bends towards the cap', () => {
    // 30 tanh(1) and 30 tanh(-10)
    expectClose(valuesOf('softcap', { x: f32([2], [30, -300]) }, { cap: 30 }), [22.847825, -29.9999999]);
  });
  it('gaussianTopK keeps what lies above mean + deviations', () => {
    // Mean 1, population deviation sqrt(3): the cut is 2.7320508.
    expectClose(
      valuesOf('gaussianTopK', { x: f32([1, 4], [0, 0, 0, 4]) }, { deviations: 1 }),
      [0, 0, 0, 1.2679492],
    );
  });
});

describe('arithmetic', () => {
  it('broadcasts as numpy does', () => {
    const a = f32([2, 1, 2], [1, 2, 3, 4]);
    const b = f32([3, 1], [10, 20, 30]);
    expect(valuesOf('add', { a, b })).toEqual([11, 12, 21, 22, 31, 32, 13, 14, 23, 24, 33, 34]);
    expect(valuesOf('multiply', { a: f32([2], [2, 3]), b: f32([2, 1], [1, 10]) })).toEqual([2, 3, 20, 30]);
  });
  it('takes the mean over the first axis', () => {
    expect(valuesOf('mean', { x: f32([2, 3], [1, 2, 3, 5, 6, 7]) })).toEqual([3, 4, 5]);
    expect(valuesOf('scale', { x: f32([2], [3, -4]) }, { factor: 0.5 })).toEqual([1.5, -2]);
  });
});

describe('rows of several sequences', () => {
  const x = f32([4, 2], [1, 2, 3, 4, 5, 6, 7, 8]);
  it('segmentMean pools each, an empty one to 0', () => {
    expect(valuesOf('segmentMean', { x, starts: i32([3], [0, 3, 3]) })).toEqual([3, 4, 0, 0, 7, 8]);
    for (const starts of [
      [2, 1],
      [-1, 2],
      [0, 5],
    ]) {
      expect(() => valuesOf('segmentMean', { x, starts: i32([2], starts) })).toThrow(
        expect.objectContaining({ code: 'usage/starts' }),
      );
    }
  });
  it('accumulateSquares adds to what is there', () => {
    const state = f32([2], [1000, 0]);
    evaluateOp('accumulateSquares', { state, x });
    expect([...state.floats]).toEqual([1084, 120]);
  });
});

describe('AltUp', () => {
  const streams = f32([2, 1, 2], [1, 2, 3, 4]);
  it('predicts each stream from all', () => {
    // Row b * 2 + a: stream 0 gains 1 x0 + 2 x1, stream 1 gains 3 x0 + 4 x1.
    const coefficients = f32([1, 4], [1, 2, 3, 4]);
    expect(valuesOf('altUpPredict', { streams, coefficients })).toEqual([8, 12, 18, 26]);
  });
  it('corrects by the innovation of the active stream', () => {
    const inputs = {
      predictions: streams,
      activated: f32([1, 2], [10, 10]),
      coefficients: f32([1, 2], [0, 1]),
    };
    expect(valuesOf('altUpCorrect', inputs)).toEqual([10, 10, 21, 20]);
    expect(valuesOf('altUpCorrect', inputs, { active: 1 })).toEqual([8, 8, 17, 16]);
  });
  it('injects into every stream but the active one', () => {
    expect(valuesOf('altUpInject', { streams, value: f32([1, 2], [100, 200]) })).toEqual([1, 2, 103, 204]);
  });
});

describe('layout', () => {
  const x = i32([2, 3], [1, 2, 3, 4, 5, 6]);
  it('moves elements of any scalar dtype', () => {
    expect(evaluateOp('reshape', { x }, { shape: [3, 2] })[0]!.shape).toEqual([3, 2]);
    expect(valuesOf('slice', { x }, { axis: 1, start: 1, count: 2 })).toEqual([2, 3, 5, 6]);
    expect(valuesOf('concat', { 0: x, 1: i32([2, 1], [7, 8]) }, { axis: 1 })).toEqual([
      1, 2, 3, 7, 4, 5, 6, 8,
    ]);
    expect(valuesOf('takeRows', { x, rows: i32([3], [1, 0, 1]) })).toEqual([4, 5, 6, 1, 2, 3, 4, 5, 6]);
    expect(valuesOf('takeRows', { x, rows: i32([1], [2]) }, { axis: 1 })).toEqual([3, 6]);
    expect(() => valuesOf('takeRows', { x, rows: i32([1], [2]) })).toThrow(
      expect.objectContaining({ code: 'usage/row' }),
    );
  });
  it('puts rows in the place of others', () => {
    const put = (at: number[]): unknown =>
      valuesOf('putRows', { x, rows: i32([2, 3], [7, 8, 9, 7, 8, 9]), at: i32([2], at) });
    expect(put([1, 1])).toEqual([1, 2, 3, 7, 8, 9]);
    expect(valuesOf('putRows', { x, rows: i32([0, 3], []), at: i32([0], []) })).toEqual([1, 2, 3, 4, 5, 6]);
    for (const row of [2, -1])
      expect(() => put([0, row])).toThrow(expect.objectContaining({ code: 'usage/row' }));
  });
  it('reads a view whose rows lie apart', () => {
    const stored = f32([2, 4], [0, 1, 2, 3, 10, 11, 12, 13]);
    const view = new HostTensor('f32', [2, 2], stored.bytes, 4, stored.rowStrideBytes);
    expect(valuesOf('reshape', { x: view }, { shape: [4] })).toEqual([1, 2, 11, 12]);
    expect(valuesOf('takeRows', { x: view, rows: i32([1], [1]) })).toEqual([11, 12]);
  });
});
