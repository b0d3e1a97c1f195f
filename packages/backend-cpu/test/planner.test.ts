/** Estimates, the rates that they stand on, and where those are kept. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GraphBuilder, type DeviceInfo, type DeviceSpeed, type Graph } from '@unicorn-exec/tensor';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cpuBackend } from '../src/index.js';
import { cacheFolder, cacheVariable, SpeedFile } from '../src/speed-file.js';
import { compileDoubling } from './small-graphs.js';

const speed: DeviceSpeed = {
  bytesPerSecond: 1e9,
  flopsPerSecond: { f32: 1e10, fast: 1e11 },
  submitSeconds: 1,
  stepSeconds: 10,
  basis: 'measured',
};

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unicorn-speed-'));
  process.env[cacheVariable] = folder;
});

afterEach(async () => {
  delete process.env[cacheVariable];
  await rm(folder, { recursive: true });
});

async function info(): Promise<DeviceInfo> {
  const [description] = await cpuBackend.probe();
  if (!description?.usable) throw new Error('no device');
  return description.info;
}

/** A norm, two products of it, their gated unit, one product more, and a residual: two steps. */
function feedForward(): Graph {
  const b = new GraphBuilder('feed-forward');
  const x = b.input('x', 'f32', ['n', 512]);
  const normed = b.rmsNorm(x, b.weight('norm', { dtype: 'f32', shape: [512] }), { epsilon: 1e-6 });
  const matrix = (name: string, rows: number, columns: number) =>
    b.weight(name, { dtype: 'q8_0', shape: [rows, columns] });
  const gate = b.matmul(normed, matrix('gate', 1024, 512));
  const up = b.matmul(normed, matrix('up', 1024, 512));
  b.output('y', b.add(x, b.matmul(b.glu(gate, up, 'silu'), matrix('down', 512, 1024))));
  return b.build();
}

describe('an estimate', () => {
  it('pays a submission and its fused steps once, and the longer of operations and bytes for each node', async () => {
    const planner = cpuBackend.planner({ ...(await info()), speed });
    const graph = feedForward();
    const nodes = graph.nodes.map(({ id }) => id);
    const of = (n: number, precision: 'f32' | 'fast' = 'fast', part = nodes) =>
      planner.estimate({ graph, nodes: part }, { precision, dims: { n } });
    expect(of(1).seconds).toBeGreaterThan(21);
    expect(of(1).seconds).toBeLessThan(21.01);
    expect(of(1)).toMatchObject({ limit: 'launch', basis: 'measured' });
    // The product that reads what the gated unit makes is a step of its own.
    const down = graph.nodes.findLast(({ op }) => op === 'matmul')!.id;
    expect(Math.floor(of(1, 'fast', [down]).seconds)).toBe(11);
    const quick = { ...speed, submitSeconds: 1e-9, stepSeconds: 1e-9 };
    const working = cpuBackend.planner({ ...(await info()), speed: quick });
    const at = (n: number, precision: 'f32' | 'fast') =>
      working.estimate({ graph, nodes }, { precision, dims: { n } });
    // One row reads 1.67 MB of weights; a thousand compute 3.2 GFLOP.
    expect(at(1, 'fast')).toMatchObject({ limit: 'memory' });
    expect(at(1, 'fast').seconds).toBeCloseTo(1.7e-3, 4);
    expect(at(1000, 'fast')).toMatchObject({ limit: 'compute' });
    expect(at(1000, 'f32').seconds / at(1000, 'fast').seconds).toBeGreaterThan(5);
    expect(at(1000, 'fast').bytes).toBe(at(1000, 'f32').bytes);
    expect(() => working.estimate({ graph, nodes }, { precision: 'fast', dims: {} })).toThrow(
      expect.objectContaining({ code: 'usage/dims' }),
    );
  });

  it('follows from the description alone, measured or not', async () => {
    const { speed: _, ...described } = await info();
    const graph = feedForward();
    const nodes = graph.nodes.map(({ id }) => id);
    const of = (threads: number, memory: DeviceInfo = described) =>
      cpuBackend
        .planner({ ...memory, threads })
        .estimate({ graph, nodes }, { precision: 'fast', dims: { n: 512 } });
    expect(of(1).basis).toBe('modelled');
    expect(of(1).seconds / of(8).seconds).toBeGreaterThan(4);
  });

  it('is also given of a part of a graph that this backend has not alone', async () => {
    const planner = cpuBackend.planner({ ...(await info()), speed });
    const whole = feedForward();
    const nodes = whole.nodes.map(({ id }) => id);
    const elsewhere = { ...whole.nodes[0]!, id: nodes.length, op: 'elsewhere', outputs: [] };
    const graph: Graph = { ...whole, nodes: [...whole.nodes, elsewhere] };
    const { seconds } = planner.estimate({ graph, nodes }, { precision: 'fast', dims: { n: 1 } });
    // Each node counts as a step.
    expect(Math.floor(seconds)).toBe(1 + 10 * nodes.length);
  });
});

describe('what is not supported', () => {
  it('is said of a precision that the device does not have', async () => {
    const device = await cpuBackend.open('cpu', { threads: 1 });
    const graph = feedForward();
    const [node] = graph.nodes;
    expect(device.supports(node!, graph, { precision: 'fast' })).toEqual({ ok: true });
    const precision = 'f8' as 'f32';
    const reason = 'the precision f8';
    expect(device.supports(node!, graph, { precision })).toEqual({ ok: false, reason });
    await expect(
      device.compile(graph, await device.load([]), { dims: { n: 1 }, precision }),
    ).rejects.toMatchObject({ code: 'usage/weight' });
    const b = new GraphBuilder('no weights');
    b.output('y', b.scale(b.input('x', 'f32', [4]), 2));
    await expect(device.compile(b.build(), [], { dims: {}, precision })).rejects.toMatchObject({
      code: 'unsupported/precision',
      fields: { precision: 'f8' },
    });
    await device.close();
  });

  it('names the device in errors of the family device', async () => {
    await expect(cpuBackend.open('gpu')).rejects.toMatchObject({
      code: 'device/unavailable',
      fields: { device: 'gpu' },
    });
    const device = await cpuBackend.open('cpu', { threads: 1 });
    const executable = await compileDoubling(device);
    const y = device.allocate(16);
    await device.close();
    for (const call of [
      () => executable.submit({ dims: { n: 1 }, buffers: { x: new Float32Array(4), y } }),
      () => device.allocate(1),
      () => device.importBuffer(new Uint8Array(4)),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: 'device/closed', fields: { device: 'cpu' } }));
    }
  });
});

describe('numerics', () => {
  it('are one class for each SIMD level, whatever the threads and the phase', async () => {
    const { numerics, features } = await info();
    expect(numerics.token).toBe(numerics.prompt);
    const one = await cpuBackend.open('cpu', { threads: 1 });
    expect(one.info.numerics).toEqual(numerics);
    await one.close();
    const classes = new Set<string>();
    for (const level of features) {
      process.env.UNICORN_CPU_LEVEL = level;
      classes.add((await info()).numerics.token);
    }
    delete process.env.UNICORN_CPU_LEVEL;
    expect(classes.size).toBe(features.length);
  });
});

describe('a speed file', () => {
  const key = { processor: 'Some CPU (R) 3.0', threads: 4, level: 'avx2' };

  it('gives back what was written, under its key alone', async () => {
    const file = new SpeedFile(key, join(folder, 'deep'));
    expect(file.read()).toBeUndefined();
    expect(await file.write(speed)).toBe(file.path);
    expect(file.read()).toEqual(speed);
    expect(new SpeedFile(key, join(folder, 'deep')).read()).toEqual(speed);
    for (const other of [
      { ...key, threads: 5 },
      { ...key, level: 'portable' },
      // The same file name, and another processor.
      { ...key, processor: 'Some CPU [R] 3.0' },
    ]) {
      expect(new SpeedFile(other, join(folder, 'deep')).read()).toBeUndefined();
    }
    expect(await readdir(join(folder, 'deep'))).toEqual(['speed-some-cpu-r-3-0-4-avx2.json']);
  });

  it('is as absent when it is damaged or of another version', async () => {
    const file = new SpeedFile(key, folder);
    await file.write(speed);
    const text = await readFile(file.path!, 'utf8');
    for (const damaged of [
      '',
      'null',
      '[]',
      text.slice(0, -4),
      text.replace('"version"', '"Version"'),
      text.replace('1000000000', '-1'),
      text.replace('1000000000', '"1"'),
      text.replace('"fast"', '"slow"'),
    ]) {
      await writeFile(file.path!, damaged);
      expect(file.read()).toBeUndefined();
    }
  });

  it('lies where the variables say, or nowhere', () => {
    expect(cacheFolder({ [cacheVariable]: '/there' })).toBe('/there');
    expect(cacheFolder({ [cacheVariable]: '' })).toBeUndefined();
    expect(cacheFolder({ XDG_CACHE_HOME: '/cache' })).toBe(join('/cache', 'unicorn', 'cpu'));
    process.env[cacheVariable] = '';
    expect(new SpeedFile(key).path).toBeUndefined();
    expect(new SpeedFile(key).read()).toBeUndefined();
  });

  it('is written by measure and read by probe and open', async () => {
    expect((await info()).speed).toBeUndefined();
    const measured = await cpuBackend.measure();
    expect(measured.basis).toBe('measured');
    for (const rate of [measured.bytesPerSecond, measured.submitSeconds, measured.stepSeconds]) {
      expect(rate).toBeGreaterThan(0);
    }
    expect(measured.flopsPerSecond.fast).toBeGreaterThan(0);
    expect((await info()).speed).toEqual(measured);
    expect((await info()).heaps[0]!.bytesPerSecond).toBe(measured.bytesPerSecond);
    const device = await cpuBackend.open();
    expect(device.info.speed).toEqual(measured);
    await device.close();
    await expect(cpuBackend.measure('gpu')).rejects.toMatchObject({ code: 'device/unavailable' });
  }, 60_000);
});
