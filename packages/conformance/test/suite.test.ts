/** The suite's own rules: every op is covered, names are unique, declarations are enforced, benchmarks run. */
import {
  blockDTypes,
  decodeRow,
  dtypeLayout,
  kvDTypes,
  ops,
  referenceBackend,
  type DeviceInfo,
} from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import {
  benchBackend,
  benchmarkCases,
  conformanceCases,
  contractCases,
  coveredOps,
  randomWeight,
  rowInvariance,
  scenarioInvariances,
} from '../src/index.js';

const [description] = await referenceBackend.probe();
const info = (description as { info: DeviceInfo }).info;

describe('the list of cases', () => {
  const cases = conformanceCases(info);

  it('covers every op', () => {
    expect([...coveredOps].sort()).toEqual(ops.map(({ name }) => name).sort());
    for (const op of coveredOps) expect(cases.filter((test) => test.op === op).length).toBeGreaterThan(2);
  });

  it('covers every weight and KV dtype of the device', () => {
    for (const dtype of info.dtypes.weights) {
      for (const op of ['matmul', 'embed'])
        expect(cases.some(({ name }) => name.startsWith(`${op} ${dtype} `))).toBe(true);
    }
    for (const dtype of kvDTypes) {
      for (const op of ['kvWrite', 'attention'])
        expect(cases.some(({ name }) => name.startsWith(`${op} ${dtype} `))).toBe(true);
    }
  });

  it('names each case once, by its op', () => {
    const names = [
      ...cases.map(({ name }) => name),
      ...cases.flatMap((test) => rowInvariance(test)?.name ?? []),
      ...scenarioInvariances(info).map(({ name }) => name),
      ...contractCases.map(({ name }) => name),
    ];
    expect(new Set(names).size).toBe(names.length);
    for (const { name, op } of [...cases, ...benchmarkCases(info)]) expect(name.split(' ')[0]).toBe(op);
  });

  it('leaves out what the device does not list', () => {
    const small: DeviceInfo = { ...info, dtypes: { weights: ['f32', 'q4_0'], kv: ['f16'] } };
    const names = conformanceCases(small).map(({ name }) => name);
    expect(names.some((name) => /\b(q8_0|bf16|q4_k)\b/.test(name))).toBe(false);
    expect(names.length).toBeLessThan(cases.length / 2);
  });

  it('makes the same problem each time', () => {
    const test = cases.find(({ name }) => name.startsWith('matmul q4_k 7x'))!;
    const [a, b] = [test.make([0, 1]), test.make([1])];
    expect(test.make([0, 1]).tensors.x!.bytes).toEqual(a.tensors.x!.bytes);
    expect(a.weights[0]!.source).toEqual(b.weights[0]!.source);
    // Row 1 is the same content in both batches.
    const columns = a.tensors.x!.columns;
    expect(a.tensors.x!.floats.slice(columns)).toEqual(b.tensors.x!.floats);
  });
});

describe('random weights', () => {
  it.each(blockDTypes)('%s are finite and of unit norm', (dtype) => {
    const columns = dtypeLayout(dtype).blockSize * 4;
    const rows = 8;
    const out = new Float32Array(rows * columns);
    decodeRow(dtype, randomWeight(dtype, rows, columns, 'test'), 0, out.length, out);
    expect(out.every(Number.isFinite)).toBe(true);
    const norm = Math.sqrt(out.reduce((sum, value) => sum + value * value, 0) / rows);
    // Scales vary by a factor of three, and mxfp4 and nvfp4 round them to powers of two or so.
    expect(norm).toBeGreaterThan(0.4);
    expect(norm).toBeLessThan(2.5);
  });
});

describe('benchBackend', () => {
  it('prints error, time and bytes of each case', async () => {
    const lines: string[] = [];
    const rows = await benchBackend(referenceBackend, {
      only: /^(scale|mean|rope)/,
      secondsPerCase: 0,
      print: (line) => lines.push(line),
    });
    expect(rows.map(({ name }) => name.split(' ')[0])).toEqual(['rope', 'scale', 'mean']);
    for (const { error, seconds, bytes, flops } of rows) {
      expect(error).toBe(0);
      expect(seconds).toBeGreaterThan(0);
      expect(bytes).toBeGreaterThan(0);
      expect(flops).toBeGreaterThan(0);
    }
    expect(rows[1]!.bytes).toBe(2 * 4 * 64 * 2048);
    expect(lines).toHaveLength(2 + rows.length);
    expect(lines[1]).toMatch(/error +ms +MB +GB\/s/);
  });

  it('says why there is no device', async () => {
    const absent = {
      ...referenceBackend,
      probe: async () => [
        { id: 'gpu', name: 'GPU', usable: false as const, reason: 'the driver is missing' },
      ],
    };
    await expect(benchBackend(absent, { print: () => {} })).rejects.toMatchObject({
      code: 'device/unavailable',
      message: expect.stringContaining('the driver is missing'),
    });
  });
});
