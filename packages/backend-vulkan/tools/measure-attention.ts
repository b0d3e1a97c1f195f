/**
 * Checks and measures attention's kernels on the device at hand, without graphs. `check` compares every form that the
 * device can run with the row form, which it compares with the reference: odd sizes, ragged batches, windows, prompts in
 * chunks, values that are not finite. `time` prints times of shapes of models: decode steps over cold caches, and prompts.
 *
 *     npx esbuild tools/measure-attention.ts --bundle --platform=node --format=esm --outfile=measure-attention.mjs
 *     node measure-attention.mjs check|time [--package FOLDER] [--device 0] [--only decode|prompt] [--form row|tile|matrix]
 *
 * --package  folder of this package as installed, with `shaders/compiled` and `build`; the working directory by default
 */
import { randomFillSync } from 'node:crypto';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { findOp, HostTensor, rowBytes, type DType } from '@unicorn-exec/tensor';
import type { NativeAddon } from '../src/addon.js';
import type { DeviceTraits, Place } from '../src/dispatch/dispatch.js';
import { attention } from '../src/kernel/attention.js';
import type { AttentionForm } from '../src/kernel/attention-form.js';
import type { Operand } from '../src/kernel/operand.js';
import type { AttentionCall } from '../src/kernel/attention-call.js';
import { ShaderLibrary } from '../src/device/shader-library.js';
import { attentionOperands, type AttentionShape } from '../test/attention-operands.js';
import { KernelRunner } from '../src/measure/kernel-runner.js';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    package: { type: 'string', default: '.' },
    device: { type: 'string', default: '0' },
    only: { type: 'string' },
    form: { type: 'string' },
  },
});

const packageFolder = resolve(flags.package);
const addonPath =
  process.env['UNICORN_VULKAN_ADDON'] ?? join(packageFolder, 'build', 'Release', 'unicorn_vulkan.node');
const addon = createRequire(import.meta.url)(addonPath) as NativeAddon;
const shaders = new ShaderLibrary(join(packageFolder, 'shaders', 'compiled'));
const runner = KernelRunner.open(addon, Number(flags.device), shaders);
/** Forms are asked for by name here, however slow they are. */
const traits: DeviceTraits = { ...runner.traits, software: false };

/** A record of faults behind a pointer, as a submission has it. */
async function faultRecord(): Promise<{ readonly faults: Place; readonly record: Place }> {
  const record = runner.memory(16);
  const faults = runner.memory(8);
  await runner.write(faults, BigUint64Array.of(runner.address(record)));
  return { faults, record };
}

// ---------------------------------------------------------------- check

const odd: Readonly<Record<string, AttentionShape>> = {
  'prompt, 7 heads of 128': shape('f16', 28, 4, 128, [{ keys: 300, rows: 37 }]),
  'prompt with a past': shape('f16', 14, 2, 64, [{ keys: 1301, rows: 65 }]),
  'prompt, q8_0': shape('q8_0', 6, 2, 128, [{ keys: 333, rows: 129 }]),
  ragged: shape('f16', 4, 2, 96, [
    { keys: 290, rows: 25 },
    { keys: 3, rows: 3 },
    { keys: 140, rows: 12 },
    { keys: 71, rows: 1 },
  ]),
  window: { ...shape('f16', 4, 1, 256, [{ keys: 700, rows: 90 }]), window: 130 },
  'window, ragged, q8_0': {
    ...shape('q8_0', 4, 1, 256, [
      { keys: 517, rows: 33 },
      { keys: 200, rows: 21 },
    ]),
    window: 100,
  },
  softcap: { ...shape('f16', 8, 4, 64, [{ keys: 270, rows: 70 }]), softcap: 3 },
  'keys ahead': { ...shape('f16', 3, 1, 80, [{ keys: 150, rows: 50 }]), ahead: 9 },
  'odd heads': { ...shape('f16', 2, 2, 37, [{ keys: 261, rows: 20 }]), blockTokens: 5 },
  'small heads': shape('f16', 12, 1, 32, [{ keys: 100, rows: 23 }]),
  'one row': shape('f16', 7, 1, 128, [{ keys: 1500, rows: 1 }]),
  'tiles of bf16': shape('bf16', 4, 2, 96, [{ keys: 290, rows: 25 }]),
};

function shape(
  dtype: DType,
  heads: number,
  kvHeads: number,
  headDim: number,
  sequences: AttentionShape['sequences'],
): AttentionShape {
  return { dtype, heads, kvHeads, headDim, blockTokens: 16, sequences };
}

/** The rows from `first` on of sequence 0, alone: the last chunk of its prompt. */
function lastChunk(
  tensors: ReturnType<typeof attentionOperands>,
  first: number,
): ReturnType<typeof attentionOperands> {
  const [, heads, headDim] = tensors.query.shape as [number, number, number];
  const rows = tensors.query.shape[0]! - first;
  return {
    ...tensors,
    query: HostTensor.f32([rows, heads, headDim], tensors.query.floats.slice(first * heads * headDim)),
    positions: HostTensor.i32([rows], tensors.positions.integers.slice(first)),
    ...(tensors.reach ? { reach: HostTensor.i32([rows], tensors.reach.integers.slice(first)) } : {}),
  };
}

async function evaluate(
  of: AttentionShape,
  tensors: ReturnType<typeof attentionOperands>,
  form: AttentionForm,
  device: DeviceTraits = traits,
): Promise<Float32Array> {
  const { mark } = runner;
  const given: Record<string, Operand> = {};
  for (const [key, tensor] of Object.entries(tensors)) {
    given[key] = await runner.tensor(tensor.dtype, tensor.shape, tensor.denseBytes());
  }
  const { faults, record } = await faultRecord();
  const out = await runner.floats(tensors.query.shape);
  const nowhere = runner.memory(0);
  const call: AttentionCall = {
    ...(given as unknown as Pick<AttentionCall, 'query' | 'state' | 'positions' | 'starts' | 'blocks'>),
    out,
    scale: 1 / Math.sqrt(of.headDim),
    ...(of.window === undefined ? {} : { window: of.window }),
    ...(of.softcap === undefined ? {} : { softcap: of.softcap }),
    fast: true,
    keys: tensors.blocks.columns * of.blockTokens,
    scratch: nowhere,
    counters: nowhere,
    faults,
  };
  const scratch = runner.memory(attention.scratchBytes(call, device, form));
  const counters = runner.memory(attention.counterBytes(call, device));
  await runner.run(attention.dispatch({ ...call, scratch, counters }, device, form));
  const result = await runner.readFloats(out);
  const fault = new Uint32Array((await runner.read({ place: record })).buffer)[0]!;
  if (fault !== 0) throw new Error(`fault ${fault}`);
  runner.release(mark);
  return result;
}

function distance(actual: Float32Array, expected: Float32Array): { noise: number; where: number } {
  let [noise, signal, worst, where] = [0, 0, 0, -1];
  expected.forEach((value, i) => {
    const off = Object.is(actual[i], value) ? 0 : Math.abs(actual[i]! - value);
    if (!(off <= worst)) [worst, where] = [off, i];
    if (Number.isFinite(value)) [noise, signal] = [noise + off ** 2, signal + value ** 2];
    else if (off !== 0) noise = NaN;
  });
  return { noise: noise / signal, where };
}

const sameBits = (a: Float32Array, b: Float32Array): boolean =>
  a.length === b.length && a.every((value, i) => Object.is(value, b[i]));

let failures = 0;

function tell(name: string, right: boolean, text: string): void {
  if (!right) failures++;
  console.log(`${right ? 'ok   ' : 'WRONG'} ${name.padEnd(34)} ${text}`);
}

const canMatrix = (of: AttentionShape): boolean =>
  traits.cooperativeMatrix.length > 0 &&
  (of.dtype === 'q8_0' || (of.dtype === 'f16' && of.headDim % 8 === 0)) &&
  of.headDim <= 256;

/** Twice 2^-11 of every factor at most, as rounding to f16 has it, squared; sums of f32 are far below. */
const halfNoise = 2 * 2 ** -21;

async function check(): Promise<void> {
  for (const [name, of] of Object.entries(odd)) {
    const tensors = attentionOperands(of);
    const expected = HostTensor.zeros('f32', tensors.query.shape);
    const { window, softcap } = of;
    findOp('attention').evaluate({
      inputs: tensors,
      attributes: {
        scale: 1 / Math.sqrt(of.headDim),
        ...(window === undefined ? {} : { window }),
        ...(softcap === undefined ? {} : { softcap }),
      },
      outputs: [expected],
    });
    const row = await evaluate(of, tensors, of.headDim % 8 === 0 ? 'row' : 'tile');
    const { noise } = distance(row, expected.floats);
    tell(`${name}: row`, noise < 1e-11, `noise ${noise.toExponential(1)}`);
    // Heads of one KV head apart and together.
    if (of.headDim % 8 === 0) {
      const together = await evaluate(of, tensors, 'row', { ...traits, computeUnits: 1 });
      tell(`${name}: row, heads together`, sameBits(together, row), 'same bits');
    }
    const tile = await evaluate(of, tensors, 'tile');
    tell(`${name}: tile`, sameBits(tile, row), `same bits, at ${distance(tile, row).where}`);
    if (!canMatrix(of)) continue;
    const matrix = await evaluate(of, tensors, 'matrix');
    const far = distance(matrix, row);
    const line = far.where < 0 ? '' : `, worst at row ${placeOf(tensors.query.shape, far.where)}`;
    tell(`${name}: matrix`, far.noise < halfNoise, `noise ${far.noise.toExponential(1)}${line}`);
    const wide = await evaluate(of, tensors, 'matrix', { ...traits, computeUnits: 1 });
    tell(`${name}: matrix, 64 lines`, sameBits(wide, matrix), 'same bits');
    if (of.sequences.length > 1) continue;
    for (const first of [1, 16, 19]) {
      if (first >= tensors.query.shape[0]!) continue;
      const rest = await evaluate(of, lastChunk(tensors, first), 'matrix');
      const same = sameBits(rest, matrix.subarray(matrix.length - rest.length));
      tell(`${name}: matrix, from row ${first}`, same, 'same bits');
    }
  }
  await checkPoison();
  console.log(failures === 0 ? 'all right' : `${failures} wrong`);
  if (failures > 0) process.exitCode = 1;
}

function placeOf([, heads, headDim]: readonly number[], index: number): string {
  const row = Math.floor(index / (heads! * headDim!));
  return `${row}, head ${Math.floor(index / headDim!) % heads!}, element ${index % headDim!}`;
}

/** A value that is not finite spoils what sees it, and nothing else; a query that is NaN spoils its own line. */
async function checkPoison(): Promise<void> {
  const of = shape('f16', 4, 2, 64, [{ keys: 90, rows: 90 }]);
  const tensors = attentionOperands(of);
  const forms: AttentionForm[] = canMatrix(of) ? ['tile', 'matrix'] : ['tile'];
  const clean = new Map<AttentionForm, Float32Array>();
  for (const form of forms) clean.set(form, await evaluate(of, tensors, form));
  const headDim = 64;
  const state = new Uint16Array(tensors.state.bytes.buffer, tensors.state.bytes.byteOffset);
  const block = tensors.blocks.integers[3]!;
  // Key 50, the value of KV head 1.
  state[(((block * 2 + 1) * 2 + 1) * 16 + 2) * headDim + 5] = 0x7e00;
  state[(((block * 2 + 1) * 2 + 1) * 16 + 2) * headDim + 7] = 0x7c00;
  tensors.query.floats[(70 * 4 + 1) * headDim + 3] = NaN;
  const row = await evaluate(of, tensors, 'row');
  for (const form of forms) {
    const result = await evaluate(of, tensors, form);
    const before = clean.get(form)!;
    let wrong = 0;
    result.forEach((value, i) => {
      const [at, head, element] = [Math.floor(i / 256), Math.floor(i / headDim) % 4, i % headDim];
      const seesIt = at >= 50 && head >= 2 && (element === 5 || element === 7);
      const spoilt = seesIt || (at === 70 && head === 1);
      if (spoilt ? !Object.is(value, row[i]) : !Object.is(value, before[i])) wrong++;
    });
    tell(`poison: ${form}`, wrong === 0, `${wrong} elements`);
  }
}

// ---------------------------------------------------------------- time

interface Timed {
  readonly label: string;
  readonly dtype: DType;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly sequences: number;
  readonly keys: number;
  readonly rows: number;
  readonly window?: number;
}

const models = {
  '1B': { heads: 4, kvHeads: 1, headDim: 256 },
  '7B': { heads: 28, kvHeads: 4, headDim: 128 },
  '27B': { heads: 32, kvHeads: 16, headDim: 128 },
} as const;

function shapesToTime(): Timed[] {
  const list: Timed[] = [];
  for (const [label, model] of Object.entries(models)) {
    if (flags.only !== 'prompt') {
      for (const keys of [50, 256, 512, 2048, 8192]) {
        list.push({ label, dtype: 'f16', ...model, sequences: 1, keys, rows: 1 });
      }
      list.push({ label, dtype: 'q8_0', ...model, sequences: 1, keys: 2048, rows: 1 });
      list.push({ label, dtype: 'f16', ...model, sequences: 32, keys: 200, rows: 32 });
      list.push({ label, dtype: 'f16', ...model, sequences: 32, keys: 2048, rows: 32 });
    }
    if (flags.only !== 'decode') {
      for (const rows of [64, 128, 512]) {
        list.push({ label, dtype: 'f16', ...model, sequences: 1, keys: rows, rows });
      }
      list.push({ label, dtype: 'q8_0', ...model, sequences: 1, keys: 512, rows: 512 });
      list.push({ label, dtype: 'f16', ...model, sequences: 1, keys: 4096, rows: 512 });
      list.push({ label, dtype: 'f16', ...model, sequences: 1, keys: 512, rows: 512, window: 128 });
    }
  }
  if (flags.only !== 'prompt') {
    list.push({ label: '7B', dtype: 'f16', ...models['7B'], sequences: 32, keys: 8192, rows: 32 });
    list.push({ label: '7B', dtype: 'q8_0', ...models['7B'], sequences: 32, keys: 8192, rows: 32 });
  }
  return list;
}

/** What caches of dispatches that follow each other hold at least, so that none finds its own in a cache of the device. */
const coldBytes = 150e6;

/** A device that has been idle while its memory was filled is slow at first: so long it works before it is timed. */
const warmNanoseconds = 150e6;

function randomState(dtype: DType, byteLength: number): Uint8Array {
  const bytes = Buffer.alloc(byteLength);
  randomFillSync(bytes, 0, Math.min(byteLength, 2 ** 20));
  for (let at = 2 ** 20; at < byteLength; at *= 2) bytes.copy(bytes, at, 0, at);
  // Numbers of about 2^-6 either way: exponents of f16, and the scale of a block of q8_0.
  if (dtype === 'q8_0') for (let at = 1; at < byteLength; at += 34) bytes[at] = 0x14;
  else for (let at = 1; at < byteLength; at += 2) bytes[at] = 0x24 | (bytes[at]! & 0x83);
  return bytes;
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1]!;

async function timeOne(one: Timed): Promise<void> {
  const { dtype, heads, kvHeads, headDim, sequences, keys, rows, window } = one;
  const blockTokens = 16;
  const columns = Math.ceil(keys / blockTokens);
  const blockBytes = 2 * kvHeads * blockTokens * rowBytes(dtype, headDim);
  const stepBytes = sequences * columns * blockBytes;
  const copies = Math.max(1, Math.min(48, Math.ceil(coldBytes / stepBytes)));
  const pool = 1 + copies * sequences * columns;
  const { mark } = runner;
  const state = await runner.tensor(
    dtype,
    [pool, 2, kvHeads, blockTokens, headDim],
    randomState(dtype, pool * blockBytes),
  );
  const perSequence = rows / sequences;
  const query = await runner.floats(
    [rows, heads, headDim],
    Float32Array.from({ length: rows * heads * headDim }, () => Math.random() - 0.5),
  );
  const positions = await runner.tensor(
    'i32',
    [rows],
    Int32Array.from({ length: rows }, (_, row) => keys - perSequence + (row % perSequence)),
  );
  const starts = await runner.tensor(
    'i32',
    [sequences],
    Int32Array.from({ length: sequences }, (_, i) => i * perSequence),
  );
  const out = await runner.floats([rows, heads, headDim]);
  const { faults } = await faultRecord();
  const nowhere = runner.memory(0);
  const base = { query, state, positions, starts, out, scale: 1 / Math.sqrt(headDim), keys, faults };
  const calls: AttentionCall[] = [];
  for (let copy = 0; copy < copies; copy++) {
    const first = 1 + copy * sequences * columns;
    const table = Int32Array.from({ length: sequences * columns }, (_, i) => first + i);
    const blocks = await runner.tensor('i32', [sequences, columns], table);
    calls.push({
      ...base,
      blocks,
      fast: true,
      ...(window === undefined ? {} : { window }),
      scratch: nowhere,
      counters: nowhere,
    });
  }
  const form = flags.form as AttentionForm | undefined;
  const scratch = runner.memory(attention.scratchBytes(calls[0]!, traits, form));
  const counters = runner.memory(attention.counterBytes(calls[0]!, traits));
  const steps = calls.map((call) => attention.dispatch({ ...call, scratch, counters }, traits, form));
  const [first] = await runner.runOften(steps.flat(), 1);
  const often = Math.ceil(warmNanoseconds / first!.reduce((sum, time) => sum + time, 1));
  const runs = (await runner.runOften(steps.flat(), Math.min(500, often) + 4)).slice(-4);
  const each = steps[0]!.length;
  const samples = runs.flatMap((run) =>
    steps.map((_, i) => run.slice(i * each, (i + 1) * each).reduce((sum, time) => sum + time, 0)),
  );
  const nanoseconds = median(samples);
  const seen = window === undefined ? keys : Math.min(keys, window + perSequence);
  const bytes = (sequences * 2 * kvHeads * seen * rowBytes(dtype, headDim)) / nanoseconds;
  // Keys that a row sees on average.
  const sees =
    window === undefined ? keys - (perSequence - 1) / 2 : Math.min(window, keys - (perSequence - 1) / 2);
  const flops = (4 * rows * heads * headDim * sees) / nanoseconds / 1e3;
  const { pipeline, groups } = steps[0]![0]!;
  console.log(
    `${one.label.padEnd(4)} ${dtype.padEnd(5)} ${`${sequences} x ${keys} keys`.padEnd(16)} ${`${rows} rows`.padEnd(9)}` +
      `${window === undefined ? '' : ` window ${window}`} ${(nanoseconds / 1e3).toFixed(1).padStart(8)} us` +
      ` ${bytes.toFixed(0).padStart(6)} GB/s ${flops.toFixed(1).padStart(6)} TFLOP/s` +
      `  ${pipeline.shader} ${groups.join('x')}${each > 1 ? ` and ${each - 1} more` : ''}`,
  );
  runner.release(mark);
}

async function time(): Promise<void> {
  for (const one of shapesToTime()) await timeOne(one);
}

const commands: Readonly<Record<string, () => Promise<void>>> = { check, time };
const command = commands[positionals[0] ?? ''];
if (!command) throw new Error('One of check and time is wanted.');
console.log(`${runner.physical.name}, ${runner.physical.driver}`);
await command();
runner.close();
