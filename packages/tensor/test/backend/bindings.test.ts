import { describe, expect, it } from 'vitest';
import {
  GraphBuilder,
  checkWeights,
  graphSignature,
  maximumDims,
  resolveBindings,
  submissionDims,
} from '../../src/index.js';
import type { Binding, CompileOptions, DeviceBuffer, UnicornError } from '../../src/index.js';

const builder = new GraphBuilder('bound');
const x = builder.input('x', 'f32', ['tokens', 2]);
const ids = builder.input('ids', 'i32', ['tokens']);
const state = builder.state('history', 'i32', ['slots', 4]);
builder.output('y', builder.scale(x, 2));
builder.output('z', builder.takeRows(state, ids));
const graph = builder.build();
const signature = graphSignature(graph);

function buffer(byteLength: number): DeviceBuffer {
  return { byteLength, dispose: () => {} };
}

const good: Record<string, Binding> = {
  x: Float32Array.of(1, 2, 3, 4, 5, 6),
  ids: buffer(8),
  y: { buffer: buffer(24), byteOffset: 8 },
  z: buffer(32),
  history: buffer(64),
};

describe('graphSignature', () => {
  it('names inputs, outputs, state and dims', () => {
    expect(signature).toEqual({
      inputs: { x: { dtype: 'f32', shape: ['tokens', 2] }, ids: { dtype: 'i32', shape: ['tokens'] } },
      outputs: { y: { dtype: 'f32', shape: ['tokens', 2] }, z: { dtype: 'i32', shape: ['tokens', 4] } },
      state: { history: { dtype: 'i32', shape: ['slots', 4] } },
      dims: ['slots', 'tokens'],
    });
  });
});

describe('dims', () => {
  const options: CompileOptions = { dims: { tokens: { max: 4 }, slots: 3 } };
  it('have a maximum at compilation', () => {
    expect(maximumDims(graph, options)).toEqual({ tokens: 4, slots: 3 });
    for (const dims of [{ tokens: 4 }, { tokens: 4, slots: -1 }, { tokens: { max: 0.5 }, slots: 1 }]) {
      expect(() => maximumDims(graph, { dims: dims })).toThrow(
        expect.objectContaining({ code: 'usage/dims' }),
      );
    }
  });
  it('fit it at submission', () => {
    const buffers = {};
    expect(submissionDims(signature, options, { dims: { tokens: 0, slots: 3 }, buffers })).toEqual({
      tokens: 0,
      slots: 3,
    });
    for (const dims of [
      { tokens: 5, slots: 3 },
      { tokens: 4, slots: 2 },
      { slots: 3 },
      { tokens: NaN, slots: 3 },
    ]) {
      expect(() => submissionDims(signature, options, { dims: dims, buffers })).toThrow(
        expect.objectContaining({ code: 'usage/dims' }),
      );
    }
  });
});

describe('resolveBindings', () => {
  const resolve = (changes: Record<string, Binding | undefined>) => {
    const buffers = Object.fromEntries(
      Object.entries({ ...good, ...changes }).filter(([, binding]) => binding),
    ) as Record<string, Binding>;
    return resolveBindings(signature, { tokens: 2, slots: 4 }, { dims: {}, buffers });
  };

  it('gives each its shape, bytes and storage', () => {
    const resolved = Object.fromEntries(resolve({}).map((binding) => [binding.name, binding]));
    expect(resolved.x).toMatchObject({
      role: 'input',
      shape: [2, 2],
      byteLength: 16,
      source: { kind: 'host' },
    });
    // Only what is needed of host data that is longer.
    expect(resolved.x!.source).toMatchObject({ bytes: { byteLength: 16 } });
    expect(resolved.y).toMatchObject({ role: 'output', source: { kind: 'buffer', byteOffset: 8 } });
    expect(resolved.history).toMatchObject({ role: 'state', dtype: 'i32', byteLength: 64 });
  });

  it.each<[string, Record<string, Binding | undefined>]>([
    ['"x" (input f32[tokens, 2]) is not bound', { x: undefined }],
    ['"history" (state i32[slots, 4]) is not bound', { history: undefined }],
    ['needs 16 bytes; the host data has 12', { x: new Float32Array(3) }],
    ['the host data is f32', { ids: new Float32Array(2) }],
    ['the host data is something else', { ids: new Uint8Array(8) as unknown as Int32Array }],
    ['bind a device buffer, not host data', { y: new Float32Array(4) }],
    ['the buffer has 31', { z: buffer(31) }],
    ['at offset 12', { y: { buffer: buffer(24), byteOffset: 12 } }],
    ['at offset -4', { y: { buffer: buffer(24), byteOffset: -4 } }],
    ['at offset 2', { y: { buffer: buffer(24), byteOffset: 2 } }],
    ['"w" is not an input, output or state', { w: buffer(4) }],
    // As plain JavaScript may have it.
    ['neither a buffer nor host data', { x: 5 as unknown as Binding }],
    ['what is not a device buffer', { y: {} as unknown as Binding }],
    ['what is not a device buffer', { y: { buffer: null, byteOffset: 0 } as unknown as Binding }],
    ['a whole number of bytes', { y: { buffer: buffer(24), byteOffset: '4' as unknown as number } }],
  ])('refuses: %s', (sentence, changes) => {
    try {
      resolve(changes);
      expect.unreachable();
    } catch (error) {
      expect((error as UnicornError).code).toBe('usage/binding');
      expect((error as UnicornError).message).toContain(sentence);
    }
  });
});

describe('checkWeights', () => {
  const weighted = new GraphBuilder('weighted');
  const input = weighted.input('x', 'f32', [4]);
  weighted.matmul(input, weighted.weight('w', { dtype: 'f32', shape: [6, 4] }));
  weighted.matmul(input, weighted.weight('w', { dtype: 'f32', shape: [8, 4] }, { rows: 2 }));
  const check = (shape: readonly number[] | undefined) => () =>
    checkWeights(weighted.build(), () => shape && { dtype: 'f32', shape });

  it('compares every use with what was loaded', () => {
    const refused = expect.objectContaining({ code: 'usage/weight' });
    expect(check(undefined)).toThrow(refused);
    // Each of the two uses disagrees with one of these.
    expect(check([6, 4])).toThrow(refused);
    expect(check([8, 4])).toThrow(refused);
  });
});
