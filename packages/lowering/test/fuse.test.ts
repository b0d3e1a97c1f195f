/** Which nodes products take with them. */
import { GraphBuilder, type Graph } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { findFusions, placeValues, type Fusions } from '../src/index.js';

function fused(graph: Graph): Fusions {
  const values = placeValues(graph, new Map([['input:x', 0]]));
  return findFusions({ graph, values, quantized: () => false, joins: true, aligned: () => true });
}

describe('a sum of two products', () => {
  it('is made by one of them, from what the other made before', () => {
    const b = new GraphBuilder('sum');
    const x = b.input('x', 'f32', ['tokens', 4]);
    const of = (name: string) => b.matmul(x, b.weight(name, { dtype: 'f32', shape: [2, 4] }));
    const [base, adapter] = [of('base'), of('adapter')];
    const sum = b.add(base, adapter);
    b.output('y', sum);
    const products = [...fused(b.build()).products.values()].map(({ product }) => product);
    expect(products.map(({ out, residual }) => [out, residual])).toEqual([
      [sum.id, adapter.id],
      [adapter.id, undefined],
    ]);
  });
});
