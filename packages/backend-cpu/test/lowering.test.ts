/** Plans as text: what is fused, in which order, and where intermediates lie. */
import { graphSignature, GraphBuilder, type Graph } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { lower, readValues, writtenValues, type LoweringOptions } from '../src/lowering/lower.js';
import type { Plan } from '../src/lowering/plan.js';
import { printPlan } from '../src/lowering/text.js';
import { altUpGraph, decoderGraph } from './graphs.js';

const maximumDims = {
  tokens: 8,
  sequences: 2,
  columns: 4,
  outputs: 2,
  pool: 9,
  historyRows: 2,
  capacity: 64,
};

function plan(graph: Graph, options: Partial<LoweringOptions> = {}): Plan {
  return lower(graph, {
    signature: graphSignature(graph),
    precision: 'fast',
    maximumDims,
    takesInt8: () => true,
    ...options,
  });
}

describe('plans', () => {
  it('of a Llama layer', async () => {
    await expect(printPlan(plan(decoderGraph('q8_0')))).toMatchFileSnapshot('snapshots/layer.txt');
  });

  it('of a layer with norms everywhere, biases and a softcap', async () => {
    await expect(printPlan(plan(decoderGraph('q8_0', { norms: true })))).toMatchFileSnapshot(
      'snapshots/normed-layer.txt',
    );
  });

  it('of AltUp streams', async () => {
    await expect(printPlan(plan(altUpGraph('q8_0')))).toMatchFileSnapshot('snapshots/alt-up.txt');
  });

  it('at f32, where nothing is quantized', () => {
    const text = printPlan(plan(decoderGraph('q8_0'), { precision: 'f32' }));
    expect(text).not.toContain('int8');
    expect(text).toContain('f32 products of rmsNorm');
  });
});

describe('fusion', () => {
  const builder = (): { b: GraphBuilder; x: ReturnType<GraphBuilder['input']> } => {
    const b = new GraphBuilder('fusion');
    return { b, x: b.input('x', 'f32', ['tokens', 64]) };
  };
  const spec = { dtype: 'q8_0', shape: [32, 64] } as const;

  it('keeps a norm apart that others read too', () => {
    const { b, x } = builder();
    const normed = b.rmsNorm(x, undefined, { epsilon: 1e-6 });
    b.output('y', b.matmul(normed, b.weight('w', spec)));
    b.output('normed', normed);
    expect(plan(b.build()).steps.map(({ kind }) => kind)).toEqual(['rows', 'matmul']);
  });

  it('does not fuse an addition whose product is an output', () => {
    const { b, x } = builder();
    const product = b.matmul(x, b.weight('w', spec));
    b.output('product', product);
    b.output('sum', b.add(product, b.input('residual', 'f32', ['tokens', 32])));
    expect(plan(b.build()).steps.map(({ kind }) => kind)).toEqual(['matmul', 'rows']);
  });

  it('does not compute a product before the residual that is added to it', () => {
    const { b, x } = builder();
    const first = b.matmul(x, b.weight('w', spec));
    const second = b.matmul(x, b.weight('v', spec));
    const residual = b.gaussianTopK(first, 0.5);
    b.output('y', b.add(second, residual));
    expect(plan(b.build()).steps.map(({ kind }) => kind)).toEqual(['matmul', 'rows', 'matmul']);
  });

  it('begins a new chain where a kernel reads other rows than its own', () => {
    const { b, x } = builder();
    const doubled = b.scale(x, 2);
    b.output('y', b.takeRows(doubled, b.input('rows', 'i32', ['tokens'])));
    const { steps } = plan(b.build());
    expect(steps.map((step) => step.kind === 'rows' && step.links.length)).toEqual([1, 1]);
  });

  it('chains what stays in its row', () => {
    const { b, x } = builder();
    b.output('y', b.activation(b.add(b.scale(x, 2), x), 'silu'));
    const { steps } = plan(b.build());
    expect(steps.map((step) => step.kind === 'rows' && step.links.length)).toEqual([3]);
  });

  it('does not pair the products of a gated unit whose weights begin inside a group of rows', () => {
    const { b, x } = builder();
    const part = (name: string, rowStart: number): ReturnType<GraphBuilder['weight']> =>
      b.weight(name, spec, { rowStart, rows: 16 });
    b.output('y', b.glu(b.matmul(x, part('gate', 0)), b.matmul(x, part('up', 5)), 'silu'));
    const { steps } = plan(b.build());
    const gated = steps.some((step) => step.kind === 'matmul' && step.products.some((one) => one.gated));
    expect(gated).toBe(false);
  });
});

describe('memory of a plan', () => {
  for (const [name, graph] of [
    ['layer', decoderGraph('q8_0')],
    ['normed layer', decoderGraph('q4_0', { norms: true })],
    ['altUp', altUpGraph('f32')],
  ] as const) {
    it(`${name}: every value of the arena has a place that lives from its first writer to its last reader`, () => {
      const { values, steps, places } = plan(graph);
      const placeOf = new Map(places.flatMap((place) => place.roots.map((root) => [root, place] as const)));
      steps.forEach((step, index) => {
        for (const id of [...readValues(step), ...writtenValues(step)]) {
          const { root } = values[id]!;
          if (values[root]!.storage.kind !== 'arena') continue;
          const place = placeOf.get(root)!;
          expect(place.first).toBeLessThanOrEqual(index);
          expect(place.last).toBeGreaterThanOrEqual(index);
        }
      });
      places.forEach((a, i) =>
        places.slice(i + 1).forEach((b) => {
          const together = a.first <= b.last && b.first <= a.last;
          const apart = a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset;
          expect(!together || apart).toBe(true);
        }),
      );
    });
  }
});
