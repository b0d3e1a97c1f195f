/**
 * Attention's two forms, and the merge of sections, at sizes beyond the conformance suite's: many sections, windows that move,
 * large heads, more heads than a workgroup takes. The reference evaluation is the slow twin; the forms must agree bit for bit.
 */
import { findOp, HostTensor } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attention } from '../src/kernel/attention.js';
import { kvWrite } from '../src/kernel/kv-write.js';
import { preparedBytes } from '../src/kernel/matmul-prepare.js';
import { matmul } from '../src/kernel/matmul.js';
import type { Operand } from '../src/kernel/operand.js';
import type { AttentionCall } from '../src/kernel/attention-call.js';
import { weightLayout } from '../src/weights/weight-layout.js';
import { attentionOperands, type AttentionShape } from './attention-operands.js';
import { kernelProblem, KernelRun } from './kernel-run.js';
import { normals } from './random.js';

const shapes: Record<string, AttentionShape> = {
  'many sections': {
    dtype: 'f16',
    heads: 4,
    kvHeads: 2,
    headDim: 64,
    blockTokens: 16,
    sequences: [{ keys: 1301, rows: 3 }],
  },
  'more sections than the merge takes at once': {
    dtype: 'f16',
    heads: 1,
    kvHeads: 1,
    headDim: 8,
    blockTokens: 64,
    sequences: [{ keys: 36_000, rows: 1 }],
  },
  'a window over three sections': {
    dtype: 'f16',
    heads: 3,
    kvHeads: 1,
    headDim: 80,
    blockTokens: 16,
    sequences: [
      { keys: 700, rows: 19 },
      { keys: 517, rows: 2 },
    ],
    window: 130,
  },
  'a prompt in tiles': {
    dtype: 'f16',
    heads: 7,
    kvHeads: 1,
    headDim: 128,
    blockTokens: 16,
    sequences: [{ keys: 300, rows: 37 }],
    softcap: 3,
  },
  'tiles over sequences': {
    dtype: 'bf16',
    heads: 4,
    kvHeads: 2,
    headDim: 96,
    blockTokens: 8,
    sequences: [
      { keys: 290, rows: 5 },
      { keys: 3, rows: 3 },
      { keys: 40, rows: 12 },
    ],
    ahead: 4,
  },
  'heads of 256': {
    dtype: 'q8_0',
    heads: 4,
    kvHeads: 1,
    headDim: 256,
    blockTokens: 16,
    sequences: [{ keys: 263, rows: 21 }],
  },
  'heads of 512': {
    dtype: 'f32',
    heads: 5,
    kvHeads: 1,
    headDim: 512,
    blockTokens: 16,
    sequences: [{ keys: 270, rows: 18 }],
  },
  'odd heads': {
    dtype: 'f32',
    heads: 2,
    kvHeads: 2,
    headDim: 37,
    blockTokens: 5,
    sequences: [{ keys: 261, rows: 20 }],
  },
  'twelve heads for one': {
    dtype: 'f16',
    heads: 12,
    kvHeads: 1,
    headDim: 32,
    blockTokens: 16,
    sequences: [{ keys: 300, rows: 2 }],
  },
};

const problem = kernelProblem();

describe.skipIf(problem !== undefined)(`attention kernels${problem ? ` (${problem})` : ''}`, () => {
  let run: KernelRun;
  beforeAll(() => {
    run = KernelRun.open();
  });
  afterAll(() => {
    expect(run.close()).toEqual([]);
  });

  for (const [name, shape] of Object.entries(shapes)) {
    it(`${name}: near the reference, the same bits in both forms`, async () => {
      const tensors = attentionOperands(shape);
      const { rows, columns } = { rows: tensors.query.shape[0]!, columns: tensors.blocks.columns };
      const expected = HostTensor.zeros('f32', tensors.query.shape);
      const attributes: Record<string, number> = { scale: 1 / Math.sqrt(shape.headDim) };
      if (shape.window !== undefined) attributes.window = shape.window;
      if (shape.softcap !== undefined) attributes.softcap = shape.softcap;
      findOp('attention').evaluate({
        inputs: tensors,
        attributes: attributes,
        outputs: [expected],
      });
      const given: Record<string, Operand> = {};
      for (const [key, tensor] of Object.entries(tensors)) given[key] = await run.tensor(tensor);
      const base = {
        ...(given as unknown as Pick<AttentionCall, 'query' | 'state' | 'positions' | 'starts' | 'blocks'>),
        scale: attributes.scale!,
        ...(shape.window === undefined ? {} : { window: shape.window }),
        ...(shape.softcap === undefined ? {} : { softcap: shape.softcap }),
        keys: columns * shape.blockTokens,
        counters: await run.zeros(4096),
        faults: run.faults,
      };
      const results: Float32Array[] = [];
      // The row form reads whole vectors of the state.
      const forms = shape.headDim % 8 === 0 ? (['row', 'tile'] as const) : (['tile', 'tile'] as const);
      for (const form of forms) {
        const out = await run.operand('f32', tensors.query.shape);
        const call = { ...base, out, scratch: run.faults };
        const traits = { ...run.traits, software: false };
        const scratch = await run.memory(attention.scratchBytes(call, traits, form));
        const dispatches = attention.dispatch({ ...call, scratch }, traits, form);
        expect(dispatches[0]!.pipeline.shader).toContain(form);
        await run.run(dispatches);
        results.push((await run.read(out)).floats);
        expect(await run.takeFault()).toBe(0);
      }
      // Scores are of order 1 and values too; sums of a few hundred terms in f32 and exp are off by less.
      for (let i = 0; i < expected.floats.length; i++) {
        expect(Math.abs(results[0]![i]! - expected.floats[i]!)).toBeLessThan(5e-5);
      }
      expect(rows).toBeGreaterThan(0);
      expect(new Uint8Array(results[1]!.buffer)).toEqual(new Uint8Array(results[0]!.buffer));
    });
  }

  const handed: Record<string, AttentionShape> = {
    'one section, eight heads of 256': {
      dtype: 'f16',
      heads: 8,
      kvHeads: 1,
      headDim: 256,
      blockTokens: 16,
      sequences: [{ keys: 200, rows: 3 }],
    },
    'sections merged by the last, an odd number of blocks': {
      dtype: 'q8_0',
      heads: 3,
      kvHeads: 1,
      headDim: 32,
      blockTokens: 16,
      sequences: [
        { keys: 700, rows: 2 },
        { keys: 20, rows: 1 },
      ],
    },
  };

  it.each(Object.entries(handed))('leaves what products prepare of it: %s', async (_, shape) => {
    const tensors = attentionOperands(shape);
    const given: Record<string, Operand> = {};
    for (const [key, tensor] of Object.entries(tensors)) given[key] = await run.tensor(tensor);
    const [tokens, heads, headDim] = tensors.query.shape as [number, number, number];
    const columns = heads * headDim;
    // A row that sees nothing: zeros.
    const positions = await run.tensor(
      HostTensor.i32([tokens], [...tensors.positions.integers.subarray(0, tokens - 1), -1]),
    );
    const traits = { ...run.traits, software: false };
    const base = {
      ...(given as unknown as Pick<AttentionCall, 'query' | 'state' | 'starts' | 'blocks'>),
      positions,
      scale: 1 / Math.sqrt(shape.headDim),
      keys: tensors.blocks.columns * shape.blockTokens,
      counters: await run.zeros(4096),
      faults: run.faults,
    };
    const out = await run.operand('f32', [tokens, heads, headDim]);
    const scratch = await run.memory(attention.scratchBytes({ ...base, out, scratch: run.faults }, traits));
    const call = { ...base, out, scratch };
    expect(attention.quantizes(call, traits)).toBe(true);
    await run.run(attention.dispatch(call, traits));
    const layout = weightLayout('q8_0', 32, columns);
    const view = { rowStart: 0, rows: 32, columnStart: 0, columns };
    const prepared = await run.operand('u8', [preparedBytes('int8', { tokens, columns })]);
    const [prepare] = matmul.dispatch(
      {
        x: { ...out, shape: [tokens, columns] },
        fast: true,
        products: [
          {
            weight: { place: run.faults, layout, dtype: 'q8_0', rows: 32, columns, view },
            out: { place: run.faults, dtype: 'f32', shape: [tokens, 32] },
            posts: [],
          },
        ],
        scratch: prepared.place,
        counters: run.faults,
      },
      traits,
    );
    expect(prepare!.name).toBe('prepare int8');
    await run.run([prepare!]);
    const left = await run.operand('f32', [tokens, heads, headDim]);
    await run.run(attention.dispatch({ ...call, out: left, quantizes: true }, traits));
    const wanted = (await run.read(prepared)).bytes;
    expect((await run.read(left)).bytes.subarray(0, wanted.length)).toEqual(wanted);
  });

  it('asks for room for the sections of rows that are not taken in tiles', () => {
    const of = (rows: number, sequences: number, keys: number): number => {
      const operand = (...shape: number[]): Operand => ({ place: run.faults, dtype: 'f16', shape });
      const call = {
        query: operand(rows, 4, 128),
        state: operand(1, 2, 2, 16, 128),
        positions: operand(rows),
        starts: operand(sequences),
        blocks: operand(sequences, Math.ceil(keys / 16)),
        out: operand(rows, 4, 128),
        scale: 1,
        keys,
        scratch: run.faults,
        counters: run.faults,
        faults: run.faults,
      };
      return attention.scratchBytes(call, { ...run.traits, software: false });
    };
    const oneRow = 4 * 4 * 130 * 2;
    expect(of(1, 1, 128)).toBe(0);
    expect(of(1, 1, 129)).toBe(oneRow);
    expect(of(512, 1, 256)).toBe(16 * oneRow);
    expect(of(512, 32, 256)).toBe(64 * oneRow);
    expect(of(512, 32, 1_000_000)).toBe(128 * 2 ** 20);
  });

  it('encodes q8_0 as the reference does, at every size of numbers', async () => {
    const [tokens, heads, headDim] = [61, 3, 64];
    const values = normals(tokens * heads * headDim, 5).map(
      (value, i) => value * 2 ** (((i >> 5) % 60) - 30),
    );
    // Ties: a block whose scale is 1, and quants that lie midway; then zeros, and what has no finite scale.
    for (let i = 0; i < 32; i++) values[i] = i === 0 ? 127 : i / 2 - 8;
    values.fill(0, 32, 64);
    values[96] = Infinity;
    const key = HostTensor.f32([tokens, heads, headDim], values);
    const value = HostTensor.f32(
      [tokens, heads, headDim],
      values.map((x) => -x),
    );
    const slots = HostTensor.i32(
      [tokens],
      Array.from({ length: tokens }, (_, i) => 64 + ((i * 5) % 64)),
    );
    const state = HostTensor.zeros('q8_0', [8, 2, heads, 16, headDim]);
    const [stateIn, keyIn, valueIn, slotsIn] = [
      await run.tensor(state),
      await run.tensor(key),
      await run.tensor(value),
      await run.tensor(slots),
    ];
    await run.run(
      kvWrite.dispatch(
        { state: stateIn, key: keyIn, value: valueIn, slots: slotsIn, faults: run.faults },
        run.traits,
      ),
    );
    findOp('kvWrite').evaluate({ inputs: { state, key, value, slots }, attributes: {}, outputs: [state] });
    expect((await run.read(stateIn)).bytes).toEqual(state.bytes);
  });

  it('notes a slot outside the pool and writes nothing for it', async () => {
    const key = HostTensor.f32([2, 1, 4], normals(8, 6));
    const state = await run.operand('f32', [2, 2, 1, 2, 4], new Uint8Array(128));
    const [keyIn, slots] = [await run.tensor(key), await run.tensor(HostTensor.i32([2], [-1, 4]))];
    await run.run(
      kvWrite.dispatch({ state, key: keyIn, value: keyIn, slots, faults: run.faults }, run.traits),
    );
    expect((await run.read(state)).bytes.every((byte) => byte === 0)).toBe(true);
    expect(await run.takeFault()).toBe(2);
  });
});
