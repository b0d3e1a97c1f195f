/** Graphs in parts: what crosses, who keeps which state, and the order of parts. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findOp, GraphBuilder, namedValues, printGraph, type Graph } from '@unicorn-exec/tensor';
import { partition, placesByLayer, sharedStates, type Partition } from '../../src/placement/index.js';
import { cutAt, stepGraph } from './toy-places.js';

const namesOf = (graph: Graph | undefined, kind: 'input' | 'state' | 'weight'): string[] =>
  graph ? [...namedValues(graph, kind).keys()].sort() : [];

const byLayer = (graph: Graph, layer: number): Partition =>
  partition(graph, placesByLayer(graph, cutAt(layer)));

describe('places that do not name a device for each node', () => {
  it.each([[[]], [[0, NaN]], [[0, -1]], [[0, 0.5]], [[0, undefined]], [[0, 0, 0]], [undefined], ['00']])(
    'are refused: %j',
    (places) => {
      const builder = new GraphBuilder('g');
      builder.output('y', builder.scale(builder.scale(builder.input('x', 'f32', [1]), 2), 3));
      expect(() => partition(builder.build(), places as number[])).toThrow(
        expect.objectContaining({ code: 'usage/placement' }),
      );
    },
  );
});

describe('a cut by layer', () => {
  it('hands the hidden state over and nothing else', () => {
    for (let layer = 0; layer <= 4; layer++) {
      const { parts, crossings } = byLayer(stepGraph(), layer);
      const [front, back] = parts.map(({ graph }) => graph);
      // Behind the last layer only rows whose logits are wanted.
      const shape = [layer < 4 ? 'tokens' : 'outputs', 8];
      const name: string = expect.stringMatching(/^cut\.\d+$/);
      expect(crossings).toEqual([{ name, dtype: 'f32', shape, isOutput: false, from: 0, to: [1] }]);
      expect(parts.map(({ device, after }) => [device, after])).toEqual([
        [0, []],
        [1, [0]],
      ]);
      const states = [0, 1, 2, 3].map((one) => `kv.${one}`);
      expect(namesOf(front, 'state')).toEqual(states.slice(0, layer));
      expect(namesOf(back, 'state')).toEqual(states.slice(layer));
      expect(namesOf(front, 'weight')).toContain('embed');
      expect(namesOf(back, 'weight')).toContain('head');
      expect(namesOf(front, 'input').includes('ids') && !namesOf(back, 'input').includes('ids')).toBe(true);
      expect(Object.keys(back!.outputs)).toEqual(['logits']);
      expect(front!.nodes.length + back!.nodes.length).toBe(stepGraph().nodes.length);
    }
  });

  it('lets a value that is an output anyway cross as that', () => {
    const { parts, crossings } = byLayer(stepGraph('all', true), 2);
    expect(crossings).toMatchObject([{ name: 'hidden.2', isOutput: true }]);
    expect(Object.keys(parts[0]!.graph.outputs)).toEqual(['hidden.0', 'hidden.1', 'hidden.2']);
  });

  it('has one part where nothing is computed behind', () => {
    const graph = stepGraph('none');
    const { parts, crossings } = byLayer(graph, 4);
    expect(parts).toHaveLength(1);
    expect(printGraph(parts[0]!.graph)).toBe(printGraph(graph));
    expect(crossings).toEqual([]);
  });

  it('tells of states that both sides use', () => {
    const builder = new GraphBuilder('shared');
    const [ids, positions, starts] = ['ids', 'positions', 'starts'].map((name) =>
      builder.input(name, 'i32', ['tokens']),
    );
    const weight = (name: string) => builder.weight(name, { dtype: 'f32', shape: [4, 4] });
    const heads = (name: string, x: ReturnType<typeof weight>) =>
      builder.reshape(builder.matmul(x, weight(name)), ['tokens', 1, 4]);
    const x = builder.embed(ids!, weight('embed'));
    const state = builder.state('kv.0', 'f32', ['pool', 2, 1, 4, 4]);
    const written = builder.kvWrite(state, heads('0.k', x), heads('0.v', x), ids!);
    const blocks = builder.input('blocks', 'i32', ['tokens', 'columns']);
    const see = (name: string) =>
      builder.attention(
        { query: heads(name, x), state: written, positions: positions!, starts: starts!, blocks },
        { scale: 1 },
      );
    builder.output('y', builder.add(see('0.q'), see('1.q')));
    const graph = builder.build();
    expect(sharedStates(graph, placesByLayer(graph, cutAt(1)))).toEqual(['kv.0']);
    expect(sharedStates(graph, placesByLayer(graph, cutAt(2)))).toEqual([]);
    const { parts } = byLayer(graph, 1);
    expect(parts.map((part) => namesOf(part.graph, 'state'))).toEqual([['kv.0'], ['kv.0']]);
  });
});

/** A state that is written twice and read between, by nodes that a test may place anywhere. */
function rewritten(): Graph {
  const builder = new GraphBuilder('rewritten');
  const slots = builder.input('slots', 'i32', ['tokens']);
  const positions = builder.input('positions', 'i32', ['tokens']);
  const starts = builder.input('starts', 'i32', ['sequences']);
  const blocks = builder.input('blocks', 'i32', ['sequences', 'columns']);
  const x = builder.input('x', 'f32', ['tokens', 1, 4]);
  let state = builder.state('kv', 'f32', ['pool', 2, 1, 4, 4]);
  for (let round = 0; round < 3; round++) {
    const scaled = builder.scale(x, round + 1);
    state = builder.kvWrite(state, scaled, scaled, slots);
    const seen = builder.attention({ query: scaled, state, positions, starts, blocks }, { scale: 1 });
    builder.output(`seen.${round}`, seen);
  }
  return builder.build();
}

describe('any placement', () => {
  it('runs every node once, after what it reads, and before what overwrites that', () => {
    const graphs = [stepGraph('all', true), stepGraph(), rewritten()];
    const placed = fc.constantFrom(...graphs).chain((graph) =>
      fc.record({
        graph: fc.constant(graph),
        places: fc.array(fc.nat(2), { minLength: graph.nodes.length, maxLength: graph.nodes.length }),
      }),
    );
    fc.assert(
      fc.property(placed, ({ graph, places }) => {
        const { parts, crossings } = partition(graph, places);
        expect(parts.reduce((sum, part) => sum + part.graph.nodes.length, 0)).toBe(graph.nodes.length);
        const made = new Map<string, number>();
        parts.forEach((part, index) => {
          expect(part.after.every((before) => before < index)).toBe(true);
          const names = [...namesOf(part.graph, 'input')];
          for (const { name, from, to } of crossings) {
            if (from === index) expect(Object.keys(part.graph.outputs)).toContain(name);
            if (!to.includes(index)) continue;
            expect(names).toContain(name);
            expect(made.get(name)).toBe(from);
            expect(part.after).toContain(from);
          }
          for (const name of Object.keys(part.graph.outputs)) made.set(name, index);
          // Each part is a sound graph: a state's earlier version is not read once it was overwritten.
          const gone = new Set<number>();
          for (const node of part.graph.nodes) {
            for (const id of Object.values(node.inputs)) expect(gone.has(id)).toBe(false);
            for (const operand of Object.values(findOp(node.op).aliases ?? {}))
              gone.add(node.inputs[operand]!);
          }
        });
        for (const name of Object.keys(graph.outputs)) expect(made.has(name)).toBe(true);
        // Parts that use one state, and one of which changes it, are in order.
        const users = parts.flatMap((part, index) =>
          namesOf(part.graph, 'state').includes('kv') ? [index] : [],
        );
        const writes = (index: number): boolean =>
          parts[index]!.graph.nodes.some(({ op }) => op === 'kvWrite');
        for (const [at, later] of users.entries()) {
          for (const earlier of users.slice(0, at)) {
            if (writes(earlier) || writes(later)) expect(reaches(parts, later, earlier)).toBe(true);
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  it('makes few parts: nodes of one kind in a layer go together', () => {
    const graph = stepGraph();
    const places = graph.nodes.map(({ op }) => Number(op !== 'matmul'));
    const { parts } = partition(graph, places);
    // In each of four layers: projections, attention, its product, norm, gate and up, glu, down, norm; embed and head.
    expect(parts.map(({ device }) => device).join('')).toBe(`1${'01010101'.repeat(4)}0`);
  });
});

/** Whether a part comes after another, directly or by others. */
function reaches(parts: Partition['parts'], part: number, wanted: number): boolean {
  return parts[part]!.after.some((before) => before === wanted || reaches(parts, before, wanted));
}
