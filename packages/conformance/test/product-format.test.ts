/**
 * What a device declares of its products bounds them: a device that stores as it declares passes, one that loses a bit
 * more fails, and so does one that declares a finer format than it has.
 */
import {
  floatToBfloat,
  floatToHalf,
  bfloatToFloat,
  halfToFloat,
  HostTensor,
  referenceBackend,
  type ActivationFormat,
  type Device,
  type DeviceInfo,
  type PackedWeightFormat,
} from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { conformanceCases, runCase } from '../src/index.js';
import { keepsNonFinite, productFormat } from '../src/product-format.js';
import { misunderstandingDevice, wrapDevice } from './faulty-backend.js';

const [description] = await referenceBackend.probe();
const full = (description as { info: DeviceInfo }).info;
const info: DeviceInfo = { ...full, dtypes: { weights: ['f32', 'q8_0'], kv: ['f32'] } };
const cases = conformanceCases(info).filter(
  ({ op, name }) => ['matmul', 'attention'].includes(op) || /^chain .*\bf32/.test(name),
);

/** Names of the cases of an op that a device fails at precision `fast`. */
async function failures(device: Device, op: string): Promise<string[]> {
  const keeps = keepsNonFinite(productFormat(device.info, 'fast'));
  const failed: string[] = [];
  for (const test of cases) {
    if (test.op !== op || (test.nonFinite && !keeps)) continue;
    await runCase(device, test, 'fast').catch((error: Error) => {
      expect(error.name, error.message).toBe('ConformanceFailure');
      failed.push(test.name);
    });
  }
  return failed;
}

/** One scale for the elements given. */
function toInt8(values: Float32Array): void {
  const scale = values.reduce((top, value) => Math.max(top, Math.abs(value)), 0) / 127;
  values.forEach((value, i) => (values[i] = scale === 0 ? 0 : Math.round(value / scale) * scale));
}

function store(format: ActivationFormat, x: HostTensor): HostTensor {
  const values = x.floats.slice();
  if (format.kind === 'float') {
    const round = {
      f32: (value: number) => value,
      f16: (value: number) => halfToFloat(floatToHalf(value)),
      bf16: (value: number) => bfloatToFloat(floatToBfloat(value)),
    }[format.dtype];
    return HostTensor.f32(x.shape, values.map(round));
  }
  if (format.scale === 'tensor') toInt8(values);
  for (let row = 0; row < x.rows && format.scale !== 'tensor'; row++) {
    const line = values.subarray(row * x.columns, (row + 1) * x.columns);
    const block = format.scale === 'block' ? format.blockSize : x.columns;
    for (let start = 0; start < x.columns; start += block) toInt8(line.subarray(start, start + block));
  }
  return HostTensor.f32(x.shape, values);
}

/** A device that stores what enters a product, `loss` times as far off as it must be. */
async function storing(format: ActivationFormat, declared: ActivationFormat, loss = 1): Promise<Device> {
  const device = await misunderstandingDevice('matmul', (evaluation, original) => {
    const exact = evaluation.inputs.x!;
    const x = store(format, exact);
    x.floats.forEach((value, i) => {
      if (Number.isFinite(value)) x.floats[i] = exact.floats[i]! + loss * (value - exact.floats[i]!);
    });
    original({ ...evaluation, inputs: { ...evaluation.inputs, x } });
  });
  return wrapDevice(device, { info: { ...info, activations: { ...info.activations, fast: declared } } });
}

const formats: readonly (readonly [name: string, format: ActivationFormat])[] = [
  ['f16', { kind: 'float', dtype: 'f16' }],
  ['bf16', { kind: 'float', dtype: 'bf16' }],
  ['int8 with a scale for 32', { kind: 'int8', scale: 'block', blockSize: 32 }],
  ['int8 with a scale for 48', { kind: 'int8', scale: 'block', blockSize: 48 }],
  ['int8 with a scale for a row', { kind: 'int8', scale: 'row' }],
  ['int8 with a scale for a tensor', { kind: 'int8', scale: 'tensor' }],
];

describe.each(formats)('activations in %s', (_name, format) => {
  it('pass where they are declared', async () => {
    const device = await storing(format, format);
    expect(await failures(device, 'matmul')).toEqual([]);
    expect(await failures(device, 'chain')).toEqual([]);
  });

  it('fail with six times the error', async () => {
    const failed = await failures(await storing(format, format, 6), 'matmul');
    expect(failed).toContain('matmul f32 33x97 by 37');
    expect(failed).toContain('matmul q8_0 3x1024 by 23 outlier columns');
  });

  it('fail where floats are declared', async () => {
    const failed = await failures(await storing(format, { kind: 'float', dtype: 'f32' }), 'matmul');
    expect(failed).toContain('matmul f32 7x31 by 13');
    expect(failed).toContain('matmul q8_0 1x96 by 67');
  });
});

describe('a device that declares a finer format than it has', () => {
  const block: ActivationFormat = { kind: 'int8', scale: 'block', blockSize: 32 };
  const row: ActivationFormat = { kind: 'int8', scale: 'row' };
  const tensor: ActivationFormat = { kind: 'int8', scale: 'tensor' };
  const f16: ActivationFormat = { kind: 'float', dtype: 'f16' };
  const bf16: ActivationFormat = { kind: 'float', dtype: 'bf16' };

  it.each([
    ['a row instead of 32 elements', row, block],
    ['a tensor instead of 32 elements', tensor, block],
    ['bf16 instead of f16', bf16, f16],
    ['int8 instead of f16', block, f16],
  ] as const)('%s fails', async (_name, format, declared) => {
    const failed = await failures(await storing(format, declared), 'matmul');
    expect(failed).toContain('matmul q8_0 3x1024 by 23 outlier columns');
  });

  it('a row instead of 32 elements fails in a chain, by the outlier columns', async () => {
    const failed = await failures(await storing(row, block), 'chain');
    expect(failed).toContain('chain norm and matmul f32 outlier columns');
  });
});

describe('weights packed into int8', () => {
  const rows: PackedWeightFormat = { kind: 'int8', scale: 'row' };

  async function packing(declared: PackedWeightFormat | undefined, loss = 1): Promise<Device> {
    const device = await misunderstandingDevice('matmul', (evaluation, original) => {
      const { weight } = evaluation.inputs;
      const exact = HostTensor.f32(weight!.shape, weight!.toFloats());
      const packed = store({ kind: 'int8', scale: 'row' }, exact);
      packed.floats.forEach((value, i) => {
        packed.floats[i] = exact.floats[i]! + loss * (value - exact.floats[i]!);
      });
      original({ ...evaluation, inputs: { ...evaluation.inputs, weight: packed } });
    });
    return wrapDevice(device, {
      info: { ...info, ...(declared ? { packedWeights: { fast: declared } } : {}) },
    });
  }

  it('pass where they are declared', async () => {
    const device = await packing(rows);
    expect(await failures(device, 'matmul')).toEqual([]);
    expect(await failures(device, 'chain')).toEqual([]);
  });

  it('fail with six times the error, and where they are not declared', async () => {
    for (const device of [await packing(rows, 6), await packing(undefined)]) {
      expect(await failures(device, 'matmul')).toContain('matmul f32 33x97 by 37');
    }
  });
});

describe('queries of attention', () => {
  const block: ActivationFormat = { kind: 'int8', scale: 'block', blockSize: 32 };

  async function quantizing(declared: ActivationFormat): Promise<Device> {
    const device = await misunderstandingDevice('attention', (evaluation, original) => {
      const query = store(block, evaluation.inputs.query!);
      original({ ...evaluation, inputs: { ...evaluation.inputs, query } });
    });
    return wrapDevice(device, { info: { ...info, activations: { ...info.activations, fast: declared } } });
  }

  it('may be stored as activations are', async () => {
    expect(await failures(await quantizing(block), 'attention')).toEqual([]);
  });

  it('keep every bit where activations do', async () => {
    const failed = await failures(await quantizing({ kind: 'float', dtype: 'f32' }), 'attention');
    expect(failed).toContain('attention f32 ragged');
  });
});
