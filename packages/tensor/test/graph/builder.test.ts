import { describe, expect, it } from 'vitest';
import { GraphBuilder, type UnicornError, type Value } from '../../src/index.js';

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as UnicornError).code;
  }
  return 'no error';
}

describe('names', () => {
  it('give one value each', () => {
    const builder = new GraphBuilder('names');
    expect(builder.input('x', 'f32', ['tokens', 4])).toBe(builder.input('x', 'f32', ['tokens', 4]));
    const stored = { dtype: 'f32', shape: [6, 4] } as const;
    expect(builder.weight('w', stored)).toBe(builder.weight('w', stored));
    expect(builder.weight('w', stored, { rows: 2 })).not.toBe(builder.weight('w', stored));
  });

  it('keep the spec of their first declaration', () => {
    const builder = new GraphBuilder('names');
    builder.input('x', 'f32', ['tokens', 4]);
    expect(codeOf(() => builder.input('x', 'i32', ['tokens', 4]))).toBe('usage/graph');
    expect(codeOf(() => builder.input('x', 'f32', ['rows', 4]))).toBe('usage/graph');
  });

  it('are of one role, since bindings are by name', () => {
    const builder = new GraphBuilder('names');
    const x = builder.input('x', 'f32', [4]);
    builder.output('y', builder.scale(x, 2));
    expect(codeOf(() => builder.state('x', 'f32', [4]))).toBe('usage/graph');
    expect(codeOf(() => builder.output('x', x))).toBe('usage/graph');
    expect(codeOf(() => builder.input('y', 'f32', [4]))).toBe('usage/graph');
    expect(codeOf(() => builder.output('y', x))).toBe('usage/graph');
    // Weights live in their own set.
    builder.weight('x', { dtype: 'f32', shape: [4] });
  });
});

describe('weight views', () => {
  const builder = new GraphBuilder('views');
  const stored = { dtype: 'q4_0', shape: [2, 5, 96] } as const;

  it('flatten leading axes and fill in what is left out', () => {
    const view = builder.weight('w', stored, { rowStart: 3, columns: 64 });
    expect(view.shape).toEqual([7, 64]);
    expect(view.source).toMatchObject({ view: { rowStart: 3, rows: 7, columnStart: 0, columns: 64 } });
    expect(builder.weight('w', stored, { columnStart: 32 }).shape).toEqual([10, 64]);
  });

  it.each([
    [{ rowStart: 10 }],
    [{ rowStart: -1 }],
    [{ rows: 11 }],
    [{ rowStart: 4, rows: 7 }],
    [{ columns: 128 }],
    [{ rows: 0 }],
    [{ columnStart: 16 }],
    [{ columns: 48 }],
  ])('%o is refused', (view) => {
    expect(codeOf(() => builder.weight('w', stored, view))).toBe('usage/weight-view');
  });

  it('are of any width where elements stand alone', () => {
    expect(
      builder.weight('v', { dtype: 'bf16', shape: [3, 7] }, { columnStart: 1, columns: 5 }).shape,
    ).toEqual([3, 5]);
  });
});

describe('nodes', () => {
  it('have operands in declared order and attributes with their defaults', () => {
    const builder = new GraphBuilder('nodes');
    const positions = builder.input('positions', 'i32', ['tokens']);
    const frequencies = builder.constant(Float32Array.of(1, 0.5));
    const x = builder.input('x', 'f32', ['tokens', 3, 4]);
    const [y] = builder.apply('rope', { frequencies, positions, x }, { layout: 'interleaved' });
    const [node] = builder.build().nodes;
    expect(Object.keys(node!.inputs)).toEqual(['x', 'positions', 'frequencies']);
    expect(node!.attributes).toEqual({ layout: 'interleaved', magnitude: 1 });
    expect(y!.shape).toEqual(['tokens', 3, 4]);
  });

  it('are checked where they are added', () => {
    const builder = new GraphBuilder('nodes');
    const x = builder.input('x', 'f32', ['tokens', 4]);
    const ids = builder.input('ids', 'i32', ['tokens']);
    const mistakes: [string, () => unknown][] = [
      ['unsupported/op', () => builder.apply('fancy', { x })],
      ['usage/graph', () => builder.apply('rmsNorm', {}, { epsilon: 1 })],
      ['usage/graph', () => builder.apply('scale', { x, y: x }, { factor: 1 })],
      ['usage/attribute', () => builder.apply('scale', { x })],
      ['usage/attribute', () => builder.apply('scale', { x }, { factor: '2' })],
      ['usage/attribute', () => builder.apply('scale', { x }, { factor: 2, bias: 1 })],
      ['usage/attribute', () => builder.apply('activation', { x }, { kind: 'swish' })],
      ['usage/graph', () => builder.constant(Float32Array.of(1, 2), [3])],
      ['usage/shape', () => builder.scale(ids, 2)],
      ['usage/shape', () => builder.matmul(x, builder.weight('w', { dtype: 'f32', shape: [3, 5] }))],
      ['usage/shape', () => builder.add(x, builder.input('y', 'f32', ['rows', 4]))],
      ['usage/shape', () => builder.reshape(x, ['tokens', 5])],
      ['usage/shape', () => builder.slice(x, 1, 3, 2)],
      ['usage/shape', () => builder.slice(x, 0, 0, 1)],
      ['usage/shape', () => builder.takeRows(x, x)],
      ['usage/shape', () => builder.concat([x, ids], 1)],
      ['usage/shape', () => builder.glu(x, builder.reshape(x, ['tokens', 2, 2]), 'silu')],
      ['usage/shape', () => builder.matchRms(x, builder.reshape(x, ['tokens', 4, 1]))],
      ['usage/shape', () => builder.mean(x)],
      ['usage/shape', () => builder.reshape(builder.weight('q', { dtype: 'q8_0', shape: [2, 32] }), [64])],
      ['usage/shape', () => builder.altUpInject(builder.input('s', 'f32', [2, 'tokens', 4]), x, 2)],
    ];
    expect(mistakes.map(([, run]) => codeOf(run))).toEqual(mistakes.map(([code]) => code));
    // Nothing was added on the way.
    expect(builder.build().nodes.map(({ op }) => op)).toEqual(['reshape', 'reshape']);
  });

  it('read the last version of a state, never one that was overwritten', () => {
    const builder = new GraphBuilder('state');
    const state = builder.state('kv', 'f32', ['pool', 2, 1, 4, 2]);
    const key = builder.input('key', 'f32', ['tokens', 1, 2]);
    const slots = builder.input('slots', 'i32', ['tokens']);
    const write = (from: Value): Value => builder.kvWrite(from, key, key, slots);
    const written = write(state);
    expect(codeOf(() => write(state))).toBe('usage/graph');
    expect(codeOf(() => builder.output('stale', state))).toBe('usage/graph');
    const attend = (from: Value): Value =>
      builder.attention(
        {
          query: builder.input('query', 'f32', ['tokens', 1, 2]),
          state: from,
          positions: builder.input('positions', 'i32', ['tokens']),
          starts: builder.input('starts', 'i32', ['sequences']),
          blocks: builder.input('blocks', 'i32', ['sequences', 'columns']),
        },
        { scale: 1 },
      );
    expect(codeOf(() => attend(state))).toBe('usage/graph');
    // Reading what the writer returned is fine, by any number of readers.
    attend(written);
    attend(written);
  });
});

describe('build', () => {
  it('is a snapshot: the builder may go on', () => {
    const builder = new GraphBuilder('snapshot');
    const x = builder.input('x', 'f32', [4]);
    builder.output('y', builder.scale(x, 2));
    const graph = builder.build();
    builder.output('z', builder.scale(x, 3));
    expect([graph.nodes.length, Object.keys(graph.outputs)]).toEqual([1, ['y']]);
    expect(builder.build().nodes).toHaveLength(2);
  });
});
