/** The order of products and the values they need, and where scratch of a step lies. */
import { graphSignature, GraphBuilder, type Graph } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import {
  attentionStep,
  bindingIndices,
  bindOutputs,
  findFusions,
  isView,
  matmulStep,
  orderSteps,
  placeInArena,
  placeValues,
  type PlannedValue,
  type StepAccess,
} from '../src/index.js';

/** Names of ops in the order of steps; a product's as the weights in it. */
function ordered(graph: Graph, joins = false): string[] {
  const values = placeValues(graph, bindingIndices(graphSignature(graph)));
  const out: string[] = [];
  const fusions = findFusions({ graph, values, quantized: () => false, aligned: () => true, joins });
  const name = (id: number): string => {
    const { storage } = values[id]!;
    return storage.kind === 'weight' ? storage.name : storage.kind;
  };
  orderSteps(graph, fusions, {
    matmul(group) {
      const { join, products } = matmulStep(group);
      const weights = products.map(({ weight }) => name(weight)).join('+');
      out.push(join ? `join ${weights}` : weights);
    },
    node: (node) => isView(node, values) || out.push(node.op),
  });
  return out;
}

const spec = { dtype: 'f32', shape: [8, 8] } as const;

describe('orderSteps', () => {
  it('computes products over one x together', () => {
    const b = new GraphBuilder('together');
    const x = b.input('x', 'f32', ['tokens', 8]);
    b.output('p', b.matmul(x, b.weight('p', spec)));
    b.output('q', b.matmul(x, b.weight('q', spec)));
    expect(ordered(b.build())).toEqual(['p+q']);
  });

  it('waits for a residual', () => {
    const b = new GraphBuilder('residual');
    const x = b.input('x', 'f32', ['tokens', 8]);
    const p = b.matmul(x, b.weight('p', spec));
    b.output('q', b.add(b.matmul(x, b.weight('q', spec)), b.gaussianTopK(p, 0.5)));
    expect(ordered(b.build())).toEqual(['p', 'gaussianTopK', 'q']);
  });

  describe('with joins', () => {
    const epsilon = 1e-6;

    it('makes a sum where the first products read it', () => {
      const b = new GraphBuilder('sum');
      const x = b.input('x', 'f32', ['tokens', 8]);
      const sum = b.add(x, b.rmsNorm(b.matmul(x, b.weight('o', spec)), undefined, { epsilon }));
      const normed = b.rmsNorm(sum, b.weight('norm', { dtype: 'f32', shape: [8] }), { epsilon });
      const p = b.matmul(normed, b.weight('p', spec));
      // Not before p, which it needs: a step of its own, after the sum is made.
      const q = b.add(b.matmul(normed, b.weight('q', spec)), b.gaussianTopK(p, 0.5));
      b.output('y', b.add(sum, b.rmsNorm(q, undefined, { epsilon })));
      const graph = b.build();
      expect(ordered(graph)).toEqual(['o', 'rmsNorm', 'add', 'p', 'gaussianTopK', 'q', 'rmsNorm', 'add']);
      expect(ordered(graph, true)).toEqual(['o', 'join p', 'gaussianTopK', 'q', 'rmsNorm', 'add']);
    });

    it('makes a sum by itself that something reads before', () => {
      const b = new GraphBuilder('before');
      const x = b.input('x', 'f32', ['tokens', 8]);
      const sum = b.add(b.rmsNorm(b.scale(x, 2), undefined, { epsilon }), x);
      const early = b.scale(sum, 3);
      const normed = b.rmsNorm(sum, undefined, { epsilon });
      b.output('y', b.add(b.gaussianTopK(early, 1), b.matmul(normed, b.weight('p', spec))));
      expect(ordered(b.build(), true)).toEqual(['scale', 'rmsNorm', 'add', 'scale', 'gaussianTopK', 'p']);
    });

    it('does not join a normed sum of other shapes', () => {
      const b = new GraphBuilder('shapes');
      const x = b.input('x', 'f32', ['tokens', 8]);
      const sum = b.add(b.input('row', 'f32', [8]), b.rmsNorm(x, undefined, { epsilon }));
      b.output('y', b.matmul(b.rmsNorm(sum, undefined, { epsilon }), b.weight('p', spec)));
      expect(ordered(b.build(), true)).toEqual(['rmsNorm', 'add', 'p']);
    });
  });

  it('leaves out views', () => {
    const b = new GraphBuilder('views');
    const x = b.input('x', 'f32', ['tokens', 8]);
    b.output('y', b.reshape(b.scale(x, 2), ['tokens', 2, 4]));
    expect(ordered(b.build())).toEqual(['scale']);
  });
});

describe('placeInArena', () => {
  const value = (id: number): PlannedValue => ({
    id,
    dtype: 'f32',
    shape: [16],
    root: id,
    offset: [],
    storage: { kind: 'arena' },
  });
  const step = (reads: number[], writes: number[], more: Partial<StepAccess> = {}): StepAccess => ({
    reads,
    writes,
    overwritable: () => [],
    ...more,
  });

  it('keeps scratch apart from everything that lives in its step', () => {
    const values = [value(0), value(1), value(2)];
    const { places, bytes, scratchOffsets } = placeInArena(
      values,
      [step([], [0]), step([0], [1], { scratchBytes: 64 }), step([1], [2])],
      {},
    );
    const [first, second] = places.map(({ offset }) => offset);
    expect(new Set([first, second, scratchOffsets[1]]).size).toBe(3);
    expect(bytes).toBe(192);
  });

  it('writes over an operand that dies', () => {
    const values = [value(0), value(1)];
    const { places, bytes } = placeInArena(
      values,
      [step([], [0]), step([0], [1], { overwritable: () => [0] })],
      {},
    );
    expect(places.map(({ roots }) => roots)).toEqual([[0, 1]]);
    expect(bytes).toBe(64);
  });
});

describe('bindOutputs', () => {
  it('copies what is an input or an output twice', () => {
    const b = new GraphBuilder('outputs');
    const x = b.input('x', 'f32', ['tokens', 8]);
    const y = b.scale(x, 2);
    b.output('same', x);
    b.output('y', y);
    b.output('again', y);
    const graph = b.build();
    const bindings = bindingIndices(graphSignature(graph));
    const values = placeValues(graph, bindings);
    const copied = bindOutputs(graph, values, bindings).map(({ to }) => to);
    expect(copied).toEqual(
      ['same', 'again'].map((name) => ({ kind: 'binding', index: bindings.get(`output:${name}`)! })),
    );
  });
});

describe('attentionStep', () => {
  it('takes the attributes of its node', () => {
    const node = {
      id: 3,
      op: 'attention',
      inputs: { query: 0, state: 1, positions: 2, starts: 3, blocks: 4 },
      outputs: [5],
      attributes: { scale: 0.5, window: 7 },
    };
    expect(attentionStep(node)).toMatchObject({ node: 3, out: 5, scale: 0.5, window: 7, softcap: undefined });
  });
});
