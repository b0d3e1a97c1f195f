/** A case about callers in plain JavaScript, who may pass anything: what is of another kind is refused with a code, at once. */
import { isUnicornError } from '@unicorn-exec/tensor';
import {
  compileProgram,
  expectThat,
  onDevice,
  rowByteLength,
  rowOf,
  type ContractCase,
} from './contract-case.js';
import { doubling } from './program.js';

/** None of these is an object of the contract, a list or a whole number. */
const junk: readonly unknown[] = [null, 1.5, NaN, 'x', true, 4n, Symbol('s'), () => {}, {}];

/** The code of what was thrown, of a rejection now or later, or what happened instead. */
async function codeOf(call: () => unknown): Promise<string> {
  try {
    const made: unknown = await call();
    if (typeof made === 'object' && made !== null && 'done' in made) await made.done;
    return 'accepted';
  } catch (error) {
    return isUnicornError(error) ? error.code : String(error);
  }
}

export const plainCallerCases: readonly ContractCase[] = [
  onDevice('values of other kinds are refused', { doubling }, async (device, { doubling: program }) => {
    const { executable, weights, dispose } = await compileProgram(device, program);
    const { graph } = program;
    const [buffer, other] = [device.allocate(rowByteLength), device.allocate(rowByteLength)];
    const [view, source] = [
      { buffer: other, byteOffset: 0 },
      { buffer, byteOffset: 0 },
    ];
    const good = { dims: { tokens: 1 }, buffers: { x: rowOf(1), y: buffer } };
    const calls: Record<string, (value: never) => unknown> = {
      'allocate(value)': (value) => device.allocate(value),
      'importBuffer(value)': (value) => device.importBuffer(value),
      'write(value)': (value) => device.write(value, 0, new Uint8Array(4)),
      'write(, value)': (value) => device.write(buffer, value, new Uint8Array(4)),
      'write(,, value)': (value) => device.write(buffer, 0, value),
      'read(value)': (value) => device.read(value, 0, 4),
      'read(, value)': (value) => device.read(buffer, value, 4),
      'read(,, value)': (value) => device.read(buffer, 0, value),
      'copy(value)': (value) => device.copy(value, view, 4),
      'copy(, value)': (value) => device.copy(source, value, 4),
      'copy({buffer: value})': (value) => device.copy({ buffer: value, byteOffset: 0 }, view, 4),
      'copy({byteOffset: value})': (value) => device.copy({ buffer, byteOffset: value }, view, 4),
      'copy(,, value)': (value) => device.copy(source, view, value),
      'copy(,,, {after: value})': (value) => device.copy(source, view, 4, { after: value }),
      'load(value)': (value) => device.load(value),
      'load([value])': (value) => device.load([value]),
      'compile(, value)': (value) => device.compile(graph, value, { dims: { tokens: 1 } }),
      'compile(,, value)': (value) => device.compile(graph, weights, value),
      'compile(,, {dims: value})': (value) => device.compile(graph, weights, { dims: value }),
      'compile(,, {dims: {tokens: value}})': (value) =>
        device.compile(graph, weights, { dims: { tokens: value } }),
      'compile(,, {precision: value})': (value) =>
        device.compile(graph, weights, { dims: { tokens: 1 }, precision: value }),
      'submit(value)': (value) => executable.submit(value),
      'submit({dims: value})': (value) => executable.submit({ ...good, dims: value }),
      'submit({dims: {tokens: value}})': (value) => executable.submit({ ...good, dims: { tokens: value } }),
      'submit({buffers: value})': (value) => executable.submit({ ...good, buffers: value }),
      'submit({buffers: {y: value}})': (value) =>
        executable.submit({ ...good, buffers: { ...good.buffers, y: value } }),
      'submit({buffers: {y: {buffer: value}}})': (value) =>
        executable.submit({ ...good, buffers: { ...good.buffers, y: { buffer: value, byteOffset: 0 } } }),
      'submit(, {after: value})': (value) => executable.submit(good, { after: value }),
      'submit(, {after: [value]})': (value) => executable.submit(good, { after: [value] }),
    };
    // Devices may remember the last submission, which must not spare the next one its checks.
    await executable.submit(good).done;
    const wrong: string[] = [];
    for (const [name, call] of Object.entries(calls)) {
      for (const value of junk) {
        const code = await codeOf(() => call(value as never));
        if (!/^(usage|unsupported)\//.test(code)) wrong.push(`${name} with ${String(value)}: ${code}`);
      }
    }
    expectThat(
      wrong.length === 0,
      `Wrong kinds of values are not refused by a usage error: ${wrong.join('; ')}.`,
    );
    // It goes on as if nothing had been asked.
    await executable.submit(good).done;
    dispose();
    for (const one of [buffer, other]) one.dispose();
  }),
];
