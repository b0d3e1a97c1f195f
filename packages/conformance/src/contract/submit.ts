/** Cases about compilation, bindings, the order of submissions, and failures, which belong to one submission each. */
import { HostTensor, rowBytes, type Bindings, type Graph } from '@unicorn-exec/tensor';
import {
  compileProgram,
  expectError,
  expectNumbers,
  expectThat,
  expectThrow,
  floatBytes,
  onDevice,
  ramp,
  readFloats,
  rowByteLength,
  type ContractCase,
} from './contract-case.js';
import {
  cacheBlockTokens,
  cacheWrite,
  contractPrecision,
  doubling,
  failing,
  floatDTypes,
  product,
  weightRows,
  width,
} from './program.js';

/** The same graph with nodes of an op that does not exist. */
function alien(graph: Graph): Graph {
  return { ...graph, nodes: graph.nodes.map((node) => ({ ...node, op: 'noSuchOp' })) };
}

const oneRow = { tokens: 1 };

export const submitCases: readonly ContractCase[] = [
  onDevice('supports is a value, the same each time', { doubling }, async (device, programs) => {
    const { graph } = programs.doubling;
    const options = { precision: contractPrecision(device.info) };
    const first = device.supports(graph.nodes[0]!, graph, options);
    const second = device.supports(graph.nodes[0]!, graph, options);
    expectThat(JSON.stringify(first) === JSON.stringify(second), 'Two answers differ.');
    const unknown = alien(graph);
    const refused = device.supports(unknown.nodes[0]!, unknown, options);
    expectThat(
      !refused.ok && refused.reason.length > 0,
      'An unknown op is supported, or refused without a reason.',
    );
    await expectError('compile', 'unsupported/op', () =>
      compileProgram(device, { ...programs.doubling, graph: unknown }),
    );
  }),
  onDevice('a precision that the device lacks is refused', { doubling }, async (device, programs) => {
    const { graph } = programs.doubling;
    for (const precision of ['f32', 'fast'] as const) {
      if (device.info.precisions.includes(precision)) continue;
      expectThat(!device.supports(graph.nodes[0]!, graph, { precision }).ok, `${precision} is supported.`);
      await expectError('compile', 'unsupported/precision', () =>
        compileProgram(device, programs.doubling, { precision }),
      );
    }
  }),
  onDevice('the signature and the plan are told', { doubling }, async (device, programs) => {
    const { executable, dispose } = await compileProgram(device, programs.doubling);
    const { inputs, outputs, state, dims } = executable.signature;
    const shape = `tokens,${width}`;
    expectThat(inputs.x?.dtype === 'f32' && inputs.x.shape.join() === shape, 'The input is told wrongly.');
    expectThat(outputs.y?.shape.join() === shape, 'The output is told wrongly.');
    expectThat(
      Object.keys(state).length === 0 && dims.join() === 'tokens',
      'State or dims are told wrongly.',
    );
    expectThat(executable.describe().trim().length > 0, 'The plan has no text.');
    expectThat(executable.scratchBytes >= 0, `Scratch is ${executable.scratchBytes} bytes.`);
    dispose();
  }),
  onDevice(
    'compile refuses weights that are not there or other',
    { product: product(2) },
    async (device, { product: { graph, dtype } }) => {
      const options = { dims: oneRow, precision: contractPrecision(device.info) };
      const absent = await device.load([]);
      await expectError('absent', 'usage/weight', () => device.compile(graph, absent, options));
      absent.dispose();
      const others = device.info.dtypes.weights.filter(
        (other) => other !== dtype && floatDTypes.includes(other),
      );
      for (const entry of [
        weightRows('w', dtype, [[1], [2], [3]]),
        ...others.slice(0, 1).map((other) => weightRows('w', other, [[1], [2]])),
      ]) {
        const weights = await device.load([entry]);
        await expectError('other', 'usage/weight', () => device.compile(graph, weights, options));
        weights.dispose();
      }
    },
  ),
  onDevice('compile wants a value for each symbolic dim', { doubling }, async (device, programs) => {
    for (const dims of [{}, { tokens: -1 }, { tokens: 1.5 }, { tokens: { max: NaN } }]) {
      await expectError(JSON.stringify(dims), 'usage/dims', () =>
        compileProgram(device, programs.doubling, { dims: dims }),
      );
    }
  }),
  onDevice('submit refuses wrong dims', { doubling }, async (device, programs) => {
    const { executable, dispose } = await compileProgram(device, programs.doubling);
    const fixed = await compileProgram(device, programs.doubling, { dims: { tokens: 2 } });
    const buffers = { x: new Float32Array(10 * width), y: device.allocate(10 * rowByteLength) };
    for (const dims of [{}, { tokens: 9 }, { tokens: -1 }, { tokens: 0.5 }, { tokens: NaN }]) {
      await expectThrow(JSON.stringify(dims), 'usage/dims', () => executable.submit({ dims: dims, buffers }));
    }
    await expectThrow('other than the fixed value', 'usage/dims', () =>
      fixed.executable.submit({ dims: oneRow, buffers }),
    );
    dispose();
    fixed.dispose();
  }),
  onDevice('submit refuses wrong bindings', { doubling }, async (device, programs, { info }) => {
    const { executable, dispose } = await compileProgram(device, programs.doubling);
    const x = new Float32Array(width);
    const y = device.allocate(rowByteLength);
    const wrong: Record<string, unknown> = {
      'an absent input': { y },
      'an absent output': { x },
      'an unknown name': { x, y, z: y },
      'host data that is too short': { x: new Float32Array(width - 1), y },
      'host data of another dtype': { x: new Int32Array(width), y },
      'bytes as host data': { x: new Uint8Array(rowByteLength), y },
      'host data for an output': { x, y: new Float32Array(width) },
      'a buffer that is too small': { x, y: device.allocate(rowByteLength - 1) },
      'a view past the end': { x, y: { buffer: y, byteOffset: info.alignmentBytes } },
      'a view before the start': { x, y: { buffer: y, byteOffset: -4 } },
      'a view at an odd offset': { x: { buffer: device.allocate(2 * rowByteLength), byteOffset: 1 }, y },
    };
    for (const [what, buffers] of Object.entries(wrong)) {
      const bindings = { dims: oneRow, buffers } as Bindings;
      await expectThrow(what, 'usage/binding', () => executable.submit(bindings));
    }
    await executable.submit({ dims: oneRow, buffers: { x, y } }).done;
    dispose();
  }),
  onDevice('host data is copied before submit returns', { doubling }, async (device, programs) => {
    const { executable, dispose } = await compileProgram(device, programs.doubling);
    const x = ramp();
    const y = device.allocate(rowByteLength);
    const { done } = executable.submit({ dims: oneRow, buffers: { x, y } });
    x.fill(1000);
    await done;
    expectNumbers('y', await readFloats(device, y, width), ramp(2));
    dispose();
  }),
  onDevice('fewer rows than compiled for, and none', { doubling }, async (device, programs) => {
    const { executable, dispose } = await compileProgram(device, programs.doubling, {
      dims: { tokens: { max: 5 } },
    });
    const y = device.allocate(5 * rowByteLength);
    await device.write(y, 0, floatBytes(new Float32Array(5 * width).fill(-1)));
    await executable.submit({ dims: { tokens: 0 }, buffers: { x: new Float32Array(0), y } }).done;
    await executable.submit({ dims: { tokens: 2 }, buffers: { x: ramp(1, 2), y } }).done;
    const wanted = new Float32Array(3 * width).fill(-1);
    wanted.set(ramp(2, 2));
    expectNumbers('y', await readFloats(device, y, 3 * width), wanted);
    dispose();
  }),
  onDevice(
    'submissions run in order, each on the result of the one before',
    { doubling },
    async (device, programs) => {
      const { executable, dispose } = await compileProgram(device, programs.doubling);
      const [a, b] = [device.allocate(rowByteLength), device.allocate(rowByteLength)];
      await device.write(a, 0, floatBytes(ramp()));
      // Twelve, so that f16 does not overflow.
      const completions = Array.from({ length: 12 }, (_, i) =>
        executable.submit({ dims: oneRow, buffers: i % 2 === 0 ? { x: a, y: b } : { x: b, y: a } }),
      );
      // A read made now sees all of them.
      const seen = await readFloats(device, a, width);
      await Promise.all(completions.map(({ done }) => done));
      expectNumbers('after 12 doublings', seen, ramp(2 ** 12));
      dispose();
    },
  ),
  onDevice('a write keeps its place among submissions', { doubling }, async (device, programs) => {
    const { executable, dispose } = await compileProgram(device, programs.doubling);
    const [x, y, z] = [
      device.allocate(rowByteLength),
      device.allocate(rowByteLength),
      device.allocate(rowByteLength),
    ];
    await device.write(x, 0, floatBytes(ramp()));
    const first = executable.submit({ dims: oneRow, buffers: { x, y } });
    const write = device.write(x, 0, floatBytes(ramp(5)));
    await write;
    const second = executable.submit({ dims: oneRow, buffers: { x, y: z } });
    await Promise.all([first.done, second.done]);
    expectNumbers('before', await readFloats(device, y, width), ramp(2));
    expectNumbers('after', await readFloats(device, z, width), ramp(10));
    dispose();
  }),
  onDevice('a failure belongs to its own submission', { failing }, async (device, programs) => {
    const { right, wrong, code } = programs.failing;
    const { executable, dispose } = await compileProgram(device, programs.failing, {
      dims: { tokens: { max: 4 } },
    });
    const submit = (inputs: Bindings['buffers'], y: Bindings['buffers'][string]) =>
      executable.submit({ dims: oneRow, buffers: { ...inputs, y } });
    const buffers = [0, 1, 2].map(() => device.allocate(rowByteLength));
    const first = submit(right(1), buffers[0]!);
    const refused = submit(wrong(), buffers[1]!);
    // This completion is not awaited: an unhandled rejection must not end the process.
    submit(wrong(), buffers[1]!);
    const last = submit(right(2), buffers[2]!);
    await last.done;
    await first.done;
    await expectError('the failing one', code, () => refused.done);
    expectNumbers('before', await readFloats(device, buffers[0]!, width), new Float32Array(width).fill(1));
    expectNumbers('after', await readFloats(device, buffers[2]!, width), new Float32Array(width).fill(2));
    dispose();
  }),
  onDevice('an executable ends with dispose', { doubling }, async (device, programs) => {
    const { executable, weights } = await compileProgram(device, programs.doubling);
    const y = device.allocate(rowByteLength);
    const bindings = { dims: oneRow, buffers: { x: ramp(), y } };
    await executable.submit(bindings).done;
    executable.dispose();
    executable.dispose();
    await expectThrow('submit', 'usage/disposed', () => executable.submit(bindings));
    weights.dispose();
  }),
  onDevice('a profile counts the steps and names the device', { doubling }, async (device, programs) => {
    const { executable, dispose } = await compileProgram(device, programs.doubling, { profile: true });
    const y = device.allocate(8 * rowByteLength);
    for (let i = 0; i < 3; i++) {
      await executable.submit({ dims: { tokens: 8 }, buffers: { x: ramp(1, 8), y } }).done;
    }
    const entries = executable.profile();
    expectThat(entries.length > 0, 'The profile is empty.');
    for (const { device: name, step, calls, seconds, bytes, flops } of entries) {
      expectThat(name.length > 0, `The step "${step}" has no device.`);
      expectThat(step.length > 0 && calls === 3, `"${step}" ran ${calls} times instead of 3.`);
      const sane = [seconds, bytes, flops].every((value) => Number.isFinite(value) && value >= 0);
      expectThat(sane, `"${step}" took ${seconds} s for ${bytes} bytes and ${flops} operations.`);
    }
    dispose();
  }),
  onDevice(
    'state is changed in place, and inputs may be outputs of the step before',
    { cacheWrite },
    async (device, programs) => {
      const { dtype } = programs.cacheWrite;
      const { executable, dispose } = await compileProgram(device, programs.cacheWrite, {
        dims: { tokens: { max: 2 }, pool: { max: 3 } },
      });
      const shape = [2, 2, 1, cacheBlockTokens, width];
      const kv = device.allocate(2 * 2 * cacheBlockTokens * rowBytes(dtype, width));
      for (const [slot, at] of [
        [5, 1],
        [6, 2],
      ] as const) {
        const buffers = { kv, key: ramp(at), value: ramp(10 * at), slots: Int32Array.of(slot) };
        await executable.submit({ dims: { tokens: 1, pool: 2 }, buffers }).done;
      }
      const state = new HostTensor(dtype, shape, await device.read(kv, 0, kv.byteLength)).toFloats();
      const rows = (values: readonly number[]): number[] => values.flatMap((value) => [...ramp(value)]);
      const half = state.length / 2;
      expectThat(
        state.subarray(0, half).every((value) => value === 0),
        'The sink was written.',
      );
      expectNumbers('keys', state.subarray(half, 1.5 * half), rows([0, 1, 2, 0]));
      expectNumbers('values', state.subarray(1.5 * half), rows([0, 10, 20, 0]));
      dispose();
    },
  ),
];
