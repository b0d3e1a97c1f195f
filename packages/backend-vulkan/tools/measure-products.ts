/**
 * Checks and measures the product's kernels on the device at hand, without graphs. `check` compares every form and stored
 * type with the f32 form, at odd sizes; `time` prints the share of work done per second for shapes of models; `sweep` tries
 * tiles and prints the best; `prepare` times what makes activations ready for products. Weights are random and several, so
 * that they come from memory, not from a cache.
 *
 *     npx esbuild tools/measure-products.ts --bundle --platform=node --format=esm --outfile=measure-products.mjs
 *     node measure-products.mjs check|time|sweep|prepare [--package FOLDER] [--device 0] [--dtypes q4_0,q4_k] [--tokens 1,2,8,512]
 *                               [--shapes 21504x5376,...] [--form int8|f16|float] [--gated] [--norm] [--join] [--tile JSON]
 *                               [--limit SECONDS]
 *
 * --package  folder of this package as installed, with `shaders/compiled` and `build`; the working directory by default
 * --shapes   weight rows x columns; rows of several products over the same activations are joined by plus signs
 * --join     a residual is added to the activations before their norm
 * --tile     fields that replace those of the default tile
 */
import { randomFillSync } from 'node:crypto';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { dtypeLayout, type DType } from '@unicorn-exec/tensor';
import { randomWeight } from '@unicorn-exec/conformance';
import type { NativeAddon } from '../src/addon.js';
import { matmulKernel } from '../src/kernel/matmul.js';
import type { LaneTile } from '../src/kernel/lane-tile.js';
import { defaultTiler, type MatmulTiler } from '../src/kernel/tiler.js';
import { fitsDevice, type MatrixTile } from '../src/kernel/matrix-tile.js';
import type { Operand, WeightOperand } from '../src/kernel/operand.js';
import type { MatmulCall } from '../src/kernel/matmul-call.js';
import { ShaderLibrary } from '../src/device/shader-library.js';
import { planeDTypes, weightLayout } from '../src/weights/weight-layout.js';
import { KernelRunner } from '../src/measure/kernel-runner.js';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    package: { type: 'string', default: '.' },
    device: { type: 'string', default: '0' },
    dtypes: { type: 'string' },
    tokens: { type: 'string' },
    shapes: { type: 'string' },
    form: { type: 'string' },
    gated: { type: 'boolean', default: false },
    norm: { type: 'boolean', default: false },
    join: { type: 'boolean', default: false },
    tile: { type: 'string' },
    limit: { type: 'string', default: '500' },
  },
});

const began = performance.now();
const outOfTime = (): boolean => performance.now() - began > 1000 * Number(flags.limit);
const packageFolder = resolve(flags.package);
const addonPath =
  process.env['UNICORN_VULKAN_ADDON'] ?? join(packageFolder, 'build', 'Release', 'unicorn_vulkan.node');
const addon = createRequire(import.meta.url)(addonPath) as NativeAddon;
const shaders = new ShaderLibrary(join(packageFolder, 'shaders', 'compiled'));
const runner = KernelRunner.open(addon, Number(flags.device), shaders);
const { traits } = runner;

type Form = 'int8' | 'f16' | 'float';

const dtypes = (flags.dtypes?.split(',') ?? ['q4_0']) as DType[];
const allDTypes = (flags.dtypes?.split(',') ?? ['f32', 'f16', 'bf16', ...planeDTypes]) as DType[];
/** [weight rows of each product, columns]: feed-forward and attention of 27B, 7B and 1B models, and a head. */
const shapes = (
  flags.shapes ?? '21504x5376,5376x21504,18944x3584,3584x18944,3584x3584,6912x1152,1152x6912,262144x1152'
)
  .split(',')
  .map((shape): [number[], number] => {
    const [rows, columns] = shape.split('x') as [string, string];
    return [rows.split('+').map(Number), Number(columns)];
  });
const given = flags.tile === undefined ? {} : (JSON.parse(flags.tile) as object);

/** The default tiler, held to one form, with fields of its tile replaced. */
function tilerOf(form: Form | undefined, tile: object): MatmulTiler {
  return {
    float: (shape, device) => ({ ...defaultTiler.float(shape, device), ...(form === 'float' ? tile : {}) }),
    int8: (shape, device) => ({ ...defaultTiler.int8(shape, device), ...(form === 'int8' ? tile : {}) }),
    f16(shape, device) {
      if (form !== undefined && form !== 'f16') return undefined;
      // A form that is asked for serves few rows too.
      const wanted = form === 'f16' ? { ...shape, tokens: Math.max(17, shape.tokens) } : shape;
      const found = defaultTiler.f16(wanted, device);
      return found && { ...found, ...(form === 'f16' ? tile : {}) };
    },
  };
}

/** A weight of random bits with scales of about 2^-6, laid out already: values are finite, and nothing is computed here. */
async function randomPlanes(dtype: DType, rows: number, columns: number): Promise<WeightOperand> {
  const layout = weightLayout(dtype, rows, columns);
  const place = runner.memory(layout.byteLength);
  const bytes = Buffer.alloc(layout.byteLength);
  const chunk = 2 ** 24;
  for (let at = 0; at < bytes.byteLength; at += chunk) {
    randomFillSync(bytes, at, Math.min(chunk, bytes.byteLength - at));
  }
  const { blockSize } = dtypeLayout(dtype);
  for (const { name, byteOffset, rowBytes } of layout.planes) {
    const isHalf = name === 'supers' || (name === 'scales' && blockSize === 32) || dtype === 'f16';
    // The upper byte of each f16 (bf16, f32): sign, and an exponent that is small.
    const step = isHalf || dtype === 'bf16' ? 2 : dtype === 'f32' ? 4 : 0;
    if (step === 0) continue;
    const upper = isHalf ? 0x24 : 0x3c;
    for (let at = byteOffset + step - 1; at < byteOffset + rows * rowBytes; at += step) {
      bytes[at] = upper | (bytes[at]! & 0x80);
    }
  }
  await runner.write(place, bytes);
  const view = { rowStart: 0, rows, columnStart: 0, columns };
  return { place, layout, dtype, rows, columns, view };
}

/** A weight, and the other of a gated pair. */
type Weights = readonly [WeightOperand, WeightOperand?];

interface Around {
  readonly norm?: Operand;
  /** What the activations are added to, in place. */
  readonly stream?: Operand;
}

function callOf(
  x: Operand,
  products: readonly { readonly weights: Weights; readonly out: Operand }[],
  fast: boolean,
  { norm, stream }: Around = {},
): MatmulCall {
  const nowhere = runner.memory(0);
  const fused = norm && { norm: { weight: norm, epsilon: 1e-6, weightOffset: 1 } };
  return {
    x,
    fast,
    ...(stream ? { join: { residual: stream, ...fused, out: stream } } : {}),
    ...fused,
    products: products.map(({ weights: [weight, up], out }) => ({
      weight,
      ...(up ? { gated: { up, activation: 'geluTanh' } } : {}),
      out,
      posts: [],
    })),
    scratch: nowhere,
    counters: nowhere,
  };
}

/** What a call wants beside its operands. */
function memoryOf(call: MatmulCall, tiler: MatmulTiler): Pick<MatmulCall, 'scratch' | 'counters'> {
  return {
    scratch: runner.memory(matmulKernel(tiler).scratchBytes(call, traits)),
    counters: runner.memory(matmulKernel(tiler).counterBytes(call, traits)),
  };
}

// ---------------------------------------------------------------- check

async function check(): Promise<void> {
  const forms: Form[] = flags.form ? [flags.form as Form] : ['int8', 'f16'];
  let failures = 0;
  for (const dtype of allDTypes) {
    const block = dtype.endsWith('_k') ? 256 : 32;
    for (const form of forms) {
      if (form === 'int8' && !planeDTypes.includes(dtype)) continue;
      if (form === 'f16' && traits.cooperativeMatrix.length === 0) continue;
      let worst = 0;
      let invariant = true;
      for (const gated of [false, true]) {
        const [rows, columns] = [133, 3 * block];
        const bytes = randomWeight(dtype, rows, columns, 'weight');
        const weight = await runner.weight(dtype, rows, columns, bytes);
        const other = randomWeight(dtype, rows, columns, 'up');
        const weights: Weights = gated
          ? [weight, await runner.weight(dtype, rows, columns, other)]
          : [weight];
        const most = 150;
        const values = new Float32Array(randomWeight('f32', most, columns, 'x').buffer).map(
          (value) => value * Math.sqrt(columns),
        );
        const norm = await runner.floats([columns], new Float32Array(columns).fill(0.25));
        let whole: Float32Array | undefined;
        for (const tokens of [most, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 31, 33, 64, 65, 129]) {
          const x = await runner.floats([tokens, columns], values.subarray(0, tokens * columns));
          const results: Float32Array[] = [];
          for (const fast of [false, true]) {
            const out = await runner.floats([tokens, rows]);
            const call = callOf(x, [{ weights, out }], fast, { norm });
            const tiler = tilerOf(form, given);
            await runner.run(matmulKernel(tiler).dispatch({ ...call, ...memoryOf(call, tiler) }, traits));
            results.push(await runner.readFloats(out));
          }
          const [expected, actual] = results as [Float32Array, Float32Array];
          let [noise, signal] = [0, 0];
          expected.forEach((value, i) => {
            noise += (actual[i]! - value) ** 2;
            signal += value ** 2;
          });
          worst = Math.max(worst, noise / signal);
          whole ??= actual;
          if (actual.some((value, i) => !Object.is(value, whole![i]))) invariant = false;
        }
        runner.clear();
      }
      // 2.7e-5 is what int8 blocks cost (conformance's tolerance); a gate passes on two of them.
      const right = worst < 4 * 2.7e-5 && Number.isFinite(worst);
      if (!right || !invariant) failures++;
      console.log(
        `${right ? 'ok   ' : 'WRONG'} ${form.padEnd(5)} ${dtype.padEnd(6)} error ${worst.toExponential(2)}` +
          (invariant ? '' : ', rows depend on the batch'),
      );
      if (outOfTime()) return;
    }
  }
  console.log(failures === 0 ? 'all right' : `${failures} wrong`);
  if (failures > 0) process.exitCode = 1;
}

// ---------------------------------------------------------------- time

interface Timing {
  /** Time of the product alone. */
  readonly nanoseconds: number;
  /** Time of preparing its activations, in nanoseconds. */
  readonly preparing: number;
  readonly bytes: number;
  readonly flops: number;
}

/** Bytes of weights that are walked before one is read again: more than any cache. */
const coldBytes = 400e6;

/** What is computed by one call. */
type WeightSet = readonly Weights[];

async function weightSets(dtype: DType, rows: readonly number[], columns: number): Promise<WeightSet[]> {
  const banks = flags.gated ? 2 : 1;
  const bytes = rows.reduce((sum, one) => sum + weightLayout(dtype, one, columns).byteLength * banks, 0);
  const count = Math.max(1, Math.min(32, Math.ceil(coldBytes / bytes)));
  const sets: WeightSet[] = [];
  for (let i = 0; i < count; i++) {
    const set: Weights[] = [];
    for (const one of rows) {
      const weight = await randomPlanes(dtype, one, columns);
      set.push(flags.gated ? [weight, await randomPlanes(dtype, one, columns)] : [weight]);
    }
    sets.push(set);
  }
  return sets;
}

const random = (shape: readonly number[]): Promise<Operand> =>
  runner.floats(shape, Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, Math.random));

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1]!;

async function timeOf(
  sets: readonly WeightSet[],
  tokens: number,
  fast: boolean,
  tiler: MatmulTiler,
): Promise<Timing> {
  const { columns } = sets[0]![0]![0];
  const { mark } = runner;
  const x = await random([tokens, columns]);
  const outs = await Promise.all(sets[0]!.map(([{ rows }]) => runner.floats([tokens, rows])));
  const around = {
    ...(flags.norm ? { norm: await random([columns]) } : {}),
    ...(flags.join ? { stream: await random([tokens, columns]) } : {}),
  };
  const calls = sets.map((set) =>
    callOf(
      x,
      set.map((weights, i) => ({ weights, out: outs[i]! })),
      fast,
      around,
    ),
  );
  const memory = memoryOf(calls[0]!, tiler);
  const dispatches = calls.flatMap((call) => matmulKernel(tiler).dispatch({ ...call, ...memory }, traits));
  const isPreparing = dispatches.map(({ name }) => name.includes('prepare'));
  const runs = (await runner.runOften(dispatches, 6)).slice(1);
  const samples = (wanted: boolean): number[] =>
    runs.flatMap((run) => [...run].filter((_, index) => isPreparing[index] === wanted));
  const preparing = samples(true);
  runner.release(mark);
  const weights = sets[0]!.flat().filter((weight) => weight !== undefined);
  return {
    nanoseconds: median(samples(false)),
    preparing: preparing.length > 0 ? median(preparing) : 0,
    bytes: weights.reduce((sum, { layout }) => sum + layout.byteLength, 0),
    flops: weights.reduce((sum, { rows }) => sum + 2 * tokens * rows * columns, 0),
  };
}

function line(what: string, { nanoseconds, preparing, bytes, flops }: Timing): string {
  const cells = [
    `${(nanoseconds / 1e3).toFixed(1)} us`.padStart(11),
    `${(bytes / nanoseconds).toFixed(0)} GB/s`.padStart(11),
    `${(flops / nanoseconds / 1e3).toFixed(1)} TFLOP/s`.padStart(15),
    preparing > 0 ? `+ ${(preparing / 1e3).toFixed(1)} us to prepare` : '',
  ];
  return `${what.padEnd(34)} ${cells.join(' ')}`;
}

const fastOf = (): boolean => flags.form !== 'float';

async function time(): Promise<void> {
  const tokensList = (flags.tokens ?? '1,2,4,8,16,32,64,128,512').split(',').map(Number);
  for (const dtype of dtypes) {
    for (const [rows, columns] of shapes) {
      const weights = await weightSets(dtype, rows, columns);
      for (const tokens of tokensList) {
        if (outOfTime()) return;
        const tiler = tilerOf(flags.form as Form | undefined, given);
        const timing = await timeOf(weights, tokens, fastOf(), tiler);
        console.log(line(`${dtype} ${rows.join('+')}x${columns} n=${tokens}`, timing));
      }
      runner.clear();
    }
  }
}

// ---------------------------------------------------------------- sweep

function combinations(options: Readonly<Record<string, readonly unknown[]>>): Record<string, unknown>[] {
  return Object.entries(options).reduce<Record<string, unknown>[]>(
    (sofar, [key, values]) => sofar.flatMap((one) => values.map((value) => ({ ...one, [key]: value }))),
    [{}],
  );
}

function laneCandidates(columns: number, banks: number): Partial<LaneTile>[] {
  const tiles = combinations({
    workgroup: [64, 128, 256],
    lanes: [4, 8, 16, 32, 64, 128, 256],
    rows: [1, 2, 4],
    depth: [1, 2, 3, 4, 5, 6],
    workgroups: [Infinity],
  }) as unknown as LaneTile[];
  return tiles.filter(({ workgroup, lanes, rows, depth }) => {
    const perLane = Math.ceil(columns / 32 / lanes);
    const even = Math.ceil(perLane / Math.ceil(perLane / depth)) === depth;
    return lanes <= workgroup && even && 2 * perLane >= 3 && depth * rows * banks <= 12;
  });
}

/** Rows of both banks count as lines here. Slices are the default's: they decide bits. */
function matrixCandidates(banks: number, tokens: number): Partial<MatrixTile>[] {
  const wide = tokens > 64 ? [64, 128] : tokens > 32 ? [64] : [32];
  const cuts = combinations({
    lines: [32, 64, 128],
    tokens: wide,
    depth: [32, 64],
    subgroupLines: [16, 32, 64],
    subgroupTokens: [16, 32, 64],
  }) as unknown as {
    lines: number;
    tokens: number;
    depth: number;
    subgroupLines: number;
    subgroupTokens: number;
  }[];
  return cuts
    .filter(({ lines, tokens, subgroupLines, subgroupTokens }) => {
      const subgroups = (lines / subgroupLines) * (tokens / subgroupTokens);
      // Long and narrow parts read more than they multiply.
      return (
        subgroups >= 2 &&
        subgroups <= 16 &&
        Math.max(subgroupLines, subgroupTokens) <= 2 * Math.min(subgroupLines, subgroupTokens)
      );
    })
    .map(({ lines, subgroupLines, ...others }) => ({
      ...others,
      rows: lines / banks,
      subgroupRows: subgroupLines / banks,
    }))
    .filter((tile) => fitsDevice({ ...tile, slices: 1 }, banks, traits));
}

async function sweep(): Promise<void> {
  const form = (flags.form ?? 'int8') as Form;
  for (const dtype of dtypes) {
    for (const [rows, columns] of shapes) {
      const weights = await weightSets(dtype, rows, columns);
      for (const tokens of (flags.tokens ?? '1').split(',').map(Number)) {
        const banks = flags.gated ? 2 : 1;
        const candidates = form === 'f16' ? matrixCandidates(banks, tokens) : laneCandidates(columns, banks);
        const results: { tile: object; timing: Timing }[] = [];
        for (const tile of candidates) {
          if (outOfTime()) break;
          try {
            const timing = await timeOf(weights, tokens, fastOf(), tilerOf(form, { ...tile, ...given }));
            results.push({ tile, timing });
          } catch (error) {
            console.log(`${JSON.stringify(tile)}: ${(error as Error).message}`);
          }
        }
        const total = ({ timing }: { timing: Timing }): number => timing.nanoseconds + timing.preparing;
        results.sort((a, b) => total(a) - total(b));
        for (const { tile, timing } of results.slice(0, 8)) {
          console.log(
            line(`${dtype} ${rows.join('+')}x${columns} n=${tokens}`, timing),
            JSON.stringify(tile),
          );
        }
      }
      runner.clear();
    }
  }
}

// ---------------------------------------------------------------- prepare

/** What makes activations ready: with and without norm and residual, for the columns of the shapes. */
async function prepare(): Promise<void> {
  const tokensList = (flags.tokens ?? '1,16,512').split(',').map(Number);
  const forms: Form[] = flags.form ? [flags.form as Form] : ['int8', 'f16'];
  for (const columns of new Set(shapes.map(([, count]) => count))) {
    const weight = await randomPlanes('q4_0', 32, columns);
    const norm = await random([columns]);
    for (const tokens of tokensList) {
      const [x, stream] = [await random([tokens, columns]), await random([tokens, columns])];
      const out = await runner.floats([tokens, 32]);
      for (const form of forms) {
        if (form === 'f16' && traits.cooperativeMatrix.length === 0) continue;
        const cells: string[] = [];
        const arounds: readonly [string, Around][] = [
          ['plain', {}],
          ['norm', { norm }],
          ['norm+join', { norm, stream }],
        ];
        for (const [name, around] of arounds) {
          if (outOfTime()) return;
          const tiler = tilerOf(form, given);
          const call = callOf(x, [{ weights: [weight], out }], true, around);
          const dispatches = matmulKernel(tiler).dispatch({ ...call, ...memoryOf(call, tiler) }, traits);
          const again = Array.from({ length: 16 }, () => dispatches[0]!);
          const times = (await runner.runOften(again, 4)).slice(1).flatMap((run) => [...run]);
          cells.push(`${name} ${(median(times) / 1e3).toFixed(1)} us`);
        }
        console.log(`${`${form} ${columns} columns n=${tokens}`.padEnd(34)} ${cells.join(', ')}`);
      }
    }
    runner.clear();
  }
}

const commands: Readonly<Record<string, () => Promise<void>>> = { check, time, sweep, prepare };
const command = commands[positionals[0] ?? ''];
if (!command) throw new Error('One of check, time, sweep and prepare is wanted.');
console.log(`${runner.physical.name}, ${runner.physical.driver}`);
await command();
runner.close();
