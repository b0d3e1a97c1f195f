/**
 * Products by cooperative matrices against the f32 form: every way in which rows, tokens and columns can end within a tile.
 * Devices of tests have no such matrices: they run the shaders' variants in plain arithmetic, which differ from the shipped
 * ones in nothing but how a matrix is loaded, multiplied and stored.
 */
import { randomWeight } from '@unicorn-exec/conformance';
import type { DType } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DeviceTraits } from '../src/dispatch/dispatch.js';
import { matmulKernel } from '../src/kernel/matmul.js';
import { defaultTiler, type MatmulTiler } from '../src/kernel/tiler.js';
import {
  f16Tile,
  fitsDevice,
  hasMatrices,
  mostSliceTokens,
  type MatrixTile,
} from '../src/kernel/matrix-tile.js';
import type { Operand, WeightOperand } from '../src/kernel/operand.js';
import type { MatmulCall } from '../src/kernel/matmul-call.js';
import { diagnoseAddon } from '../src/load-addon.js';
import { planeDTypes } from '../src/weights/weight-layout.js';
import { KernelRunner } from '../src/measure/kernel-runner.js';
import { card } from './card.js';
import { driver } from './lavapipe.js';

const addon = driver.present ? diagnoseAddon().loaded?.addon : undefined;

const plain: MatrixTile = {
  rows: 32,
  tokens: 32,
  depth: 32,
  subgroupRows: 16,
  subgroupTokens: 32,
  slices: 1,
};

interface Part {
  readonly dtype: DType;
  readonly rows: number;
  readonly columns: number;
  readonly gated?: boolean;
  readonly norm?: boolean;
  readonly residual?: boolean;
  readonly view?: Partial<WeightOperand['view']>;
}

describe.skipIf(!addon)('products by matrices on a device', () => {
  let runner: KernelRunner;
  let traits: DeviceTraits;
  let emulates: boolean;
  beforeAll(() => {
    runner = KernelRunner.open(addon!);
    emulates = !hasMatrices(runner.traits);
    traits = emulates ? { ...runner.traits, cooperativeMatrix: card.cooperativeMatrix } : runner.traits;
  });
  afterAll(() => runner.close());

  async function run(call: Omit<MatmulCall, 'scratch' | 'counters'>, tile: MatrixTile): Promise<void> {
    const nowhere = runner.memory(0);
    const tiler: MatmulTiler = { ...defaultTiler, f16: () => tile };
    const full = { ...call, scratch: nowhere, counters: nowhere };
    const scratch = runner.memory(matmulKernel(tiler).scratchBytes(full, traits));
    const counters = runner.memory(matmulKernel(tiler).counterBytes(full, traits));
    const dispatches = matmulKernel(tiler)
      .dispatch({ ...full, scratch, counters }, traits)
      .map((dispatch) => {
        const shader = emulates
          ? dispatch.pipeline.shader.replace('matmul-f16-', 'matmul-f16-emulated-')
          : dispatch.pipeline.shader;
        return { ...dispatch, pipeline: { ...dispatch.pipeline, shader } };
      });
    // Twice: counters are left as they were found.
    for (let times = 0; times < 2; times++) await runner.run(dispatches);
    expect((await runner.read({ place: counters })).every((byte) => byte === 0)).toBe(true);
  }

  async function weightOf(
    { dtype, rows, columns, view }: Part,
    name: string,
    edit?: (bytes: Uint8Array) => void,
  ): Promise<WeightOperand> {
    const bytes = randomWeight(dtype, rows, columns, name);
    edit?.(bytes);
    const operand = await runner.weight(dtype, rows, columns, bytes);
    return { ...operand, view: { ...operand.view, ...view } };
  }

  const normal = (count: number, name: string): Float32Array =>
    new Float32Array(randomWeight('f32', 1, count, name).buffer).map((value) => value * Math.sqrt(count));

  /** By the f32 form and by matrices, of the same operands. */
  async function both(part: Part, tokens: number, tiles: readonly MatrixTile[]): Promise<Float32Array[]> {
    const weight = await weightOf(part, 'weight');
    const up = part.gated ? await weightOf(part, 'up') : undefined;
    const { rows, columns } = weight.view;
    const x = await runner.floats([tokens, columns], normal(tokens * columns, 'x'));
    const residual = await runner.floats([tokens, rows], normal(tokens * rows, 'residual'));
    const results: Float32Array[] = [];
    for (const tile of [undefined, ...tiles]) {
      const out = await runner.floats([tokens, rows], new Float32Array(tokens * rows).fill(NaN));
      const call = {
        x,
        fast: tile !== undefined,
        ...(part.norm ? { norm: { epsilon: 1e-6, weightOffset: 0 } } : {}),
        products: [
          {
            weight,
            ...(up ? { gated: { up, activation: 'silu' as const } } : {}),
            ...(part.residual ? { residual } : {}),
            out,
            posts: [],
          },
        ],
      };
      await run(call, tile ?? plain);
      results.push(await runner.readFloats(out));
    }
    return results;
  }

  function expectClose(actual: Float32Array, expected: Float32Array): void {
    let [noise, signal] = [0, 0];
    expected.forEach((value, i) => {
      noise += (actual[i]! - value) ** 2;
      signal += value ** 2;
    });
    // Two roundings to f16, each of at most 2^-11 and 2^-12 in the mean square of a uniform error; a gate passes on two.
    expect(noise / signal).toBeLessThan(8 * 2 ** -22);
  }

  const types: readonly DType[] = ['f32', 'f16', 'bf16', 'q4_0', 'q5_1', 'q8_0', 'q4_k', 'q6_k', 'iq4_nl'];
  for (const dtype of types) {
    const block = dtype.endsWith('_k') ? 256 : 32;
    it(`multiplies by ${dtype}`, async () => {
      const columns = planeDTypes.includes(dtype) ? 3 * block : 104;
      const view = {
        rowStart: 3,
        rows: 37,
        columnStart: block,
        columns: columns - block - (block === 32 ? 0 : 256),
      };
      for (const [part, tokens] of [
        [{ dtype, rows: 37, columns }, 35],
        [{ dtype, rows: 41, columns, view }, 33],
      ] as const) {
        const [expected, actual] = (await both(part, tokens, [plain])) as [Float32Array, Float32Array];
        expectClose(actual, expected);
        runner.clear();
      }
    });
  }

  it('gives the same bits whatever the tile', async () => {
    const part = { dtype: 'q4_0', rows: 70, columns: 7 * 32, gated: true, norm: true } as const;
    const tiles: MatrixTile[] = [
      { ...plain, rows: 32, tokens: 16, subgroupRows: 32, subgroupTokens: 16 },
      { ...plain, rows: 16, tokens: 64, depth: 64, subgroupTokens: 64 },
      // More results than steps take of shared memory.
      { ...plain, rows: 32, tokens: 32, subgroupTokens: 16 },
      // Steps are fetched two ahead.
      { ...plain, tokens: 128, subgroupTokens: 64 },
      // More invocations than groups of weights in a step.
      { ...plain, rows: 16, tokens: 128, subgroupTokens: 16 },
      // The last tile has few rows of many.
      { ...plain, rows: 64, subgroupTokens: 16 },
    ];
    const [expected, first, ...others] = await both(part, 35, tiles);
    expectClose(first!, expected!);
    for (const other of others) expect(other).toEqual(first);
    runner.clear();
  });

  it('cuts columns in slices, more than there are too, and several products at once', async () => {
    const part = { dtype: 'q8_0', rows: 40, columns: 9 * 32, residual: true } as const;
    for (const slices of [3, 8]) {
      const [expected, actual] = await both(part, 20, [{ ...plain, slices }]);
      expectClose(actual!, expected!);
    }
    const weights = [await weightOf(part, 'a'), await weightOf({ ...part, rows: 24 }, 'b')];
    const x = await runner.floats([20, 288], normal(20 * 288, 'x'));
    const results: Float32Array[][] = [];
    for (const fast of [false, true]) {
      const outs: Operand[] = [];
      for (const { view } of weights) outs.push(await runner.floats([20, view.rows]));
      const products = weights.map((weight, i) => ({ weight, out: outs[i]!, posts: [] }));
      await run({ x, fast, products }, { ...plain, slices: 3 });
      results.push([await runner.readFloats(outs[0]!), await runner.readFloats(outs[1]!)]);
    }
    results[1]!.forEach((actual, i) => expectClose(actual, results[0]![i]!));
    runner.clear();
  });

  it('walks slices two steps ahead', async () => {
    const part = { dtype: 'f16', rows: 40, columns: 9 * 32, residual: true } as const;
    const tiles = [3, 8].map((slices) => ({ ...plain, tokens: 128, subgroupTokens: 64, slices }));
    const [expected, ...others] = await both(part, 130, tiles);
    for (const actual of others) expectClose(actual, expected!);
    runner.clear();
  });

  it('keeps what is not finite in its rows', async () => {
    const [rows, columns, tokens] = [33, 96, 18];
    const weight = await weightOf({ dtype: 'f32', rows, columns }, 'weight', (bytes) => {
      // The last weight of row 5.
      new Float32Array(bytes.buffer, bytes.byteOffset)[5 * columns + columns - 1] = NaN;
    });
    const values = normal(tokens * columns, 'x');
    values[7 * columns] = Infinity;
    values[16 * columns + 40] = NaN;
    const out = await runner.floats([tokens, rows]);
    const x = await runner.floats([tokens, columns], values);
    await run({ x, fast: true, products: [{ weight, out, posts: [] }] }, plain);
    (await runner.readFloats(out)).forEach((value, i) => {
      const [token, row] = [Math.floor(i / rows), i % rows];
      expect(Number.isFinite(value)).toBe(token !== 7 && token !== 16 && row !== 5);
    });
    runner.clear();
  });
});

describe('tiles of products by matrices', () => {
  const devices: readonly DeviceTraits[] = [
    card,
    { ...card, computeUnits: 12, sharedMemoryBytes: 65_536, maxSubgroupSize: 64 },
    { ...card, computeUnits: 12, sharedMemoryBytes: 32_768, subgroupSize: 64, maxSubgroupSize: 64 },
  ];

  it('fit every device, and few rows of activations have none', () => {
    for (const traits of devices) {
      for (const banks of [1, 2] as const) {
        for (const tokens of [17, 32, 33, 64, 65, 512]) {
          const shape = { dtype: 'q4_0', rows: 3584, columns: 3584, tokens, banks } as const;
          const tile = f16Tile(shape, traits);
          expect(tile).toBeDefined();
          expect(fitsDevice(tile!, banks, traits)).toBe(true);
        }
        expect(f16Tile({ dtype: 'q4_0', rows: 64, columns: 64, tokens: 16, banks }, traits)).toBeUndefined();
      }
    }
  });

  it('have as many lines of weights as workgroups for every unit allow, evenly spread', () => {
    const linesOf = (rows: number, columns: number, banks: 1 | 2, tokens: number): number =>
      banks * f16Tile({ dtype: 'q4_0', rows, columns, tokens, banks }, card)!.rows;
    for (const [rows, columns, banks, few, more] of [
      // Too few for every unit to have one, whatever the lines.
      [512, 3584, 1, 32, 64],
      // One for every unit by 64 lines, not by 128.
      [3584, 3584, 1, 64, 64],
      // 1.7 for a unit by 128 lines: 2 of them are less work than 4 of 64 lines.
      [3584, 18_944, 1, 128, 64],
      // 2.2, so that 3 are as much as 5 of 64 lines; for more tokens, whose lines weigh more, they are less.
      [18_944, 3584, 2, 64, 128],
      [152_064, 3584, 1, 128, 128],
    ] as const) {
      expect(linesOf(rows, columns, banks, 17)).toBe(few);
      expect(linesOf(rows, columns, banks, 32)).toBe(few);
      expect(linesOf(rows, columns, banks, 64)).toBe(more);
    }
  });

  it('cut columns the same for any rows of activations, up to many', () => {
    const slicesOf = (rows: number, columns: number, banks: 1 | 2, tokens: number): number =>
      f16Tile({ dtype: 'q4_0', rows, columns, tokens, banks }, card)!.slices;
    for (const [rows, columns, banks, expected] of [
      [3584, 18_944, 1, 8],
      [5376, 21_504, 1, 6],
      [18_944, 3584, 2, 1],
      [1152, 6912, 1, 8],
    ] as const) {
      const most = Math.max(17, mostSliceTokens({ rows, banks }));
      for (const tokens of [17, 33, 65, most]) {
        expect(slicesOf(rows, columns, banks, Math.min(tokens, most))).toBe(expected);
      }
      expect(slicesOf(rows, columns, banks, most + 1)).toBe(1);
    }
  });
});
