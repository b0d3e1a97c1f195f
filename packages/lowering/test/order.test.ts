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
function ordered(graph: Graph): string[] {
  const values = placeValues(graph, bindingIndices(graphSignature(graph)));
  const out: string[] = [];
  const fusions = findFusions({ graph, values, quantized: () => false, aligned: () => true });
  const name = (id: number): string => {
    const { storage } = values[id]!;
    return storage.kind === 'weight' ? storage.name : storage.kind;
  };
  orderSteps(graph, fusions, {
    matmul: (group) =>
      out.push(
        matmulStep(group)
          .products.map(({ weight }) => name(weight))
          .join('+'),
      ),
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
    const { slots, bytes, scratchOffsets } = placeInArena(
      values,
      [step([], [0]), step([0], [1], { scratchBytes: 64 }), step([1], [2])],
      {},
    );
    const [first, second] = slots.map(({ offset }) => offset);
    expect(new Set([first, second, scratchOffsets[1]]).size).toBe(3);
    expect(bytes).toBe(192);
  });

  it('writes over an operand that dies', () => {
    const values = [value(0), value(1)];
    const { slots, bytes } = placeInArena(
      values,
      [step([], [0]), step([0], [1], { overwritable: () => [0] })],
      {},
    );
    expect(slots.map(({ roots }) => roots)).toEqual([[0, 1]]);
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
