/** Plans as text, the memory of steps, weights that plain kernels cannot read, and dispatches of concrete dims. */
import { graphSignature, GraphBuilder, type Graph, type Value } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { maximumGroups, pushConstantBytes } from '../src/dispatch/dispatch.js';
import type { AttentionKernel } from '../src/kernel/attention.js';
import { kernelOf, kernelTable } from '../src/kernel/kernels.js';
import type { MatmulKernel } from '../src/kernel/matmul.js';
import { attentionBounds, keyBucket } from '../src/lowering/attention-bound.js';
import { dispatchesOf } from '../src/lowering/dispatches.js';
import { lower } from '../src/lowering/lower.js';
import type { OpStep, Plan } from '../src/lowering/plan.js';
import { printPlan } from '../src/lowering/text.js';
import { decoderGraph, tableOf, traits } from './graphs.js';

const maximumDims = {
  tokens: 8,
  sequences: 2,
  columns: 4,
  outputs: 2,
  pool: 9,
  historyRows: 2,
  capacity: 64,
};
const target = { traits, table: kernelTable };

function plan(graph: Graph, host: readonly string[] = [], precision: 'f32' | 'fast' = 'fast'): Plan {
  const weights = tableOf(graph, host);
  return lower(graph, { signature: graphSignature(graph), precision, maximumDims, weights, target });
}

const kinds = ({ steps }: Plan): string[] =>
  steps.map((step) => (step.kind === 'op' ? step.kernel : step.kind));

describe('plans', () => {
  it('of a decoder layer', async () => {
    await expect(printPlan(plan(decoderGraph('q8_0')))).toMatchFileSnapshot('snapshots/layer.txt');
  });

  it('at f32 hold no fast product', () => {
    expect(printPlan(plan(decoderGraph('q8_0'), [], 'f32'))).not.toContain('fast products');
  });

  it('keep apart in the arena what lives at the same time', () => {
    const { values, steps, places, memory } = plan(decoderGraph('q4_0'));
    const placeOf = new Map(places.flatMap((place) => place.roots.map((root) => [root, place] as const)));
    steps.forEach((step, index) => {
      const kernel = kernelOf(step, kernelTable);
      for (const id of [...kernel.reads(step), ...kernel.writes(step)]) {
        const { root } = values[id]!;
        if (values[root]!.storage.kind !== 'arena') continue;
        const place = placeOf.get(root)!;
        expect(place.first).toBeLessThanOrEqual(index);
        expect(place.last).toBeGreaterThanOrEqual(index);
        const { scratchOffset, scratchBytes } = memory[index]!;
        const apart =
          place.offset + place.bytes <= scratchOffset || scratchOffset + scratchBytes <= place.offset;
        expect(apart || scratchBytes === 0).toBe(true);
      }
    });
  });
});

describe('norms', () => {
  const shape = ['tokens', 64] as const;
  const epsilon = 1e-6;

  it('take the sums and the scale that follow them', () => {
    const b = new GraphBuilder('sums');
    const [x, y, z] = ['x', 'y', 'z'].map((name) => b.input(name, 'f32', [...shape]));
    const sum = b.add(b.add(z!, b.add(y!, b.rmsNorm(x!, undefined, { epsilon }))), x!);
    b.output('sum', b.add(b.rmsNorm(y!, undefined, { epsilon }), sum));
    b.output('scaled', b.scale(b.rmsNorm(z!, undefined, { epsilon }), 0.3));
    expect(kinds(plan(b.build()))).toEqual(['rmsNorm', 'add', 'rmsNorm', 'rmsNorm']);
  });

  it('leave alone what others read, and rows that repeat', () => {
    const b = new GraphBuilder('apart');
    const x = b.input('x', 'f32', [...shape]);
    const normed = b.rmsNorm(x, undefined, { epsilon });
    const row = b.input('row', 'f32', [64]);
    b.output('a', b.add(normed, x));
    b.output('b', b.add(b.rmsNorm(normed, undefined, { epsilon }), row));
    expect(kinds(plan(b.build()))).toEqual(['rmsNorm', 'add', 'rmsNorm', 'add']);
  });

  it('give a power of two between them and a product to the product', () => {
    const made = (factor: number): Plan => {
      const b = new GraphBuilder('router');
      const normed = b.rmsNorm(b.input('x', 'f32', [...shape]), undefined, { epsilon });
      const router = b.weight('router', { dtype: 'q8_0', shape: [4, 64] });
      b.output('y', b.activation(b.matmul(b.scale(normed, factor), router), 'tanh'));
      return plan(b.build());
    };
    expect(kinds(made(1 / 64))).toEqual(['matmul']);
    expect(printPlan(made(1 / 64))).toContain('"router", scale 0.015625, tanh');
    expect(kinds(made(0.3))).toEqual(['rmsNorm', 'matmul']);
  });
});

describe('heads', () => {
  const headsOf = (b: GraphBuilder, name: string, count: number): Value =>
    b.input(name, 'f32', ['tokens', count, 32]);
  const inputs = (b: GraphBuilder) => ({
    positions: b.input('positions', 'i32', ['tokens']),
    starts: b.input('starts', 'i32', ['sequences']),
    blocks: b.input('blocks', 'i32', ['sequences', 'columns']),
  });
  const frequencies = Float32Array.from({ length: 16 }, (_, i) => 0.5 ** i);

  it('are stored by themselves where something else than attention touches the state next', () => {
    const b = new GraphBuilder('stored');
    const write = (state: Value, name: string): Value =>
      b.kvWrite(
        state,
        headsOf(b, `${name}.key`, 2),
        headsOf(b, `${name}.value`, 2),
        b.input(`${name}.slots`, 'i32', ['tokens']),
      );
    const { positions, starts, blocks } = inputs(b);
    const state = write(write(b.state('kv', 'f16', ['pool', 2, 2, 16, 32]), 'first'), 'second');
    const query = b.rope(headsOf(b, 'query', 4), positions, b.constant(frequencies), {});
    b.output('a', b.attention({ query, state, positions, starts, blocks }, { scale: 1 }));
    expect(kinds(plan(b.build()))).toEqual(['heads', 'ropeTable', 'heads', 'attention']);
  });

  it('turn apart where angles differ', () => {
    const b = new GraphBuilder('apart');
    const { positions, starts, blocks } = inputs(b);
    const key = b.rope(headsOf(b, 'key', 2), positions, b.constant(frequencies), {});
    const state = b.kvWrite(
      b.state('kv', 'f16', ['pool', 2, 2, 16, 32]),
      key,
      headsOf(b, 'value', 2),
      b.input('slots', 'i32', ['tokens']),
    );
    const query = b.rope(headsOf(b, 'query', 4), positions, b.constant(frequencies.map((x) => x / 3)), {});
    b.output('a', b.attention({ query, state, positions, starts, blocks }, { scale: 1 }));
    expect(kinds(plan(b.build()))).toEqual(['ropeTable', 'heads', 'ropeTable', 'heads', 'attention']);
  });
});

describe('preparing that attention does', () => {
  it('is that of the products that alone read its result', () => {
    const { inlinedPreparing, steps } = plan(decoderGraph('q8_0'));
    const names = inlinedPreparing.map(({ attention, products }) => [
      steps[attention]!.kind,
      steps[products]!.kind,
    ]);
    expect(names).toEqual([['attention', 'matmul']]);
  });

  it('is done where both kernels agree', () => {
    const graph = decoderGraph('q8_0');
    const made = plan(graph);
    const calls: boolean[] = [];
    const attention: AttentionKernel = {
      ...kernelTable.attention,
      quantizes: () => true,
      dispatch: (call) => (calls.push(call.quantizes === true), []),
    };
    const matmul: MatmulKernel = {
      ...kernelTable.matmul,
      takesPrepared: () => true,
      dispatch: ({ prepared }) => (calls.push(prepared === true), []),
    };
    const table = { ...kernelTable, attention, matmul };
    dispatchesOf(made, tableOf(graph), { traits, table }, { dims: maximumDims });
    // query, key and value; attention; output; gate and up; down; head
    expect(calls).toEqual([false, true, true, false, false, false]);
  });
});

describe('heads that attention does', () => {
  const graph = decoderGraph('q8_0');
  const { inlinedHeads, steps, places, values } = plan(graph);
  const names = (dims: Record<string, number>): string[] =>
    dispatchesOf(plan(graph), tableOf(graph), target, { dims }).map(({ name }) => name);

  it('are those right before it, whose operands live as long', () => {
    expect(inlinedHeads.map(({ heads, attention }) => [steps[heads]!.kind, steps[attention]!.kind])).toEqual([
      ['heads', 'attention'],
    ]);
    const { heads, attention } = inlinedHeads[0]!;
    const step = steps[heads]!;
    if (step.kind !== 'heads') throw new Error('no heads');
    for (const id of [step.stored!.key.x, step.stored!.value.x, step.rope!.table]) {
      expect(places.find(({ roots }) => roots.includes(values[id]!.root))!.last).toBeGreaterThanOrEqual(
        attention,
      );
    }
  });

  it('are of a single row', () => {
    const one = { ...maximumDims, tokens: 1, sequences: 1, outputs: 1 };
    expect(names(one).filter((name) => name.includes('heads'))).toEqual(['heads+attention+prepare int8 f16']);
    const two = { ...one, tokens: 2 };
    expect(names(two).filter((name) => name.includes('heads'))).toEqual(['heads f16']);
  });

  it('are not where something else reads their queries', () => {
    const b = new GraphBuilder('shared');
    const floats = (name: string, count: number): Value => b.input(name, 'f32', ['tokens', count, 32]);
    const rows = b.input('rows', 'i32', ['tokens']);
    const query = b.rmsNorm(floats('query', 4), undefined, { epsilon: 1e-6 });
    const state = b.kvWrite(
      b.state('kv', 'f16', ['pool', 2, 2, 16, 32]),
      floats('key', 2),
      floats('value', 2),
      rows,
    );
    const starts = b.input('starts', 'i32', ['sequences']);
    const blocks = b.input('blocks', 'i32', ['sequences', 'columns']);
    b.output('a', b.attention({ query, state, positions: rows, starts, blocks }, { scale: 1 }));
    b.output('b', b.softcap(query, 3));
    expect(plan(b.build()).inlinedHeads).toEqual([]);
  });
});

describe('weights as plain operands', () => {
  it('are read as f32 where they are vectors', () => {
    const b = new GraphBuilder('vector');
    b.output(
      'y',
      b.rmsNorm(b.input('x', 'f32', ['tokens', 32]), b.weight('w', { dtype: 'q8_0', shape: [32] }), {
        epsilon: 1e-6,
      }),
    );
    expect(kinds(plan(b.build()))).toEqual(['rmsNorm']);
  });

  it('are decoded once where they are packed matrices', () => {
    const b = new GraphBuilder('matrix');
    const w = b.weight('w', { dtype: 'q8_0', shape: [3, 32] });
    const x = b.input('x', 'f32', [3, 32]);
    b.output('y', b.add(b.multiply(x, w), w));
    const made = plan(b.build());
    expect(kinds(made)).toEqual(['embed', 'multiply', 'add']);
    expect(Object.keys((made.steps[0] as OpStep).inputs)).toEqual(['table']);
  });

  it('are copied where movers want a part of rows', () => {
    const b = new GraphBuilder('part');
    const w = b.weight('w', { dtype: 'f16', shape: [6, 7] }, { rowStart: 1, rows: 4 });
    b.output('y', b.takeRows(w, b.input('rows', 'i32', ['tokens'])));
    expect(kinds(plan(b.build()))).toEqual(['copy', 'takeRows']);
  });
});

describe('weights in host memory', () => {
  const lookup = (ids: (b: GraphBuilder) => ReturnType<GraphBuilder['input']>): Graph => {
    const b = new GraphBuilder('lookup');
    b.output('y', b.embed(ids(b), b.weight('table', { dtype: 'q4_0', shape: [100, 64] })));
    return b.build();
  };

  it('are gathered by ids of the host', () => {
    const made = plan(
      lookup((b) => b.input('ids', 'i32', ['tokens'])),
      ['table'],
    );
    expect(made.gathers).toEqual([
      { step: 0, weight: 'table', ids: 0, beyond: 'error', byteLength: expect.any(Number) },
    ]);
  });

  it('are refused by computed ids and by products', () => {
    const computed = lookup((b) =>
      b.takeRows(b.input('all', 'i32', [9]), b.input('rows', 'i32', ['tokens'])),
    );
    expect(() => plan(computed, ['table'])).toThrow('ids that are computed');
    const b = new GraphBuilder('product');
    b.output(
      'y',
      b.matmul(b.input('x', 'f32', ['tokens', 64]), b.weight('w', { dtype: 'q4_0', shape: [32, 64] })),
    );
    expect(() => plan(b.build(), ['w'])).toThrow('stays in host memory');
  });
});

describe('dispatches', () => {
  const graph = decoderGraph('q4_0');
  const made = plan(graph);

  it('stay within every limit, for any dims', () => {
    for (const tokens of [0, 1, 3, 8]) {
      for (const outputs of [0, 1, 2]) {
        const dims = { ...maximumDims, tokens, outputs };
        for (const { groups, arguments: given, name } of dispatchesOf(made, tableOf(graph), target, {
          dims,
        })) {
          expect(groups.every((count) => count >= 1 && count <= maximumGroups)).toBe(true);
          const bytes = given.reduce(
            (sum, { kind }) => sum + (kind === 'address' || kind === 'null' ? 8 : 4),
            0,
          );
          expect(bytes).toBeLessThanOrEqual(pushConstantBytes);
          expect(name.length).toBeGreaterThan(0);
          for (const argument of given) {
            if (argument.kind !== 'address' || argument.place.storage.kind !== 'arena') continue;
            const { byteOffset, byteLength } = argument.place;
            expect(byteOffset + byteLength).toBeLessThanOrEqual(made.arenaBytes);
          }
        }
      }
    }
  });

  it('are the same for the same dims', () => {
    const once = (): string =>
      JSON.stringify(dispatchesOf(made, tableOf(graph), target, { dims: maximumDims }));
    expect(once()).toBe(once());
  });
});

describe('the bound of keys', () => {
  it('comes from positions, also narrowed ones', () => {
    const made = plan(decoderGraph('q4_0'));
    expect(attentionBounds(made).map(({ binding }) => binding)).toEqual([
      made.bindings.get('input:positions'),
    ]);
  });

  it('is a power of two from 256 on', () => {
    const keys = [0, 1, 128, 129, 257, 384, 385, 513, 769, 5000];
    expect(keys.map(keyBucket)).toEqual([128, 128, 128, 256, 384, 384, 512, 768, 1024, 6144]);
  });
});
