/** Names are the caller's to choose: those that every JavaScript object inherits are names like any other. */
import { describe, expect, it } from 'vitest';
import { GraphBuilder, referenceBackend, type ErrorCode } from '../../src/index.js';

const inherited = [...Object.getOwnPropertyNames(Object.prototype), 'length', 'name'];

describe.each(inherited)('the name %s', (name) => {
  const record = <T>(value: T): Record<string, T> => Object.fromEntries([[name, value]]);

  it.each(['input', 'output', 'state', 'weight', 'dim'] as const)('is one of any %s', async (role) => {
    const builder = new GraphBuilder(name);
    const dim = role === 'dim' ? name : 'tokens';
    const output = role === 'output' ? name : 'y';
    let x = builder.input(role === 'input' ? name : 'x', 'f32', [dim, 2]);
    if (role === 'state') builder.accumulateSquares(builder.state(name, 'f32', [2]), x);
    if (role === 'weight') x = builder.multiply(x, builder.weight(name, { dtype: 'f32', shape: [2] }));
    builder.output(output, builder.scale(x, 3));
    const graph = builder.build();
    const device = await referenceBackend.open();
    const bytes = new Uint8Array(Float32Array.of(1, 1).buffer);
    const weights = await device.load([{ name, dtype: 'f32', shape: [2], source: { kind: 'bytes', bytes } }]);
    const dims = Object.fromEntries([[dim, 1]]);
    const executable = await device.compile(graph, weights, { dims, precision: 'f32' });
    const [y, state] = [device.allocate(8), device.allocate(8)];
    const buffers = Object.fromEntries([
      [role === 'input' ? name : 'x', Float32Array.of(1, 2)],
      [output, y],
      ...(role === 'state' ? [[name, state] as const] : []),
    ]);
    await executable.submit({ dims, buffers }).done;
    expect([...new Float32Array((await device.read(y, 0, 8)).buffer)]).toEqual([3, 6]);
    if (role === 'state') expect([...new Float32Array(state.host!.buffer)]).toEqual([1, 4]);
    // What is inherited is not what was given.
    const { [role === 'dim' ? 'x' : Object.keys(buffers)[0]!]: _, ...fewer } = buffers;
    expect(codeOf(() => executable.submit({ dims, buffers: fewer }))).toBe('usage/binding');
    if (role === 'dim') expect(codeOf(() => executable.submit({ dims: {}, buffers }))).toBe('usage/dims');
    await device.close();
  });

  it('is not one of an attribute, an operand or an op', () => {
    const builder = new GraphBuilder('g');
    const x = builder.input('x', 'f32', [1]);
    expect(codeOf(() => builder.apply('scale', { x }, { factor: 2, ...record(1) }))).toBe('usage/attribute');
    expect(codeOf(() => builder.apply('scale', { x, ...record(x) }, { factor: 2 }))).toBe('usage/graph');
    expect(codeOf(() => builder.apply(name, { x }))).toBe('unsupported/op');
    expect(codeOf(() => builder.input('y', name as 'f32', [1]))).toBe('unsupported/dtype');
    builder.output(name, x);
    expect(codeOf(() => builder.output(name, x))).toBe('usage/graph');
  });
});

function codeOf(call: () => unknown): ErrorCode | string {
  try {
    call();
    return 'accepted';
  } catch (error) {
    return error instanceof Error && 'code' in error ? (error.code as ErrorCode) : String(error);
  }
}
