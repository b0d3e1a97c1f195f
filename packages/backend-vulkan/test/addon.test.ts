/**
 * The addon by itself, through its typed mirror: memory, pipelines, recordings, the queue, weights; what hostile callers
 * get; and, in processes of their own, what drivers, loaders and failing devices do to it. `native/test` has a driver and
 * a loader made for that, which need a C++ compiler.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { guarded } from '@unicorn-exec/native';
import { dtypes, UnicornError } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DeviceHandle, NativeAddon, PipelineHandle } from '../src/addon.js';
import { diagnoseAddon } from '../src/load-addon.js';
import { JobQueue } from '../src/device/queue.js';
import { ShaderLibrary } from '../src/device/shader-library.js';
import { driver } from './lavapipe.js';
import { buildMock, hasCompiler } from './mock.js';

const here = dirname(fileURLToPath(import.meta.url));
const { loaded } = diagnoseAddon();
const folder = mkdtempSync(join(tmpdir(), 'unicorn-addon-'));
const shaderPath = join(folder, 'copy.spv');
const copyShader = (): Uint8Array => new ShaderLibrary().spirv('copy');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** [low, high] word of an address. */
const halves = (address: bigint): number[] => [Number(address & 0xffffffffn), Number(address >> 32n)];

/** Words of a dispatch that copies, 16 bytes an invocation four times. */
const copyWords = (source: bigint, target: bigint, byteLength: number): Uint32Array => {
  const vectors = byteLength / 16;
  return Uint32Array.of(
    0,
    Math.ceil(vectors / 256),
    1,
    1,
    0,
    5,
    ...halves(source),
    ...halves(target),
    vectors,
  );
};

/** What a call throws. */
const thrown = (call: () => unknown): UnicornError => {
  try {
    guarded(call);
  } catch (error) {
    if (error instanceof UnicornError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

describe.skipIf(!loaded || !driver.present)(`the addon (${driver.need})`, () => {
  const addon: NativeAddon = loaded!.addon;
  let device: DeviceHandle;
  let pipeline: PipelineHandle;
  let queue: JobQueue;

  /** A device with a queue that knows of its jobs. */
  const open = (cache?: Uint8Array): { device: DeviceHandle; queue: JobQueue } => {
    const jobs = new JobQueue();
    const handle: DeviceHandle = guarded(() => addon.openDevice(0, cache, jobs.listener, 'test'));
    return { device: handle, queue: jobs };
  };

  beforeAll(async () => {
    const probed = addon.probe(driver.validated);
    expect(probed).toHaveProperty('devices');
    ({ device, queue } = open());
    const shader = copyShader();
    const { job, pipelines } = addon.createPipelines(
      device,
      [shader],
      [Uint32Array.of(64)],
      Uint32Array.of(0),
    );
    await queue.settled(job);
    pipeline = pipelines[0]!;
  });

  afterAll(() => {
    addon.closeDevice(device);
    addon.closeDevice(device);
    expect(addon.validationMessages()).toEqual([]);
  });

  it('describes each device', () => {
    const probed = addon.probe(driver.validated);
    if ('reason' in probed) throw new Error(probed.reason);
    const [first] = probed.devices;
    expect(first!.missing).toEqual([]);
    expect(first!.uuid).toMatch(/^[0-9a-f]{32}$/);
    expect(first!.apiVersion).toMatch(/^1\.\d+\.\d+$/);
    expect(first!.subgroupSize).toBeGreaterThanOrEqual(first!.minSubgroupSize);
    expect(first!.maxPushConstantBytes).toBeGreaterThanOrEqual(128);
    expect(first!.heaps.some(({ deviceLocal, bytes }) => deviceLocal && bytes > 0)).toBe(true);
  });

  it('gives zeroed memory, which the host sees where it is its own', async () => {
    for (const byteLength of [0, 1, 3, 257, 100_003]) {
      const { handle, memory } = addon.allocate(device, byteLength, 'host');
      expect(memory!.byteLength).toBe(byteLength);
      expect(new Uint8Array(memory!).every((byte) => byte === 0)).toBe(true);
      new Uint8Array(memory!).fill(5);
      const into = new Uint8Array(byteLength);
      await queue.settled(addon.read(device, handle, 0, into));
      expect(into.every((byte) => byte === 5)).toBe(true);
      addon.disposeBuffer(handle, memory);
      expect(memory!.byteLength).toBe(0);
      addon.disposeBuffer(handle, memory);
    }
    // What was used before is zero again.
    const { handle, memory } = addon.allocate(device, 100_003, 'host');
    expect(new Uint8Array(memory!).every((byte) => byte === 0)).toBe(true);
    addon.disposeBuffer(handle, memory);
  });

  it('runs submissions in their order, each with the inputs that it was given', async () => {
    const source = addon.allocate(device, 1024, 'device');
    const middle = addon.allocate(device, 1024, 'device');
    const target = addon.allocate(device, 1024, 'host');
    const words = (from: bigint, to: bigint): Uint32Array => copyWords(from, to, 1024);
    const first = addon.record(device, [pipeline], words(source.address, middle.address), false);
    const second = addon.record(device, [pipeline], words(middle.address, target.address), true);
    expect(thrown(() => addon.timings(first)).code).toBe('usage/timings');
    expect(thrown(() => addon.timings(second)).code).toBe('usage/timings');
    const results: Uint32Array[] = [];
    const jobs: Promise<void>[] = [];
    for (let step = 0; step < 20; step++) {
      const input = new Uint32Array(256).fill(step + 1);
      const bytes = new Uint8Array(input.buffer);
      const holds = [middle.handle, target.handle];
      const none = new Float64Array(0);
      jobs.push(
        queue.settled(addon.submit(device, first, [bytes], [source.handle], Float64Array.of(0), holds, [])),
        queue.settled(addon.submit(device, second, [], [], none, holds, [])),
      );
      const into = new Uint32Array(256);
      results.push(into);
      jobs.push(queue.settled(addon.read(device, target.handle, 0, new Uint8Array(into.buffer))));
      input.fill(0);
    }
    await Promise.all(jobs);
    results.forEach((into, step) => expect(new Set(into)).toEqual(new Set([step + 1])));
    expect(addon.timings(second)).toHaveLength(1);
    addon.dispose(first);
    addon.dispose(second);
    for (const { handle, memory } of [source, middle, target]) addon.disposeBuffer(handle, memory);
  });

  it('keeps what a submission uses until it has ended, whatever is disposed of first', async () => {
    const own = open();
    const shader = copyShader();
    const { job, pipelines } = addon.createPipelines(
      own.device,
      [shader],
      [Uint32Array.of(32)],
      Uint32Array.of(0),
    );
    await own.queue.settled(job);
    const source = addon.allocate(own.device, 1 << 20, 'device');
    const target = addon.allocate(own.device, 1 << 20, 'host');
    const recording = addon.record(
      own.device,
      pipelines,
      Uint32Array.of(0, 512, 1, 1, 0, 5, ...halves(source.address), ...halves(target.address), 65536),
      false,
    );
    const holds = [source.handle, target.handle];
    const end = own.queue.settled(
      addon.submit(own.device, recording, [], [], new Float64Array(0), holds, []),
    );
    addon.dispose(recording);
    addon.dispose(recording);
    for (const each of pipelines) addon.dispose(each);
    addon.disposeBuffer(source.handle, source.memory);
    addon.disposeBuffer(target.handle, target.memory);
    await end;
    addon.closeDevice(own.device);
    expect(thrown(() => addon.allocate(own.device, 16, 'host')).code).toBe('usage/disposed');
    expect(thrown(() => addon.timings(recording)).code).toBe('usage/disposed');
  });

  it('takes what pipelines were compiled to, and gives it', async () => {
    const bytes = addon.pipelineCache(device);
    expect(bytes.byteLength).toBeGreaterThanOrEqual(32);
    for (const cache of [bytes, bytes.slice(0, 31), new Uint8Array(bytes.byteLength).fill(7)]) {
      const own = open(cache);
      const shader = copyShader();
      const { job } = addon.createPipelines(own.device, [shader], [Uint32Array.of(64)], Uint32Array.of(0));
      await own.queue.settled(job);
      addon.closeDevice(own.device);
    }
  });

  it('says which shaders it cannot use', async () => {
    const end = async (shader: Uint8Array, subgroupSize: number): Promise<unknown> => {
      const constants = [Uint32Array.of(64)];
      const { job, pipelines } = addon.createPipelines(
        device,
        [shader],
        constants,
        Uint32Array.of(subgroupSize),
      );
      const failure = await queue.settled(job).catch((error: unknown) => error);
      expect(thrown(() => addon.record(device, pipelines, new Uint32Array(0), false)).code).toBe(
        'internal/invariant',
      );
      return failure;
    };
    expect(await end(new Uint8Array(64), 0)).toMatchObject({ code: 'internal/shader' });
    expect(await end(new Uint8Array(0), 0)).toMatchObject({ code: 'internal/shader' });
    const shader = copyShader();
    expect(await end(shader, 3)).toMatchObject({ code: 'unsupported/subgroup-size' });
    expect(await end(shader, 1 << 20)).toMatchObject({ code: 'unsupported/subgroup-size' });
  });

  it('refuses more memory than there is', () => {
    for (const byteLength of [Number.MAX_SAFE_INTEGER, 1e15, 2 ** 40]) {
      const error = thrown(() => addon.allocate(device, byteLength, 'device'));
      expect(error.code).toBe('resource/memory');
      expect(error.fields).toHaveProperty('byteLength', byteLength);
      expect(error.fix).toBeDefined();
    }
  });

  it('refuses nonsense without falling over', () => {
    const { handle: buffer, memory } = addon.allocate(device, 64, 'host');
    const recording = addon.record(device, [pipeline], new Uint32Array(0), false);
    const submit = (...values: unknown[]): unknown =>
      (addon.submit as (...all: unknown[]) => unknown)(device, recording, ...values);
    const none = new Float64Array(0);
    const call = addon as unknown as Record<string, (...values: unknown[]) => unknown>;
    const bytes = new Uint8Array(8);
    const calls: (() => unknown)[] = [
      // Handles: none, of other kinds, of nobody.
      () => call['allocate']!(undefined, 16, 'host'),
      () => call['allocate']!({}, 16, 'host'),
      () => call['allocate']!(buffer, 16, 'host'),
      () => call['dispose']!(device),
      () => call['dispose']!(17),
      () => call['read']!(device, pipeline, 0, bytes),
      () => call['timings']!(buffer),
      () => call['record']!(device, [buffer], new Uint32Array(0), false),
      // Numbers: negative, fractional, not at all, beyond the buffer.
      ...[-1, 0.5, NaN, Infinity, '16', undefined].map(
        (size) => () => call['allocate']!(device, size, 'host'),
      ),
      () => call['allocate']!(device, 16, 'elsewhere'),
      () => call['openDevice']!(-1, undefined, () => {}),
      () => call['openDevice']!(0, undefined, undefined),
      ...[57, -1, 1e300, NaN].map((offset) => () => call['read']!(device, buffer, offset, bytes)),
      ...[57, -1, 1e300, NaN].map((offset) => () => call['write']!(device, buffer, offset, bytes)),
      () => call['write']!(device, buffer, 0, [1, 2]),
      () => call['disposeBuffer']!(buffer, new ArrayBuffer(64)),
      // Words that are cut off, name no pipeline, want too many groups or too long push constants.
      ...[
        [0, 1, 1, 1, 0],
        [1, 1, 1, 1, 0, 0],
        [0, 65_536, 1, 1, 0, 0],
        [0, 1, 1, 1, 2, 0],
        [0, 1, 1, 1, 0, 2, 5],
        [0, 1, 1, 1, 0, 33, ...new Array<number>(33).fill(0)],
        [0, 1, 1, 1, 0, 0xffffffff],
      ].map((words) => () => addon.record(device, [pipeline], Uint32Array.from(words), false)),
      () => call['record']!(device, [pipeline], [0, 1, 1, 1, 0, 0], false),
      // Submissions whose lists do not fit each other.
      () => submit([bytes], [], none, [], []),
      () => submit([bytes], [buffer], none, [], []),
      () => submit([bytes], [buffer], Float64Array.of(60), [], []),
      () => submit([], [], none, [pipeline], []),
      () => submit([], [], none, [], [{}]),
      () => submit([], [], none, [], undefined),
      () => submit(undefined, [], none, [], []),
      // Weights.
      () => call['loadWeights']!(device, [], ['a'], none, []),
      () => call['loadWeights']!(device, [], ['a'], Float64Array.of(1, 1, 1, 0, 0, 0, 4, 0), []),
      () => call['loadWeights']!(device, [], ['a'], Float64Array.of(1, 1, 1, 0, -1, 0, 4, 0), [bytes]),
      () => call['loadWeights']!(device, [], ['a'], Float64Array.of(1, -1, 1, 0, -1, 0, 4, 0), [bytes]),
      () => call['loadWeights']!(device, [], ['a'], Float64Array.of(1, 2 ** 40, 1, 0, -1, 0, 4, 0), [bytes]),
    ];
    for (const each of calls) {
      expect(thrown(each).code, String(each)).toMatch(/^internal\/invariant$/);
    }
    // A dtype without layout is not our mistake.
    const error = thrown(() =>
      addon.loadWeights(device, [], ['a'], Float64Array.of(0, 1, 1, 0, -1, 0, 8, 0), [bytes]),
    );
    expect(error.code).toBe('unsupported/dtype');
    addon.disposeBuffer(buffer, memory);
    addon.dispose(recording);
  });

  it('says what is wrong with weights', async () => {
    const path = join(folder, 'short.bin');
    writeFileSync(path, new Uint8Array(100));
    const load = (file: string, offset: number): ReturnType<NativeAddon['loadWeights']> =>
      addon.loadWeights(device, [file], ['w'], Float64Array.of(1, 5, 5, 0, 0, offset, 100, 0), [undefined]);
    const outcome = (file: string, offset: number): Promise<unknown> =>
      queue.settled(load(file, offset).job).catch((error: unknown) => error);
    expect(await outcome(path, 0)).toBeUndefined();
    expect(await outcome(path, 1)).toMatchObject({ code: 'format/truncated' });
    expect(await outcome(path, 2 ** 52)).toMatchObject({ code: 'format/truncated' });
    expect(await outcome(join(folder, 'absent.bin'), 0)).toMatchObject({ code: 'usage/file' });
    const huge = addon.loadWeights(device, [path], ['w'], Float64Array.of(1, 5, 5, 0, 0, 0, 100, 1), [
      undefined,
    ]);
    await queue.settled(huge.job);
    expect(addon.weightBytes(huge.load)).toBe(0);
    const recording = addon.record(device, [pipeline], new Uint32Array(0), false);
    const { handle: target, memory } = addon.allocate(device, 4096, 'device');
    const gather = (ids: Int32Array, beyond: 'error' | 'firstRow'): number =>
      addon.submit(
        device,
        recording,
        [new Uint8Array(ids.buffer)],
        [target],
        Float64Array.of(0),
        [],
        [{ weights: huge.load, weight: 0, ids: 0, beyond, target, byteOffset: 1024 }],
      );
    for (const [id, beyond] of [
      [5, 'error'],
      [-2, 'error'],
      [-2, 'firstRow'],
      [-(2 ** 31), 'firstRow'],
    ] as const) {
      const error = thrown(() => gather(Int32Array.of(0, id), beyond));
      expect(error).toMatchObject({ code: 'usage/token-id', fields: { id, rows: 5 } });
    }
    await queue.settled(gather(Int32Array.of(0, 4), 'error'));
    await queue.settled(gather(Int32Array.of(0, -1), 'error'));
    await queue.settled(gather(Int32Array.of(0, 2 ** 31 - 1), 'firstRow'));
    await queue.settled(gather(new Int32Array(0), 'error'));
    expect(addon.gatheredBytes(huge.load)).toBe(120);
    addon.dispose(recording);
    addon.dispose(huge.load);
    addon.disposeBuffer(target, memory);
  });

  it('stops loading when it is told to', async () => {
    const path = join(folder, 'large.bin');
    // q8_0, which is laid out anew: other types are read where they lie, at once.
    const rows = 8192;
    const rowBytes = (4096 / 32) * 34;
    writeFileSync(path, new Uint8Array(rows * rowBytes));
    const q8 = dtypes.indexOf('q8_0');
    const numbers = Float64Array.of(q8, rows, 4096, 1, 0, 0, rows * rowBytes, 0);
    const { job, load } = addon.loadWeights(device, [path], ['w'], numbers, [undefined]);
    addon.abortLoad(load);
    await expect(queue.settled(job)).rejects.toMatchObject({ code: 'usage/cancelled' });
    addon.dispose(load);
    const progress: number[] = [];
    const whole = addon.loadWeights(device, [path], ['w'], numbers, [undefined]);
    // Far from being loaded.
    expect(thrown(() => addon.weightAddresses(whole.load)).code).toBe('internal/invariant');
    await queue.settled(whole.job, { progress: (bytes) => progress.push(bytes) });
    expect(progress.every((bytes, i) => i === 0 || bytes > progress[i - 1]!)).toBe(true);
    expect(progress.length).toBeGreaterThan(0);
    expect(addon.weightBytes(whole.load)).toBe(rows * rowBytes);
    addon.dispose(whole.load);
  });
});

describe.skipIf(!loaded || !driver.present)(`the addon in processes of its own (${driver.need})`, () => {
  /** Environment of the tests without the layers, which processes ask for by themselves. */
  const environment = (extra: Record<string, string>): NodeJS.ProcessEnv => {
    const all = { ...process.env, ...extra };
    delete all['VK_INSTANCE_LAYERS'];
    delete all['VK_LAYER_SETTINGS_PATH'];
    return all;
  };
  const child = (
    task: Record<string, unknown>,
    extra: Record<string, string> = {},
  ): Record<string, unknown> => {
    const argument = JSON.stringify({ addon: loaded!.path, shader: shaderPath, folder, ...task });
    const { status, signal, stdout, stderr } = spawnSync(
      process.execPath,
      [join(here, 'addon-child.mjs'), argument],
      { env: environment(extra), encoding: 'utf8', timeout: 60_000 },
    );
    expect({ status, signal, stderr }).toMatchObject({ status: 0, signal: null });
    return JSON.parse(stdout) as Record<string, unknown>;
  };

  const good = {
    inputs: true,
    large: true,
    fileWeight: true,
    memoryWeight: true,
    gathered: true,
    gatheredBytes: true,
    hostAddress: true,
    timings: true,
    allocations: 0,
    messages: [],
  };

  beforeAll(() => writeFileSync(shaderPath, copyShader()));

  it('runs where the host addresses all memory', () => {
    expect(child({ scenario: 'run' })).toMatchObject(good);
  });

  it('says that there is no loader', () => {
    const loader = '/nonexistent/libvulkan.so.1';
    const found = child({ scenario: 'probe' }, { UNICORN_VULKAN_LOADER: loader });
    expect(found['reason']).toContain(loader);
    expect(found['fix']).toContain('UNICORN_VULKAN_LOADER');
    const thrownThere = child({ scenario: 'idle' }, { UNICORN_VULKAN_LOADER: loader });
    expect(thrownThere).toHaveProperty('thrown');
    // A file that is not a library.
    const other = child({ scenario: 'probe' }, { UNICORN_VULKAN_LOADER: loaded!.path });
    expect(other['reason']).toContain('not a Vulkan loader');
  });

  it('says that there is no driver', () => {
    const nowhere = { VK_DRIVER_FILES: '/nonexistent/icd.json', VK_ICD_FILENAMES: '/nonexistent/icd.json' };
    const found = child({ scenario: 'probe' }, nowhere);
    expect(found['reason']).toMatch(/no driver|no Vulkan device/);
    expect(found['fix']).toContain('mesa-vulkan-drivers');
  });

  it('lets the process end with a device open, idle or not', () => {
    expect(child({ scenario: 'idle' })).toEqual({ idle: true });
    expect(child({ scenario: 'leave' })).toEqual({ left: true });
  });

  it('works in threads, and lets them end with a device open', async () => {
    const threads = ['run', 'leave', 'idle'].map(
      (scenario) =>
        new Promise<unknown[]>((resolve, reject) => {
          const worker = new Worker(join(here, 'addon-child.mjs'), {
            workerData: { addon: loaded!.path, shader: shaderPath, folder, scenario },
          });
          const messages: unknown[] = [];
          worker.on('message', (message) => messages.push(message));
          worker.on('error', reject);
          worker.on('exit', () => resolve(messages));
        }),
    );
    const [ran, left, idle] = await Promise.all(threads);
    expect(ran).toMatchObject([good]);
    expect(left).toEqual([{ left: true }]);
    expect(idle).toEqual([{ idle: true }]);
  });

  describe.skipIf(!hasCompiler)('with drivers and loaders made for it (needs c++)', () => {
    let mockLoader: string;
    let mockDriver: string;

    beforeAll(() => {
      mockLoader = buildMock('mock-loader', folder);
      const library = buildMock('mock-driver', folder);
      mockDriver = join(folder, 'mock-driver.json');
      const ICD = { library_path: library, api_version: '1.1.0' };
      writeFileSync(mockDriver, JSON.stringify({ file_format_version: '1.0.1', ICD }));
    });

    it('says that a driver is too old, or lists nothing', () => {
      const drivers = { VK_DRIVER_FILES: mockDriver, VK_ICD_FILENAMES: mockDriver };
      const { devices } = child({ scenario: 'probe' }, drivers) as { devices: { missing: string[] }[] };
      expect(devices).toHaveLength(1);
      expect(devices[0]!.missing).toEqual(['Vulkan 1.3 (the driver has 1.1.0)']);
      expect(child({ scenario: 'idle' }, drivers)).toMatchObject({
        thrown: { code: 'device/unavailable' },
      });
      const none = child({ scenario: 'probe' }, { ...drivers, MOCK_VULKAN_DEVICES: '0' });
      expect(none['reason']).toContain('no Vulkan device');
    });

    it('lists the devices of all drivers', () => {
      const files = [mockDriver, process.env['VK_DRIVER_FILES'] ?? ''].join(':');
      const { devices } = child(
        { scenario: 'probe' },
        { VK_DRIVER_FILES: files, VK_ICD_FILENAMES: files, MOCK_VULKAN_DEVICES: '2' },
      ) as { devices: { index: number; name: string; missing: string[] }[] };
      expect(devices.map(({ index }) => index)).toEqual([0, 1, 2]);
      expect(devices.filter(({ missing }) => missing.length === 0)).toHaveLength(1);
    });

    it('runs where device memory is the device’s own', () => {
      const settings = { UNICORN_VULKAN_LOADER: mockLoader, MOCK_VULKAN: 'discrete' };
      expect(child({ scenario: 'run' }, settings)).toMatchObject(good);
    });

    it('tells all jobs in flight that the device is lost, and every later call', () => {
      // The third submission is the first but two: buffers are cleared by the host.
      const settings = { UNICORN_VULKAN_LOADER: mockLoader, MOCK_VULKAN: 'lost=3' };
      const { outcomes, later, closedAfterMs } = child({ scenario: 'fail' }, settings) as {
        outcomes: string[];
        later: string[];
        closedAfterMs: number;
      };
      const fine = outcomes.filter((outcome) => outcome === 'fine').length;
      expect(fine).toBeLessThanOrEqual(2);
      expect(outcomes).toEqual([
        ...new Array<string>(fine).fill('fine'),
        ...new Array<string>(6 - fine).fill('device/lost'),
      ]);
      expect(later).toEqual(['device/lost', 'device/lost', 'device/lost']);
      expect(closedAfterMs).toBeLessThan(10_000);
    });

    it('takes a device that completes nothing any more for lost', () => {
      const { outcomes, later, closedAfterMs } = child(
        { scenario: 'fail' },
        { UNICORN_VULKAN_LOADER: mockLoader, MOCK_VULKAN: 'stall=3', UNICORN_VULKAN_TIMEOUT_MS: '500' },
      ) as { outcomes: string[]; later: string[]; closedAfterMs: number };
      expect(outcomes).toEqual(['fine', 'fine', ...new Array<string>(4).fill('device/lost')]);
      expect(later).toEqual(['device/lost', 'device/lost', 'device/lost']);
      expect(closedAfterMs).toBeLessThan(10_000);
    });

    it('synchronizes memory that is not coherent, in the ranges that it is told', () => {
      const shared = { isZero: true, first: true, second: true, transfer: true };
      const loader = { UNICORN_VULKAN_LOADER: mockLoader };
      // The layers would see memory that the driver does not know.
      const apart = child(
        { scenario: 'share' },
        { ...loader, MOCK_VULKAN: 'incoherent', VK_INSTANCE_LAYERS: '' },
      );
      expect(apart).toMatchObject({ ...shared, coherent: false, before: false, between: 0 });
      const coherent = child({ scenario: 'share' }, loader);
      expect(coherent).toMatchObject({ ...shared, coherent: true, before: true, messages: [] });
    });

    it('says how much memory was asked for and is left', () => {
      const settings = { UNICORN_VULKAN_LOADER: mockLoader, MOCK_VULKAN: 'discrete' };
      const { failure, taken } = child({ scenario: 'exhaust' }, settings) as {
        failure: { code: string; fields: { byteLength: number; leftBytes: number } };
        taken: number;
      };
      // Two in the host's own memory, five in the part of the device's that the host can map.
      expect(taken).toBe(7);
      expect(failure).toMatchObject({ code: 'resource/memory', fields: { byteLength: 50_000_128 } });
      expect(failure.fields.leftBytes).toBe(2 ** 27 - 2 * 50_000_128);
      const refused = child(
        { scenario: 'exhaust' },
        { UNICORN_VULKAN_LOADER: mockLoader, MOCK_VULKAN: 'memory=1' },
      );
      expect(refused).toMatchObject({ taken: 0, failure: { code: 'resource/memory' } });
    });
  });
});
