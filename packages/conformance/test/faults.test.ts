/** The suite must see faults: broken devices fail it, and a device that does what `fast` allows passes. */
import {
  HostTensor,
  referenceBackend,
  type Device,
  type DeviceInfo,
  type Evaluation,
  type HostTensor as Tensor,
} from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import {
  conformanceCases,
  contractCases,
  rowInvariance,
  runCase,
  runInvariance,
  scenarioInvariances,
  type Case,
} from '../src/index.js';
import { keepsNonFinite, productFormat } from '../src/product-format.js';
import { backendOf, meddlingDevice, misunderstandingDevice, wrapDevice } from './faulty-backend.js';

const [description] = await referenceBackend.probe();
const info = (description as { info: DeviceInfo }).info;
const cases = conformanceCases(info);

function caseNamed(name: string): Case {
  const test = cases.find((candidate) => candidate.name === name);
  if (!test) throw new Error(`There is no case "${name}".`);
  return test;
}

const plain = caseNamed('matmul f32 7x31 by 13');

/** Names of the cases of an op that a device fails. */
async function failures(device: Device, op: string, precision: 'f32' | 'fast' = 'f32'): Promise<string[]> {
  const failed: string[] = [];
  for (const test of cases.filter((candidate) => candidate.op === op)) {
    if (test.nonFinite && !keepsNonFinite(productFormat(device.info, precision))) continue;
    await runCase(device, test, precision).catch((error: Error) => {
      expect(error.name).toBe('ConformanceFailure');
      failed.push(test.name);
    });
  }
  return failed;
}

describe('a device that', () => {
  it('changes the lowest bits of one element fails', async () => {
    const device = await meddlingDevice((memory) => {
      const { host, byteOffset } = memory('y')!;
      const values = new Float32Array(host.buffer, host.byteOffset + byteOffset, 91);
      values[41]! *= 1 + 2 ** -12;
    });
    await expect(runCase(device, plain, 'f32')).rejects.toThrow(/element \[3, 2\]/);
  });

  it('writes past the end fails', async () => {
    const device = await meddlingDevice((memory) => {
      const { host, byteOffset } = memory('y')!;
      host[byteOffset + 4 * 91 + 6]! ^= 1;
    });
    await expect(runCase(device, plain, 'f32')).rejects.toThrow(/6 bytes after the end of "y"/);
  });

  it('writes before the start fails', async () => {
    const device = await meddlingDevice((memory) => {
      const { host, byteOffset } = memory('y')!;
      host[byteOffset - 1]! ^= 128;
    });
    await expect(runCase(device, plain, 'f32')).rejects.toThrow(/1 bytes before "y"/);
  });

  it('uses an input as scratch fails', async () => {
    const device = await meddlingDevice((memory) => {
      for (const name of ['x', 'a', 'b']) {
        const input = memory(name);
        if (input) input.host[input.byteOffset + 3]! ^= 1;
      }
    });
    const failed = await failures(device, 'add');
    expect(failed.length).toBeGreaterThan(5);
  });

  it('leaves the last element alone fails', async () => {
    const device = await misunderstandingDevice('scale', ({ inputs, outputs, attributes }) => {
      const [x, y] = [inputs.x!.floats, outputs[0]!.floats];
      for (let i = 0; i + 1 < x.length; i++) y[i] = x[i]! * (attributes.factor as number);
    });
    expect(await failures(device, 'scale')).toContain('scale by minus three');
  });

  it('sums in an order that depends on the batch fails', async () => {
    const device = await misunderstandingDevice('matmul', ({ inputs, outputs }) =>
      sumBackwards(inputs, outputs[0]!),
    );
    // Every single result is within its bound; only the comparison of batches shows it.
    expect(await failures(device, 'matmul')).toEqual([]);
    const invariance = rowInvariance(caseNamed('matmul f32 33x97 by 37'))!;
    await expect(runInvariance([{ name: 'it', device }], invariance, 'f32')).rejects.toThrow(/bit for bit/);
    const layers = scenarioInvariances(info).find(({ name }) => name.startsWith('chain llama layer f32'))!;
    await expect(runInvariance([{ name: 'it', device }], layers, 'f32')).rejects.toThrow(/bit for bit/);
  });

  it('differs between threads fails', async () => {
    const device = await misunderstandingDevice('rmsNorm', (evaluation, original) => {
      original(evaluation);
      evaluation.outputs[0]!.floats[0]! *= 1 + 2 ** -23;
    });
    const devices = [
      { name: '1 thread', device: await referenceBackend.open() },
      { name: '2 threads', device },
    ];
    const invariance = rowInvariance(caseNamed('rmsNorm 5x67 weight f32'))!;
    await expect(runInvariance(devices, invariance, 'f32')).rejects.toThrow(
      /on 1 thread and .* on 2 threads/,
    );
  });

  it('writes any of the padded rows to the sink last passes', async () => {
    // Rows of padding share a slot, and a device may store them in any order: here the sink ends up with other values.
    const device = await meddlingDevice((memory) => {
      const { host, byteOffset } = memory('y')!;
      // [5 rows, 4 heads, 20]: the last three rows are padding.
      const values = new Float32Array(host.buffer, host.byteOffset + byteOffset, 5 * 4 * 20);
      for (let i = 2 * 4 * 20; i < values.length; i++) values[i] = -values[i]!;
    });
    for (const precision of ['f32', 'fast'] as const) {
      await expect(runCase(device, caseNamed('attention f32 padded rows'), precision)).resolves.toBeDefined();
    }
  });
});

/** Sums from the end when there is more than one row. */
function sumBackwards(inputs: Evaluation['inputs'], y: Tensor): void {
  const [x, weight] = [inputs.x!, inputs.weight!];
  const values = x.floats;
  const line = new Float32Array(x.columns);
  for (let column = 0; column < weight.rows; column++) {
    weight.decodeRow(column, line);
    for (let row = 0; row < x.rows; row++) {
      let sum = 0;
      for (let step = 0; step < x.columns; step++) {
        const i = x.rows > 1 ? x.columns - 1 - step : step;
        sum = Math.fround(sum + values[row * x.columns + i]! * line[i]!);
      }
      y.floats[row * weight.rows + column] = sum;
    }
  }
}

describe('a misunderstood', () => {
  type Change = (evaluation: Evaluation, original: (evaluation: Evaluation) => void) => void;
  const attributes =
    (change: Record<string, number | string | undefined>): Change =>
    (evaluation, original) => {
      const changed = Object.entries({ ...evaluation.attributes, ...change });
      original({
        ...evaluation,
        attributes: Object.fromEntries(
          changed.filter(([, value]) => value !== undefined),
        ) as Evaluation['attributes'],
      });
    };
  const inputs =
    (change: (given: Evaluation['inputs']) => Evaluation['inputs']): Change =>
    (evaluation, original) =>
      original({ ...evaluation, inputs: { ...evaluation.inputs, ...change(evaluation.inputs) } });
  const integers = (tensor: Tensor, change: (value: number, index: number) => number): Tensor =>
    HostTensor.i32(tensor.shape, tensor.integers.map(change));

  const faults: readonly (readonly [what: string, op: string, change: Change, caught: string])[] = [
    [
      'weight, by a thousandth',
      'matmul',
      (evaluation, original) => {
        original(evaluation);
        evaluation.outputs[0]!.floats.forEach((value, i, out) => (out[i] = value * (1 + 1e-3)));
      },
      'matmul q4_k 7x1280 by 13',
    ],
    ['window', 'attention', attributes({ window: undefined }), 'attention f32 window'],
    [
      'window, one too wide',
      'attention',
      (evaluation, original) => {
        const { window } = evaluation.attributes;
        if (window === undefined) return original(evaluation);
        attributes({ window: (window as number) + 1 })(evaluation, original);
      },
      'attention q8_0 window',
    ],
    ['softcap', 'attention', attributes({ softcap: undefined }), 'attention f16 softcap'],
    ['reach', 'attention', inputs(({ positions }) => ({ reach: positions! })), 'attention f32 reach'],
    [
      'position',
      'attention',
      inputs(({ positions }) => ({ positions: integers(positions!, (p) => Math.max(0, p - 1)) })),
      'attention f32 first prompt',
    ],
    [
      'block table',
      'attention',
      inputs(({ blocks }) => ({
        blocks: integers(blocks!, (_, i) => blocks!.integers[i % blocks!.columns]!),
      })),
      'attention f32 ragged',
    ],
    [
      'slot',
      'kvWrite',
      inputs(({ slots }) => ({ slots: integers(slots!, (slot) => slot ^ 1) })),
      'kvWrite bf16 scattered slots',
    ],
    [
      'rounding of keys',
      'kvWrite',
      inputs(({ key }) => ({
        key: HostTensor.f32(
          key!.shape,
          key!.floats.map((value) => value * (1 - 2 ** -11)),
        ),
      })),
      'kvWrite f16 scattered slots',
    ],
    ['epsilon', 'rmsNorm', attributes({ epsilon: 1e-5 }), 'rmsNorm 5x29 without weight small'],
    ['weight offset', 'rmsNorm', attributes({ weightOffset: 0 }), 'rmsNorm 3x13 weight f32 offset 1'],
    [
      'layout of pairs',
      'rope',
      attributes({ layout: 'half' }),
      'rope interleaved 7x3x34 17 pairs positions below 100',
    ],
    [
      'large position',
      'rope',
      (evaluation, original) => {
        // Positions in f16 on the way.
        inputs(({ positions }) => ({ positions: integers(positions!, (p) => (p > 2048 ? p - (p % 2) : p)) }))(
          evaluation,
          original,
        );
      },
      'rope half 3x5x64 32 pairs positions below 131072',
    ],
    [
      'gelu',
      'activation',
      (evaluation, original) => {
        original(evaluation);
        if (evaluation.attributes.kind !== 'geluTanh') return;
        const [x, y] = [evaluation.inputs.x!.floats, evaluation.outputs[0]!.floats];
        x.forEach((value, i) => (y[i] = value / (1 + Math.exp(-1.702 * value))));
      },
      'activation geluTanh 7x61 normal',
    ],
    ['active stream', 'altUpCorrect', attributes({ active: 0 }), 'altUpCorrect 3x5x31 active 2'],
    ['past-the-table rule', 'embed', attributes({ beyond: 'firstRow' }), 'embed an id past the table'],
    [
      'deviation',
      'gaussianTopK',
      (evaluation, original) => {
        const n = evaluation.inputs.x!.columns;
        // The sample's deviation instead of the population's.
        attributes({ deviations: (evaluation.attributes.deviations as number) * Math.sqrt(n / (n - 1)) })(
          evaluation,
          original,
        );
      },
      'gaussianTopK 7x61 at 1.6448536',
    ],
    [
      'tie',
      'sample',
      (evaluation, original) => {
        original(evaluation);
        const [row] = evaluation.inputs.parameters!.floats;
        if (row === 0) evaluation.outputs[0]!.integers[0] = evaluation.inputs.logits!.columns - 1;
      },
      'sample greedy of ties',
    ],
    [
      'order of parts',
      'concat',
      inputs((given) => {
        const names = Object.keys(given).sort();
        return Object.fromEntries(names.map((name, i) => [String(i), given[name]!]));
      }),
      `concat f32 ${Array.from({ length: 11 }, (_, i) => `[tokens, ${i + 1}]`).join(' ')} axis 1`,
    ],
  ];

  it.each(faults)('%s of %s is caught', async (_what, op, change, caught) => {
    const device = await misunderstandingDevice(op, change);
    await expect(runCase(device, caseNamed(caught), 'f32')).rejects.toMatchObject({
      name: 'ConformanceFailure',
    });
  });

  it('masked key that is multiplied by zero is caught', async () => {
    const device = await misunderstandingDevice('attention', (evaluation, original) => {
      original(evaluation);
      // As a kernel does that reads the whole block and weighs what it may not see with zero.
      const { state, blocks, positions } = evaluation.inputs;
      const [, , heads, blockTokens] = state!.shape as [number, number, number, number];
      const [rows] = evaluation.outputs[0]!.shape;
      const line = new Float32Array(state!.columns);
      const y = evaluation.outputs[0]!.floats;
      const lastBlock = Math.floor(positions!.integers[rows! - 1]! / blockTokens);
      const block = blocks!.integers[(blocks!.rows - 1) * blocks!.columns + lastBlock]!;
      state!.decodeRow(((block * 2 + 1) * heads + 1) * blockTokens - 1, line);
      line.forEach((value, i) => (y[y.length - line.length + i]! += 0 * value));
    });
    await expect(runCase(device, caseNamed('attention f16 ragged'), 'f32')).resolves.toBeDefined();
    await expect(runCase(device, caseNamed('attention f16 poisoned cache'), 'f32')).rejects.toThrow(
      /not even NaN/,
    );
  });
});

describe('the contract', () => {
  const faults: readonly (readonly [promise: string, open: () => Promise<Device>])[] = [
    [
      'allocated memory is zero, also where other content was before',
      async () => {
        const device = await referenceBackend.open();
        return wrapDevice(device, {
          allocate(byteLength) {
            const buffer = device.allocate(byteLength);
            buffer.host?.fill(1);
            return buffer;
          },
        });
      },
    ],
    [
      'memory returns to its start',
      async () => {
        const device = await referenceBackend.open();
        let calls = 0;
        return wrapDevice(device, { memory: () => ({ ...device.memory(), scratchBytes: calls++ }) });
      },
    ],
    [
      'host data is copied before submit returns',
      async () => {
        const device = await referenceBackend.open();
        return wrapDevice(device, {
          async compile(...args) {
            const executable = await device.compile(...args);
            const submit: typeof executable.submit = (bindings) => ({
              times: () => [],
              done: Promise.resolve().then(() => executable.submit(bindings).done),
            });
            return new Proxy(executable, {
              get: (target, key: keyof typeof executable) =>
                key === 'submit'
                  ? submit
                  : typeof target[key] === 'function'
                    ? target[key].bind(target)
                    : target[key],
            });
          },
        });
      },
    ],
    [
      'what is written is read back, at any offset',
      async () => {
        const device = await referenceBackend.open();
        return wrapDevice(device, {
          read: async (buffer, at, count) => buffer.host!.subarray(at, at + count),
        });
      },
    ],
    [
      'a load that is called off rejects and leaves nothing',
      async () => {
        const device = await referenceBackend.open();
        return wrapDevice(device, { load: (entries) => device.load(entries) });
      },
    ],
    [
      'values of other kinds are refused',
      async () => {
        const device = await referenceBackend.open();
        return wrapDevice(device, {
          read: (buffer, at, count) => device.read(buffer, Math.floor(Number(at)), count),
        });
      },
    ],
  ];

  it.each(faults)('"%s" fails for a device that breaks it', async (promise, open) => {
    const test = contractCases.find(({ name }) => name === promise)!;
    const context = { backend: backendOf(open), id: info.id, info };
    await expect(test.run(context)).rejects.toThrow(expect.objectContaining({ name: 'ConformanceFailure' }));
  });
});
