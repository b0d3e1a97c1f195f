/** What plain JavaScript may hand over by mistake: each is told as an error of the library, at once. */
import { describe, expect, it } from 'vitest';
import { GraphBuilder, nullBackend, referenceBackend, type ErrorCode } from '../../src/index.js';

const builder = new GraphBuilder('plain');
builder.output('y', builder.scale(builder.input('x', 'f32', ['tokens', 1]), 2));
const graph = builder.build();

/** Neither of these is an object of ours, a list or a whole number. */
const junk: readonly unknown[] = [null, 1.5, NaN, 'x', true, 4n, Symbol('s'), () => {}, {}];

async function codeOf(call: () => unknown): Promise<string> {
  try {
    const made = await call();
    if (typeof made === 'object' && made !== null && 'done' in made) await made.done;
    return 'accepted';
  } catch (error) {
    return error instanceof Error && 'code' in error ? (error.code as ErrorCode) : String(error);
  }
}

describe.each([referenceBackend, nullBackend])('$name', (backend) => {
  it('refuses values of other kinds', async () => {
    const device = await backend.open();
    const [buffer, other] = [device.allocate(16), device.allocate(16)];
    const set = await device.load([]);
    const executable = await device.compile(graph, set, { dims: { tokens: 1 } });
    const view = { buffer: other, byteOffset: 0 };
    const good = { dims: { tokens: 1 }, buffers: { x: new Float32Array(1), y: buffer } };
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
      'copy(, value)': (value) => device.copy(view, value, 4),
      'copy({buffer: value})': (value) => device.copy({ buffer: value, byteOffset: 0 }, view, 4),
      'copy({byteOffset: value})': (value) => device.copy({ buffer, byteOffset: value }, view, 4),
      'copy(,, value)': (value) => device.copy({ buffer, byteOffset: 0 }, view, value),
      'copy(,,, {after: value})': (value) =>
        device.copy({ buffer, byteOffset: 0 }, view, 4, { after: value }),
      'load(value)': (value) => device.load(value),
      'load([value])': (value) => device.load([value]),
      'compile(, value)': (value) => device.compile(graph, value, { dims: { tokens: 1 } }),
      'compile(,, value)': (value) => device.compile(graph, set, value),
      'compile(,, {dims: value})': (value) => device.compile(graph, set, { dims: value }),
      'compile(,, {dims: {tokens: value}})': (value) =>
        device.compile(graph, set, { dims: { tokens: value } }),
      'compile(,, {precision: value})': (value) =>
        device.compile(graph, set, { dims: { tokens: 1 }, precision: value }),
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
    const wrong: string[] = [];
    for (const [name, call] of Object.entries(calls)) {
      for (const value of junk) {
        const code = await codeOf(() => call(value as never));
        if (!/^(usage|unsupported)\//.test(code)) wrong.push(`${name} with ${String(value)}: ${code}`);
      }
    }
    expect(wrong).toEqual([]);
    await executable.submit(good).done;
    await device.close();
  });

  it('refuses memory that begins between two elements', async () => {
    const device = await backend.open();
    const memory = new Uint8Array(12);
    expect(() => device.importBuffer(memory.subarray(1, 9))).toThrow(
      expect.objectContaining({ code: 'unsupported/import' }),
    );
    expect(device.importBuffer(memory.subarray(4)).byteLength).toBe(8);
    await device.close();
  });
});
