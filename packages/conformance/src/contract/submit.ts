/** Compilation, bindings, the order of submissions, and failures that stay where they belong. */
import { GraphBuilder, type Bindings, type Graph } from '@unicorn-exec/tensor';
import {
  compileAlone,
  doubling,
  expectError,
  expectNumbers,
  expectThat,
  expectThrow,
  floatBytes,
  lookup,
  onDevice,
  product,
  readFloats,
  type ContractCase,
} from './contract-case.js';

/** A node of an op that nobody declares. */
function alien(): Graph {
  const graph = doubling();
  return { ...graph, nodes: graph.nodes.map((node) => ({ ...node, op: 'noSuchOp' })) };
}

const oneRow = { tokens: 1 };

export const submitCases: readonly ContractCase[] = [
  onDevice('supports is a value, the same each time', async (device) => {
    const graph = doubling();
    const first = device.supports(graph.nodes[0]!, graph, { precision: 'f32' });
    const second = device.supports(graph.nodes[0]!, graph, { precision: 'f32' });
    expectThat(JSON.stringify(first) === JSON.stringify(second), 'Two answers differ.');
    const refused = device.supports(alien().nodes[0]!, alien(), { precision: 'f32' });
    expectThat(
      !refused.ok && refused.reason.length > 0,
      'An unknown op is supported, or refused without a reason.',
    );
    await expectError('compile', 'unsupported/op', async () => compileAlone(device, alien()));
  }),
  onDevice('the signature and the plan are told', async (device) => {
    const { executable, dispose } = await compileAlone(device, doubling());
    const { inputs, outputs, state, dims } = executable.signature;
    expectThat(
      inputs.x?.dtype === 'f32' && inputs.x.shape.join() === 'tokens,3',
      'The input is told wrongly.',
    );
    expectThat(outputs.y?.shape.join() === 'tokens,3', 'The output is told wrongly.');
    expectThat(
      Object.keys(state).length === 0 && dims.join() === 'tokens',
      'State or dims are told wrongly.',
    );
    expectThat(executable.describe().trim().length > 0, 'The plan has no text.');
    expectThat(executable.scratchBytes >= 0, `Scratch is ${executable.scratchBytes} bytes.`);
    dispose();
  }),
  onDevice('compile refuses weights that are not there or other', async (device) => {
    const set = (dtype: 'f32' | 'f16', shape: number[]) => {
      const bytes = new Uint8Array((dtype === 'f32' ? 4 : 2) * shape.reduce((a, b) => a * b, 1));
      return device.load([{ name: 'w', dtype, shape, source: { kind: 'bytes', bytes } }]);
    };
    const options = { dims: oneRow };
    const absent = await device.load([]);
    await expectError('absent', 'usage/weight', () => device.compile(product(2, 3), absent, options));
    for (const weights of [await set('f16', [2, 3]), await set('f32', [3, 2])]) {
      await expectError('other', 'usage/weight', () => device.compile(product(2, 3), weights, options));
      weights.dispose();
    }
    absent.dispose();
  }),
  onDevice('compile wants a value for each symbolic dim', async (device) => {
    const weights = await device.load([]);
    for (const dims of [{}, { tokens: -1 }, { tokens: 1.5 }, { tokens: { max: NaN } }]) {
      await expectError(JSON.stringify(dims), 'usage/dims', () =>
        device.compile(doubling(), weights, { dims: dims }),
      );
    }
    weights.dispose();
  }),
  onDevice('submit refuses wrong dims', async (device) => {
    const { executable, dispose } = await compileAlone(device, doubling());
    const fixed = await compileAlone(device, doubling(), { tokens: 2 });
    const buffers = { x: new Float32Array(90), y: device.allocate(360) };
    for (const dims of [{}, { tokens: 9 }, { tokens: -1 }, { tokens: 0.5 }, { tokens: NaN }]) {
      await expectThrow(JSON.stringify(dims), 'usage/dims', () => executable.submit({ dims: dims, buffers }));
    }
    await expectThrow('other than the fixed value', 'usage/dims', () =>
      fixed.executable.submit({ dims: oneRow, buffers }),
    );
    dispose();
    fixed.dispose();
  }),
  onDevice('submit refuses wrong bindings', async (device, { info }) => {
    const { executable, dispose } = await compileAlone(device, doubling());
    const x = new Float32Array(3);
    const y = device.allocate(12);
    const wrong: Record<string, unknown> = {
      'an absent input': { y },
      'an absent output': { x },
      'an unknown name': { x, y, z: y },
      'host data that is too short': { x: new Float32Array(2), y },
      'host data of another dtype': { x: new Int32Array(3), y },
      'bytes as host data': { x: new Uint8Array(12), y },
      'host data for an output': { x, y: new Float32Array(3) },
      'a buffer that is too small': { x, y: device.allocate(11) },
      'a view past the end': { x, y: { buffer: y, byteOffset: info.alignmentBytes } },
      'a view before the start': { x, y: { buffer: y, byteOffset: -4 } },
      'a view at an odd offset': { x: { buffer: device.allocate(64), byteOffset: 1 }, y },
    };
    for (const [what, buffers] of Object.entries(wrong)) {
      const bindings = { dims: oneRow, buffers } as Bindings;
      await expectThrow(what, 'usage/binding', () => executable.submit(bindings));
    }
    await executable.submit({ dims: oneRow, buffers: { x, y } }).done;
    dispose();
  }),
  onDevice('host data is copied before submit returns', async (device) => {
    const { executable, dispose } = await compileAlone(device, doubling());
    const x = Float32Array.of(1, 2, 3);
    const y = device.allocate(12);
    const { done } = executable.submit({ dims: oneRow, buffers: { x, y } });
    x.fill(1000);
    await done;
    expectNumbers('y', await readFloats(device, y, 3), [2, 4, 6]);
    dispose();
  }),
  onDevice('fewer rows than compiled for, and none', async (device) => {
    const { executable, dispose } = await compileAlone(device, doubling(), { tokens: { max: 5 } });
    const y = device.allocate(60);
    await device.write(y, 0, floatBytes(Array.from({ length: 15 }, () => -1)));
    await executable.submit({ dims: { tokens: 0 }, buffers: { x: new Float32Array(0), y } }).done;
    await executable.submit({ dims: { tokens: 2 }, buffers: { x: new Float32Array(6).fill(1), y } }).done;
    expectNumbers('y', await readFloats(device, y, 9), [2, 2, 2, 2, 2, 2, -1, -1, -1]);
    dispose();
  }),
  onDevice('submissions run in order, each on the result of the one before', async (device) => {
    const { executable, dispose } = await compileAlone(device, doubling());
    const [a, b] = [device.allocate(12), device.allocate(12)];
    await device.write(a, 0, floatBytes([1, 2, 3]));
    const completions = Array.from({ length: 20 }, (_, i) =>
      executable.submit({ dims: oneRow, buffers: i % 2 === 0 ? { x: a, y: b } : { x: b, y: a } }),
    );
    // A read made now sees all of them.
    const seen = await readFloats(device, a, 3);
    await Promise.all(completions.map(({ done }) => done));
    expectNumbers('after 20 doublings', seen, [2 ** 20, 2 ** 21, 3 * 2 ** 20]);
    dispose();
  }),
  onDevice('a write keeps its place among submissions', async (device) => {
    const { executable, dispose } = await compileAlone(device, doubling());
    const [x, y, z] = [device.allocate(12), device.allocate(12), device.allocate(12)];
    const writes = [device.write(x, 0, floatBytes([1, 1, 1]))];
    await writes[0];
    const first = executable.submit({ dims: oneRow, buffers: { x, y } });
    writes.push(device.write(x, 0, floatBytes([5, 5, 5])));
    await writes[1];
    const second = executable.submit({ dims: oneRow, buffers: { x, y: z } });
    await Promise.all([first.done, second.done]);
    expectNumbers('before', await readFloats(device, y, 3), [2, 2, 2]);
    expectNumbers('after', await readFloats(device, z, 3), [10, 10, 10]);
    dispose();
  }),
  onDevice('a submission waits for another device', async (device, { backend, id }) => {
    const other = await backend.open(id);
    try {
      const [here, there] = [await compileAlone(device, doubling()), await compileAlone(other, doubling())];
      const order: string[] = [];
      const far = other.allocate(12);
      const first = there.executable.submit({ dims: oneRow, buffers: { x: new Float32Array(3), y: far } });
      const near = device.allocate(12);
      const bindings = { dims: oneRow, buffers: { x: new Float32Array(3), y: near } };
      const second = here.executable.submit(bindings, { after: first });
      await Promise.all([
        first.done.then(() => order.push('first')),
        second.done.then(() => order.push('second')),
      ]);
      expectThat(order.join() === 'first,second', `The order was ${order.join()}.`);
      here.dispose();
      there.dispose();
    } finally {
      await other.close();
    }
  }),
  onDevice('an input may be what another device is still computing', async (device, { backend, id }) => {
    const other = await backend.open(id);
    try {
      const [here, there] = [await compileAlone(device, doubling()), await compileAlone(other, doubling())];
      const far = other.allocate(12);
      const near = device.allocate(12);
      // Elsewhere only what the host can address may be bound.
      if (far.host) {
        for (const value of [1, 5]) {
          const x = Float32Array.of(value, value, value);
          const first = there.executable.submit({ dims: oneRow, buffers: { x, y: far } });
          const second = here.executable.submit(
            { dims: oneRow, buffers: { x: far, y: near } },
            { after: first },
          );
          await second.done;
          const [twice, quadruple] = [2 * value, 4 * value];
          expectNumbers('elsewhere', await readFloats(other, far, 3), [twice, twice, twice]);
          expectNumbers('here', await readFloats(device, near, 3), [quadruple, quadruple, quadruple]);
        }
      }
      here.dispose();
      there.dispose();
    } finally {
      await other.close();
    }
  }),
  onDevice('a failure belongs to its own submission', async (device) => {
    const weights = await device.load([
      {
        name: 'table',
        dtype: 'f32',
        shape: [3, 2],
        source: { kind: 'bytes', bytes: floatBytes([1, 2, 3, 4, 5, 6]) },
      },
    ]);
    const executable = await device.compile(lookup(3, 2), weights, { dims: { tokens: { max: 4 } } });
    const submit = (id: number, y: Bindings['buffers'][string]) =>
      executable.submit({ dims: oneRow, buffers: { ids: Int32Array.of(id), y } });
    const buffers = [device.allocate(8), device.allocate(8), device.allocate(8)];
    const first = submit(1, buffers[0]!);
    const failing = submit(3, buffers[1]!);
    // Nobody awaits this one: an unhandled rejection must not end the process.
    submit(-5, buffers[1]!);
    const last = submit(2, buffers[2]!);
    await last.done;
    await first.done;
    await expectError('the failing one', 'usage/token-id', () => failing.done);
    expectNumbers('before', await readFloats(device, buffers[0]!, 2), [3, 4]);
    expectNumbers('after', await readFloats(device, buffers[2]!, 2), [5, 6]);
    executable.dispose();
    weights.dispose();
  }),
  onDevice('what waits for a failure fails with it', async (device) => {
    const weights = await device.load([
      { name: 'table', dtype: 'f32', shape: [3, 2], source: { kind: 'bytes', bytes: new Uint8Array(24) } },
    ]);
    const executable = await device.compile(lookup(3, 2), weights, { dims: oneRow });
    const y = device.allocate(8);
    const failing = executable.submit({ dims: oneRow, buffers: { ids: Int32Array.of(7), y } });
    const next = executable.submit(
      { dims: oneRow, buffers: { ids: Int32Array.of(0), y } },
      { after: failing },
    );
    await expectError('the one after', 'usage/token-id', () => next.done);
    await expectError('the failing one', 'usage/token-id', () => failing.done);
    executable.dispose();
    weights.dispose();
  }),
  onDevice('an executable ends with dispose', async (device) => {
    const { executable, weights } = await compileAlone(device, doubling());
    const y = device.allocate(12);
    const bindings = { dims: oneRow, buffers: { x: new Float32Array(3), y } };
    await executable.submit(bindings).done;
    executable.dispose();
    executable.dispose();
    await expectThrow('submit', 'usage/disposed', () => executable.submit(bindings));
    weights.dispose();
  }),
  onDevice('a profile counts the steps', async (device) => {
    const weights = await device.load([]);
    const options = { dims: { tokens: { max: 8 } }, profile: true } as const;
    const executable = await device.compile(doubling(64), weights, options);
    const y = device.allocate(8 * 256);
    for (let i = 0; i < 3; i++) {
      await executable.submit({ dims: { tokens: 8 }, buffers: { x: new Float32Array(512), y } }).done;
    }
    const entries = executable.profile();
    expectThat(entries.length > 0, 'The profile is empty.');
    for (const { step, calls, seconds, bytes, flops } of entries) {
      expectThat(step.length > 0 && calls === 3, `"${step}" ran ${calls} times instead of 3.`);
      const sane = [seconds, bytes, flops].every((value) => Number.isFinite(value) && value >= 0);
      expectThat(sane, `"${step}" took ${seconds} s for ${bytes} bytes and ${flops} operations.`);
    }
    executable.dispose();
    weights.dispose();
  }),
  onDevice(
    'state is changed in place, and inputs may be outputs of the step before',
    async (device, { info }) => {
      const [dtype] = info.dtypes.kv;
      if (!dtype) return;
      const builder = new GraphBuilder('state');
      const state = builder.state('kv', 'f32', ['pool', 2, 1, 4, 2]);
      const [key, value] = [
        builder.input('key', 'f32', ['tokens', 1, 2]),
        builder.input('value', 'f32', ['tokens', 1, 2]),
      ];
      builder.kvWrite(state, key, value, builder.input('slots', 'i32', ['tokens']));
      if (!info.dtypes.kv.includes('f32')) return;
      const { executable, dispose } = await compileAlone(device, builder.build(), {
        tokens: { max: 2 },
        pool: { max: 3 },
      });
      const kv = device.allocate(2 * 16 * 4);
      for (const [slot, at] of [
        [5, 1],
        [6, 2],
      ] as const) {
        const buffers = {
          kv,
          key: Float32Array.of(at, -at),
          value: Float32Array.of(10 * at, -10 * at),
          slots: Int32Array.of(slot),
        };
        await executable.submit({ dims: { tokens: 1, pool: 2 }, buffers }).done;
      }
      const floats = await readFloats(device, kv, 32);
      expectNumbers('keys', floats.slice(16, 24), [0, 0, 1, -1, 2, -2, 0, 0]);
      expectNumbers('values', floats.slice(24, 32), [0, 0, 10, -10, 20, -20, 0, 0]);
      expectThat(
        floats.slice(0, 16).every((value) => value === 0),
        'The sink was written.',
      );
      dispose();
    },
  ),
];
