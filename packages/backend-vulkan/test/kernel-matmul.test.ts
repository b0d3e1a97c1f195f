/**
 * Products and lookups against plain loops: every stored type, odd sizes, parts of weights, what is done in passing; and
 * that a row of activations has the same bits in every batch.
 */
import { randomWeight } from '@unicorn-exec/conformance';
import { HostTensor, type DType } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { embed } from '../src/kernel/embed.js';
import { matmul, matmulKernel } from '../src/kernel/matmul.js';
import { defaultTiler } from '../src/kernel/tiler.js';
import type { Operand, WeightOperand } from '../src/kernel/operand.js';
import type { MatmulCall, ProductCall } from '../src/kernel/matmul-call.js';
import { diagnoseAddon } from '../src/load-addon.js';
import { planeDTypes } from '../src/weights/weight-layout.js';
import { KernelRunner } from '../src/measure/kernel-runner.js';
import { driver } from './lavapipe.js';

const addon = driver.present ? diagnoseAddon().loaded?.addon : undefined;
const dtypes: readonly DType[] = ['f32', 'f16', 'bf16', ...planeDTypes];

/** Columns of the smallest part that a view may begin at. */
const blockOf = (dtype: DType): number => (/_k$/.test(dtype) ? 256 : planeDTypes.includes(dtype) ? 32 : 1);

/** Numbers that differ from place to place, of mixed sign and magnitude. */
function numbers(count: number, seed: number): Float32Array {
  let state = seed * 2654435761 + 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const unit = state / 2 ** 32 - 0.5;
    return unit * 4 * (state % 7 === 0 ? 3 : 1);
  });
}

interface TestWeight {
  readonly operand: WeightOperand;
  /** [rows][columns] of the view. */
  readonly values: readonly Float32Array[];
}

describe.skipIf(!addon)('products on a device', () => {
  let runner: KernelRunner;
  beforeAll(() => {
    runner = KernelRunner.open(addon!);
  });
  afterAll(() => runner.close());

  async function weightOf(
    dtype: DType,
    rows: number,
    columns: number,
    view: Partial<WeightOperand['view']> = {},
  ): Promise<TestWeight> {
    const bytes = randomWeight(dtype, rows, columns, `${dtype} ${rows} ${columns}`);
    const stored = new HostTensor(dtype, [rows, columns], bytes);
    const operand = await runner.weight(dtype, rows, columns, bytes);
    const whole = { ...operand.view, ...view };
    const line = new Float32Array(columns);
    const values = Array.from({ length: whole.rows }, (_, row) => {
      stored.decodeRow(whole.rowStart + row, line);
      return line.slice(whole.columnStart, whole.columnStart + whole.columns);
    });
    return { operand: { ...operand, view: whole }, values };
  }

  /** @returns the number of dispatches */
  async function run(call: Omit<MatmulCall, 'scratch' | 'counters'>, tiler = defaultTiler): Promise<number> {
    const nowhere = runner.memory(0);
    const full = { ...call, scratch: nowhere, counters: nowhere };
    const scratch = runner.memory(matmulKernel(tiler).scratchBytes(full, runner.traits));
    const dispatches = matmulKernel(tiler).dispatch({ ...full, scratch }, runner.traits);
    await runner.run(dispatches);
    return dispatches.length;
  }

  /** x @ weight^T in double precision, and the sum of magnitudes, by which errors are judged. */
  function reference(x: Float32Array, tokens: number, weight: readonly Float32Array[]) {
    const k = weight[0]!.length;
    const [sums, sizes] = [
      new Float64Array(tokens * weight.length),
      new Float64Array(tokens * weight.length),
    ];
    for (let t = 0; t < tokens; t++) {
      weight.forEach((line, row) => {
        let [sum, size] = [0, 0];
        for (let i = 0; i < k; i++) {
          sum += x[t * k + i]! * line[i]!;
          size += Math.abs(x[t * k + i]! * line[i]!);
        }
        sums[t * weight.length + row] = sum;
        sizes[t * weight.length + row] = size;
      });
    }
    return { sums, sizes };
  }

  /** Activations as int8 blocks hold them. */
  function quantized(x: Float32Array): Float32Array {
    const out = new Float32Array(x.length);
    for (let block = 0; block < x.length; block += 32) {
      const top = x.subarray(block, block + 32).reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      for (let i = block; i < block + 32; i++) {
        out[i] = top === 0 ? 0 : Math.round((x[i]! * 127) / top) * (top / 127);
      }
    }
    return out;
  }

  function expectClose(
    actual: Float32Array,
    sums: Float64Array,
    sizes: Float64Array,
    relative: number,
  ): void {
    let worst = 0;
    actual.forEach((value, i) => {
      worst = Math.max(worst, Math.abs(value - sums[i]!) / (sizes[i]! + 1e-30));
    });
    expect(worst).toBeLessThan(relative);
  }

  for (const dtype of dtypes) {
    const block = blockOf(dtype);
    const planes = planeDTypes.includes(dtype);

    it(`decodes ${dtype} exactly, whole and in part`, async () => {
      const columns = block === 1 ? 83 : 3 * block;
      const part = {
        rowStart: 3,
        rows: 5,
        columnStart: block === 1 ? 17 : block,
        columns: block === 1 ? 41 : block,
      };
      for (const view of [{}, part]) {
        const { operand, values } = await weightOf(dtype, 11, columns, view);
        const out = await runner.floats([values.length, values[0]!.length]);
        const faults = runner.memory(32);
        await runner.run(
          embed.dispatch({ table: operand, out, scale: 1, beyond: 'error', faults }, runner.traits),
        );
        const expected = Float32Array.from(values.flatMap((line) => [...line]));
        expect(await runner.readFloats(out)).toEqual(expected);
      }
      runner.clear();
    });

    it(`multiplies by ${dtype} in f32`, async () => {
      const shapes =
        block === 1
          ? [
              [1, 1, 1],
              [3, 37, 257],
              [2, 8, 64],
              [5, 3, 31],
            ]
          : [
              [1, 1, block],
              [3, 37, 3 * block],
              [5, 3, 5 * block],
            ];
      for (const [tokens, rows, columns] of shapes as [number, number, number][]) {
        const { operand, values } = await weightOf(dtype, rows, columns);
        const x = numbers(tokens * columns, 5);
        const out = await runner.floats([tokens, rows]);
        await run({
          x: await runner.floats([tokens, columns], x),
          fast: false,
          products: [{ weight: operand, out, posts: [] }],
        });
        const { sums, sizes } = reference(x, tokens, values);
        // gamma(columns + 6) with the passing magnitudes of a minimum: a bound with room.
        expectClose(await runner.readFloats(out), sums, sizes, (columns + 6) * 2 ** -22);
      }
      runner.clear();
    });

    if (!planes) continue;

    it(`multiplies by ${dtype} over int8 blocks`, async () => {
      for (const [tokens, rows, columns] of [
        [1, 1, block],
        [1, 70, 5 * block],
        [6, 13, 3 * block],
        [19, 9, 2 * block],
      ] as const) {
        const { operand, values } = await weightOf(dtype, rows, columns);
        const x = numbers(tokens * columns, 9);
        const out = await runner.floats([tokens, rows]);
        await run({
          x: await runner.floats([tokens, columns], x),
          fast: true,
          products: [{ weight: operand, out, posts: [] }],
        });
        const { sums, sizes } = reference(quantized(x), tokens, values);
        // One quant in 2^17 or so may fall on the other side of a tie: 1/127 of its block's largest.
        expectClose(await runner.readFloats(out), sums, sizes, 2e-4);
      }
      runner.clear();
    });
  }

  /** Runs a product and the same in double precision, element by element. */
  async function expectProduct(
    product: { dtype: DType; tokens: number; fast: boolean } & Partial<{
      view: Partial<WeightOperand['view']>;
      norm: 'plain' | 'weighted';
      gated: boolean;
      bias: boolean;
      residual: boolean;
      inPlace: boolean;
      posts: (out: Operand) => Promise<ProductCall['posts']>;
      after: (value: number, index: number) => number;
    }>,
  ): Promise<void> {
    const { dtype, tokens, fast, gated, bias, residual } = product;
    const block = Math.max(32, blockOf(dtype));
    const weight = await weightOf(dtype, 23, 4 * block, product.view);
    const up = await weightOf(dtype, 23, 4 * block, { ...product.view, rowStart: 23 - weight.values.length });
    const [rows, columns] = [weight.values.length, weight.values[0]!.length];
    const x = numbers(tokens * columns, 3);
    const normWeight = numbers(columns, 4);
    const activations = Float64Array.from(x, (value, i) => {
      if (!product.norm) return value;
      const row = x.subarray(i - (i % columns), i - (i % columns) + columns);
      const inverse = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / columns + 1e-6);
      return value * inverse * (product.norm === 'weighted' ? 1 + normWeight[i % columns]! : 1);
    });
    const given = fast ? quantized(Float32Array.from(activations)) : Float32Array.from(activations);
    const first = reference(given, tokens, weight.values);
    const second = reference(given, tokens, up.values);
    const [biasValues, residualValues] = [numbers(rows, 6), numbers(tokens * rows, 7)];
    const shape = [tokens, rows];
    const out = await runner.floats(shape, residualValues);
    const silu = (v: number): number => v / (1 + Math.exp(-v));
    const expected = first.sums.map((sum, i) => {
      let value = gated ? silu(sum) * second.sums[i]! : sum;
      if (bias) value += biasValues[i % rows]!;
      if (residual) value += residualValues[i]!;
      return product.after?.(value, i) ?? value;
    });
    await run({
      x: await runner.floats([tokens, columns], x),
      fast,
      ...(product.norm
        ? {
            norm: {
              epsilon: 1e-6,
              weightOffset: 1,
              ...(product.norm === 'weighted' ? { weight: await runner.floats([columns], normWeight) } : {}),
            },
          }
        : {}),
      products: [
        {
          weight: weight.operand,
          ...(gated ? { gated: { up: up.operand, activation: 'silu' } } : {}),
          out,
          ...(bias ? { bias: await runner.floats([rows], biasValues) } : {}),
          ...(residual
            ? { residual: product.inPlace ? out : await runner.floats(shape, residualValues) }
            : {}),
          posts: (await product.posts?.(out)) ?? [],
        },
      ],
    });
    // Gates and posts amplify by no more than their operands, all of which are about 1 to 30 here.
    const sizes = first.sizes.map((size, i) => size + (gated ? second.sizes[i]! * (1 + size) : 0) + 1);
    expectClose(await runner.readFloats(out), expected, sizes, fast ? 1e-3 : 1e-5);
    runner.clear();
  }

  for (const [dtype, fast] of [
    ['f16', false],
    ['q4_0', false],
    ['q4_0', true],
    ['q6_k', true],
  ] as const) {
    for (const tokens of [1, 5, 18]) {
      const columns = 2 * Math.max(32, blockOf(dtype));
      const common = { dtype, fast, tokens };
      it(`does in passing what is around a product: ${dtype}, ${fast ? 'fast' : 'f32'}, ${tokens} rows`, async () => {
        await expectProduct({ ...common, norm: 'plain', bias: true, residual: true });
        await expectProduct({ ...common, norm: 'weighted', residual: true, inPlace: true });
        await expectProduct({ ...common, norm: 'weighted', gated: true });
        await expectProduct({ ...common, view: { rowStart: 3, rows: 7, columnStart: columns / 2, columns } });
        await expectProduct({ ...common, gated: true, view: { rowStart: 1, rows: 7, columns } });
        await expectProduct({
          ...common,
          posts: () =>
            Promise.resolve([
              { kind: 'scale', factor: 0.5 },
              { kind: 'softcap', cap: 3 },
              { kind: 'activation', activation: 'relu' },
            ]),
          after: (value) => Math.max(0, 3 * Math.tanh((0.5 * value) / 3)),
        });
        const other = numbers(tokens * 23, 8);
        await expectProduct({
          ...common,
          bias: true,
          posts: async ({ shape }) => [
            { kind: 'glu', activation: 'sigmoid', other: await runner.floats(shape, other) },
          ],
          after: (value, i) => other[i]! / (1 + Math.exp(-value)),
        });
      });
    }
  }

  for (const dtype of ['q4_0', 'q6_k', 'q5_1'] as const) {
    it(`shares rows of ${dtype} among subgroups, several rows and runs of rows an invocation`, async () => {
      const columns = 1280;
      const { subgroupSize } = runner.traits;
      const tile = {
        workgroup: 8 * subgroupSize,
        lanes: 4 * subgroupSize,
        rows: 2,
        tokens: 3,
        depth: 2,
        workgroups: 1,
      };
      const tiler = { ...defaultTiler, int8: () => tile };
      const weight = await weightOf(dtype, 13, columns);
      const up = await weightOf(dtype, 13, columns, { rowStart: 0 });
      const all = numbers(7 * columns, 2);
      const whole: Float32Array[] = [];
      for (const tokens of [7, 1, 3, 4]) {
        const [plain, gated] = [await runner.floats([tokens, 13]), await runner.floats([tokens, 13])];
        const x = await runner.floats([tokens, columns], all.subarray(0, tokens * columns));
        await run(
          {
            x,
            fast: true,
            products: [
              { weight: weight.operand, out: plain, posts: [] },
              {
                weight: weight.operand,
                gated: { up: up.operand, activation: 'relu' },
                out: gated,
                posts: [],
              },
            ],
          },
          tiler,
        );
        const results = [await runner.readFloats(plain), await runner.readFloats(gated)];
        if (whole.length === 0) whole.push(...results);
        results.forEach((part, i) => expect(part).toEqual(whole[i]!.subarray(0, part.length)));
      }
      const { sums, sizes } = reference(quantized(all), 7, weight.values);
      expectClose(whole[0]!, sums, sizes, 2e-4);
      const squares = sums.map((sum) => Math.max(0, sum) * sum);
      expectClose(
        whole[1]!,
        squares,
        sizes.map((size) => size * size),
        4e-4,
      );
      runner.clear();
    });
  }

  it('takes what is prepared where all is int8', async () => {
    const { operand } = await weightOf('q4_0', 64, 64);
    const nowhere = { scratch: runner.memory(0), counters: runner.memory(0) };
    const [x, out] = [await runner.floats([2, 64]), await runner.floats([2, 64])];
    const call = { x, fast: true, products: [{ weight: operand, out, posts: [] }], ...nowhere };
    const norm = { epsilon: 1e-6, weightOffset: 0 };
    expect(matmul.takesPrepared(call, runner.traits)).toBe(true);
    expect(matmul.takesPrepared({ ...call, norm }, runner.traits)).toBe(false);
    expect(matmul.takesPrepared({ ...call, fast: false }, runner.traits)).toBe(false);
    expect(matmul.takesPrepared({ ...call, join: { residual: x, out: x } }, runner.traits)).toBe(false);
    runner.clear();
  });

  /**
   * Rows of 1,120 columns are more than this device's invocations keep in registers; those of 2,336 are shared by two
   * workgroups where nothing is normed.
   */
  for (const [columns, dtype, fast] of [
    [256, 'q4_0', true],
    [1120, 'q8_0', true],
    [2336, 'q8_0', true],
    [1120, 'q4_0', false],
    [37, 'f32', false],
  ] as const) {
    for (const [tokens, isNormed, inPlace] of [
      [1, true, true],
      [5, false, false],
      [3, true, false],
    ] as const) {
      it(`joins ${tokens} rows of ${columns} columns with a residual, ${isNormed ? '' : 'not '}normed, before a product with ${dtype}`, async () => {
        const weight = await weightOf(dtype, 9, columns);
        const [x, residual] = [numbers(tokens * columns, 1), numbers(tokens * columns, 2)];
        const [joinWeight, normWeight] = [numbers(columns, 3), numbers(columns, 4)];
        const shape = [tokens, columns];
        const sum = await runner.floats(shape, residual);
        const join = {
          residual: inPlace ? sum : await runner.floats(shape, residual),
          ...(isNormed
            ? { norm: { epsilon: 1e-5, weightOffset: 1, weight: await runner.floats([columns], joinWeight) } }
            : {}),
          out: sum,
        };
        const norm = isNormed
          ? { norm: { epsilon: 1e-6, weightOffset: 0, weight: await runner.floats([columns], normWeight) } }
          : {};
        const products = (out: Operand) => [{ weight: weight.operand, out, posts: [] }];
        const [joined, plain] = [await runner.floats([tokens, 9]), await runner.floats([tokens, 9])];
        await run({ x: await runner.floats(shape, x), join, fast, ...norm, products: products(joined) });
        const sums = await runner.readFloats(sum);
        for (let t = 0; t < tokens; t++) {
          const row = x.subarray(t * columns, (t + 1) * columns);
          const inverse = 1 / Math.sqrt(row.reduce((all, v) => all + v * v, 0) / columns + 1e-5);
          row.forEach((value, i) => {
            const added = isNormed ? value * inverse * (1 + joinWeight[i]!) : value;
            const expected = residual[t * columns + i]! + added;
            expect(Math.abs(sums[t * columns + i]! - expected)).toBeLessThan(
              2 ** -20 * (Math.abs(added) + Math.abs(expected)),
            );
          });
        }
        // From here on as if the sum were given.
        await run({ x: sum, fast, ...norm, products: products(plain) });
        expect(await runner.readFloats(joined)).toEqual(await runner.readFloats(plain));
        runner.clear();
      });
    }
  }

  for (const [dtype, fast] of [
    ['q4_0', true],
    ['q6_k', true],
    ['q5_1', false],
    ['f16', false],
  ] as const) {
    it(`does up to three products over one x in one dispatch: ${dtype}, ${fast ? 'fast' : 'f32'}`, async () => {
      const columns = 512;
      const weights = [
        await weightOf(dtype, 70, columns, { rowStart: 2, rows: 67 }),
        await weightOf(dtype, 5, columns),
        await weightOf(dtype, 33, columns, { rowStart: 1, rows: 32 }),
        await weightOf(dtype, 7, columns),
      ];
      for (const tokens of [1, 3, 18]) {
        const x = await runner.floats([tokens, columns], numbers(tokens * columns, 12));
        const productOf = async ({ operand, values }: TestWeight, i: number): Promise<ProductCall> => ({
          weight: operand,
          out: await runner.floats([tokens, values.length]),
          bias: await runner.floats([values.length], numbers(values.length, i)),
          posts: [],
        });
        const [together, alone] = [
          await Promise.all(weights.map(productOf)),
          await Promise.all(weights.map(productOf)),
        ];
        const dispatches = await run({ x, fast, products: together });
        expect(dispatches).toBe((fast ? 1 : 0) + 2);
        for (const [i, product] of alone.entries()) {
          await run({ x, fast, products: [product] });
          const expected = await runner.readFloats(product.out);
          expect(await runner.readFloats(together[i]!.out)).toEqual(expected);
        }
      }
      runner.clear();
    });
  }

  it('reads a weight that was computed', async () => {
    const [tokens, rows, columns] = [3, 7, 37];
    const [x, weight] = [numbers(tokens * columns, 1), numbers(rows * columns, 2)];
    const out = await runner.floats([tokens, rows]);
    const operand = await runner.floats([rows, columns], weight);
    await run({
      x: await runner.floats([tokens, columns], x),
      fast: true,
      products: [{ weight: operand, out, posts: [] }],
    });
    const lines = Array.from({ length: rows }, (_, row) => weight.slice(row * columns, (row + 1) * columns));
    const { sums, sizes } = reference(x, tokens, lines);
    expectClose(await runner.readFloats(out), sums, sizes, 1e-5);
    runner.clear();
  });

  for (const [dtype, fast] of [
    ['f32', false],
    ['q5_1', false],
    ['q4_0', true],
    ['q5_k', true],
    ['q6_k', true],
    ['iq4_nl', true],
  ] as const) {
    it(`gives a row the same bits in every batch: ${dtype}, ${fast ? 'fast' : 'f32'}`, async () => {
      const [most, rows, columns] = [40, 11, 512];
      const { operand } = await weightOf(dtype, rows, columns);
      const all = numbers(most * columns, 11);
      const results = new Map<number, Float32Array>();
      for (const tokens of [40, 1, 2, 3, 5, 8, 16, 17, 33]) {
        const out = await runner.floats([tokens, rows]);
        const x = await runner.floats([tokens, columns], all.subarray(0, tokens * columns));
        await run({
          x,
          fast,
          norm: { epsilon: 1e-5, weightOffset: 0 },
          products: [{ weight: operand, out, posts: [] }],
        });
        results.set(tokens, await runner.readFloats(out));
      }
      const whole = results.get(most)!;
      for (const [tokens, part] of results) {
        expect(
          Buffer.from(part.buffer).equals(Buffer.from(whole.buffer, 0, tokens * rows * 4)),
          `${tokens} rows`,
        ).toBe(true);
      }
      runner.clear();
    });
  }

  it('notes an id past the table, and reads row 0 where that is asked for', async () => {
    const { operand, values } = await weightOf('f32', 5, 6);
    const ids = await runner.tensor('i32', [3], Int32Array.of(4, 7, 0));
    const out = await runner.floats([3, 6]);
    // The record lies behind the pointer to it.
    const faults = runner.memory(48);
    await runner.write(faults, new BigUint64Array([runner.address(faults) + 16n]));
    const record = async (): Promise<Uint32Array> =>
      new Uint32Array((await runner.read({ place: faults })).buffer, 16, 3);
    await runner.run(
      embed.dispatch({ ids, table: operand, out, scale: 2, beyond: 'firstRow', faults }, runner.traits),
    );
    expect([...(await record())]).toEqual([0, 0, 0]);
    const rows = [4, 0, 0].flatMap((row) => [...values[row]!].map((value) => 2 * value));
    expect([...(await runner.readFloats(out))]).toEqual(rows);
    await runner.run(
      embed.dispatch({ ids, table: operand, out, scale: 2, beyond: 'error', faults }, runner.traits),
    );
    expect([...(await record())]).toEqual([1, 7, 5]);
    runner.clear();
  });
});
