import { describe, expect, it } from 'vitest';
import {
  formatSpec,
  GraphBuilder,
  lastUses,
  namedValues,
  nodeCost,
  printGraph,
  symbolicDims,
  workText,
} from '../../src/index.js';

function small() {
  const builder = new GraphBuilder('small');
  const ids = builder.input('ids', 'i32', ['tokens']);
  const table = { dtype: 'q8_0', shape: [40, 64] } as const;
  const x = builder.embed(ids, builder.weight('table', table), { scale: 8 });
  const heads = builder.reshape(x, ['tokens', 2, 32]);
  const turned = builder.rope(
    heads,
    builder.input('positions', 'i32', ['tokens']),
    builder.constant(new Float32Array(16)),
  );
  const state = builder.state('kv.0', 'f16', ['pool', 2, 2, 16, 32]);
  builder.kvWrite(state, turned, heads, builder.input('slots', 'i32', ['tokens']));
  const view = builder.weight('table', table, { rowStart: 8, rows: 16 });
  builder.output('logits', builder.matmul(x, view));
  return builder.build();
}

describe('printGraph', () => {
  it('is a line for each value that enters, each node and each output', () => {
    expect(printGraph(small())).toMatchInlineSnapshot(`
      "graph "small"
        %0 = input "ids" : i32[tokens]
        %1 = weight "table" : q8_0[40, 64]
        %4 = input "positions" : i32[tokens]
        %5 = constant 16 elements : f32[16]
        %7 = state "kv.0" : f16[pool, 2, 2, 16, 32]
        %8 = input "slots" : i32[tokens]
        %10 = weight "table" rows 8+16 columns 0+64 of q8_0[40, 64] : q8_0[16, 64]
        %2 = embed(ids: %0, table: %1) {scale: 8, beyond: error} : f32[tokens, 64]
        %3 = reshape(x: %2) {shape: [tokens, 2, 32]} : f32[tokens, 2, 32]
        %6 = rope(x: %3, positions: %4, frequencies: %5) {layout: half, magnitude: 1} : f32[tokens, 2, 32]
        %9 = kvWrite(state: %7, key: %6, value: %3, slots: %8) : f16[pool, 2, 2, 16, 32]
        %11 = matmul(x: %2, weight: %10) : f32[tokens, 16]
        output "logits" = %11
      "
    `);
  });

  it('writes specs as dtype and shape', () => {
    expect(formatSpec({ dtype: 'bf16', shape: ['tokens', 3] })).toBe('bf16[tokens, 3]');
    expect(formatSpec({ dtype: 'i32', shape: [] })).toBe('i32[]');
  });
});

describe('a graph', () => {
  const graph = small();

  it('knows who reads a value last', () => {
    const last = lastUses(graph);
    const at = (op: string): number => graph.nodes.findIndex((node) => node.op === op);
    const outputOf = (op: string): number => last[graph.nodes[at(op)]!.outputs[0]!]!;
    // x is read by reshape and, later, by matmul; heads by rope and by kvWrite.
    expect(outputOf('embed')).toBe(at('matmul'));
    expect(outputOf('reshape')).toBe(at('kvWrite'));
    // An output outlives every node; the last version of a state has no reader.
    expect(outputOf('matmul')).toBe(graph.nodes.length);
    expect(outputOf('kvWrite')).toBe(at('kvWrite'));
  });

  it('lists its symbols and its named values', () => {
    expect(symbolicDims(graph)).toEqual(['pool', 'tokens']);
    expect([...namedValues(graph, 'input').keys()]).toEqual(['ids', 'positions', 'slots']);
    expect(namedValues(graph, 'weight').get('table')).toHaveLength(2);
    expect([...namedValues(graph, 'state').keys()]).toEqual(['kv.0']);
  });

  it('costs what its ops declare', () => {
    const cost = (op: string) =>
      nodeCost(
        graph.nodes.find((node) => node.op === op)!,
        graph,
        { tokens: 3, pool: 5 },
      );
    // A multiply-add is two operations; x and y are f32, the weight 16 rows of two blocks of 34 bytes.
    expect(cost('matmul')).toEqual({ flops: 2 * 3 * 64 * 16, bytes: 3 * 64 * 4 + 16 * 68 + 3 * 16 * 4 });
    // Three ids, and of each a row read and a row written: not the whole table.
    expect(cost('embed')).toEqual({ flops: 0, bytes: 12 + 3 * (68 + 256) });
    expect(cost('reshape')).toEqual({ flops: 0, bytes: 0 });
    // Keys and values in f32, out as f16: not the whole pool.
    expect(cost('kvWrite')).toEqual({ flops: 0, bytes: 8 * 192 + 4 * 192 });
    expect(() => nodeCost(graph.nodes[0]!, graph, {})).toThrow(
      expect.objectContaining({ code: 'usage/dims' }),
    );
  });
});

describe('workText', () => {
  const graph = small();
  const at = (op: string): number => graph.nodes.findIndex((node) => node.op === op);

  it('names the matrices that nodes read, as they are read', () => {
    expect(workText([at('embed')], graph)).toBe('q8_0[40, 64]');
    expect(workText([at('matmul')], graph)).toBe('q8_0[16, 64]');
    expect(workText([at('matmul'), at('matmul')], graph)).toBe('2 q8_0[16, 64]');
    expect(workText([at('embed'), at('matmul')], graph)).toBe('q8_0[40, 64] + q8_0[16, 64]');
  });

  it('names what is made where none is read', () => {
    expect(workText([at('reshape'), at('rope')], graph)).toBe('f32[tokens, 2, 32]');
    expect(workText([], graph)).toBe('');
  });
});
