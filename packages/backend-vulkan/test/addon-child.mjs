/**
 * A process that speaks to the addon directly, for tests of what the environment decides: drivers, loaders, failing
 * devices. Runs the scenario that its argument names and prints what came of it as JSON. Also runs as a worker thread.
 *
 *     node addon-child.mjs '{"scenario": "run", "addon": "...", "shader": "...", "folder": "..."}'
 */
import { createRequire } from 'node:module';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';

const task = isMainThread ? JSON.parse(process.argv[2]) : workerData;
const addon = createRequire(import.meta.url)(task.addon);
const report = (result) => {
  if (isMainThread) process.stdout.write(`${JSON.stringify(result)}\n`);
  else parentPort.postMessage(result);
};

/** What was thrown, as the failure that the addon described. */
const failureOf = (error) =>
  error.code === 'UNICORN_FAILURE' ? JSON.parse(error.message) : { message: String(error) };

/** A device with promises for jobs. */
class Device {
  #waiting = new Map();

  constructor(validation, index = 0) {
    const probed = addon.probe(validation);
    if (probed.reason !== undefined) throw new Error(probed.reason);
    this.handle = addon.openDevice(
      index,
      undefined,
      (job, ended, _bytes, failure) => {
        if (!ended) return;
        this.#waiting.get(job)(failure);
        this.#waiting.delete(job);
      },
      'test',
    );
  }

  /** Resolves with the failure's JSON, or undefined. */
  outcome(job) {
    return new Promise((resolve) => this.#waiting.set(job, resolve));
  }

  async settled(job) {
    const failure = await this.outcome(job);
    if (failure !== undefined) throw Object.assign(new Error(failure), { code: 'UNICORN_FAILURE' });
  }
}

const halves = (address) => [Number(address & 0xffffffffn), Number(address >> 32n)];

/** Words of a dispatch of the copy shader. */
const copyWords = (source, target, byteLength, barrier) => {
  const vectors = byteLength / 16;
  return [
    0,
    Math.ceil(vectors / 256),
    1,
    1,
    barrier ? 1 : 0,
    5,
    ...halves(source),
    ...halves(target),
    vectors,
  ];
};

async function copyPipeline(device) {
  const { job, pipelines } = addon.createPipelines(
    device.handle,
    [readFileSync(task.shader)],
    [Uint32Array.of(64)],
    Uint32Array.of(0),
  );
  await device.settled(job);
  return pipelines;
}

/** Random bytes that are the same everywhere. */
const noise = (length, seed) => {
  let state = seed >>> 0;
  return Uint8Array.from({ length }, () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24);
};

const equal = (a, b) => Buffer.compare(a, b) === 0;

/** Every way in which bytes come to the device and back. */
async function run() {
  const device = new Device(true);
  const pipelines = await copyPipeline(device);
  const result = {};

  // Inputs, while runs of the same recording are in flight: staged, or written in place.
  const byteLength = 4096;
  const source = addon.allocate(device.handle, byteLength, 'device');
  const target = addon.allocate(device.handle, byteLength, 'host');
  const recording = addon.record(
    device.handle,
    pipelines,
    Uint32Array.from(copyWords(source.address, target.address, byteLength, false)),
    false,
  );
  const steps = [];
  for (let step = 0; step < 8; step++) {
    const input = noise(byteLength, step);
    const offsets = Float64Array.of(0, 2048);
    const inputs = [input.slice(0, 2048), input.slice(2048)];
    const targets = [source.handle, source.handle];
    const job = addon.submit(device.handle, recording, inputs, targets, offsets, [target.handle], []);
    for (const each of inputs) each.fill(0);
    const into = new Uint8Array(byteLength);
    const readJob = addon.read(device.handle, target.handle, 0, into);
    steps.push({ input, into, ends: [device.settled(job), device.settled(readJob)] });
  }
  for (const { ends } of steps) await Promise.all(ends);
  result.inputs = steps.every(({ input, into }) => equal(input, into));

  // A large buffer that the host may not be able to address, and zeroes around what is written.
  const large = addon.allocate(device.handle, 3_000_001, 'device');
  const data = noise(1_000_003, 99);
  await device.settled(addon.write(device.handle, large.handle, 777, data));
  const all = new Uint8Array(3_000_001).fill(1);
  await device.settled(addon.read(device.handle, large.handle, 0, all));
  const expected = new Uint8Array(3_000_001);
  expected.set(data, 777);
  result.large = equal(all, expected);

  // Weights: from a file at an odd offset and from memory, and one whose rows are gathered.
  const rows = 5000;
  const columns = 321;
  const bytes = noise(rows * columns * 4, 7);
  const path = join(task.folder, 'weights.bin');
  writeFileSync(path, Buffer.concat([Buffer.from('odd'), bytes]));
  const small = noise(2 * 32 * 4, 8);
  const weightNumbers = [
    [1, rows, columns, 0, 0, 3, bytes.length, 0],
    [1, 2, 32, 0, -1, 0, small.length, 0],
    [1, rows, columns, 0, 0, 3, bytes.length, 1],
  ];
  const { job, load } = addon.loadWeights(
    device.handle,
    [path],
    ['file', 'memory', 'host'],
    Float64Array.from(weightNumbers.flat()),
    [undefined, small, undefined],
  );
  await device.settled(job);
  const [fileAddress, memoryAddress, hostAddress] = addon.weightAddresses(load);
  // Rows are padded to 16 bytes.
  const stride = Math.ceil((columns * 4) / 16) * 16;
  const copied = addon.allocate(device.handle, rows * stride + 256, 'device');
  const gathered = addon.allocate(device.handle, 16 + 3 * stride, 'device');
  const weightRecording = addon.record(
    device.handle,
    pipelines,
    Uint32Array.from([
      ...copyWords(fileAddress, copied.address, rows * stride, false),
      ...copyWords(memoryAddress, copied.address + BigInt(rows * stride), 256, true),
    ]),
    true,
  );
  const ids = Int32Array.of(4999, 0, 1 << 30);
  const gather = {
    weights: load,
    weight: 2,
    ids: 0,
    beyond: 'firstRow',
    target: gathered.handle,
    byteOffset: 16,
  };
  await device.settled(
    addon.submit(
      device.handle,
      weightRecording,
      [ids],
      [source.handle],
      Float64Array.of(0),
      [copied.handle, load],
      [gather],
    ),
  );
  const back = new Uint8Array(rows * stride + 256);
  await device.settled(addon.read(device.handle, copied.handle, 0, back));
  const padded = (row) => {
    const line = new Uint8Array(stride);
    line.set(bytes.subarray(row * columns * 4, (row + 1) * columns * 4));
    return line;
  };
  result.fileWeight = true;
  for (let row = 0; row < rows; row++) {
    result.fileWeight &&= equal(back.subarray(row * stride, (row + 1) * stride), padded(row));
  }
  result.memoryWeight = equal(back.subarray(rows * stride), small);
  const gatheredRows = new Uint8Array(3 * stride);
  await device.settled(addon.read(device.handle, gathered.handle, 16, gatheredRows));
  result.gathered = equal(gatheredRows, Buffer.concat([padded(4999), padded(0), padded(0)]));
  result.gatheredBytes = addon.gatheredBytes(load) === 3 * columns * 4;
  result.hostAddress = hostAddress === 0n;
  result.timings = [...addon.timings(weightRecording)].every((ns) => ns >= 0);

  // A step that was made before allocates nothing.
  const before = addon.allocations(device.handle);
  for (let step = 0; step < 4; step++) {
    await device.settled(
      addon.submit(
        device.handle,
        recording,
        [noise(64, 1)],
        [source.handle],
        Float64Array.of(0),
        [target.handle],
        [],
      ),
    );
    await device.settled(addon.read(device.handle, target.handle, 0, new Uint8Array(64)));
  }
  result.allocations = addon.allocations(device.handle) - before;
  for (const handle of [load, weightRecording, recording, ...pipelines]) addon.dispose(handle);
  for (const each of [source, target, large, copied, gathered]) addon.disposeBuffer(each.handle, each.memory);
  result.left = Math.max(...addon.budgets(device.handle).map(({ usedBytes }) => usedBytes));
  addon.closeDevice(device.handle);
  return { ...result, messages: addon.validationMessages() };
}

/** A device that fails: what each of a few submissions ends with, and what later calls say. */
async function fail() {
  const device = new Device(false);
  const pipelines = await copyPipeline(device);
  const source = addon.allocate(device.handle, 1024, 'device');
  const target = addon.allocate(device.handle, 1024, 'host');
  const words = Uint32Array.from(copyWords(source.address, target.address, 1024, false));
  const recording = addon.record(device.handle, pipelines, words, false);
  const jobs = Array.from({ length: 6 }, () =>
    addon.submit(
      device.handle,
      recording,
      [noise(16, 1)],
      [source.handle],
      Float64Array.of(0),
      [target.handle],
      [],
    ),
  );
  const outcomes = await Promise.all(jobs.map((job) => device.outcome(job)));
  const later = [];
  for (const call of [
    () => addon.allocate(device.handle, 1 << 20, 'device'),
    () => addon.record(device.handle, pipelines, words, false),
  ]) {
    try {
      call();
      later.push('fine');
    } catch (error) {
      later.push(failureOf(error).code);
    }
  }
  const into = new Uint8Array(4);
  const read = await device.outcome(addon.read(device.handle, target.handle, 0, into));
  later.push(read === undefined ? 'fine' : JSON.parse(read).code);
  const begun = performance.now();
  addon.closeDevice(device.handle);
  return {
    outcomes: outcomes.map((failure) => (failure === undefined ? 'fine' : JSON.parse(failure).code)),
    later,
    closedAfterMs: performance.now() - begun,
  };
}

/** Asks for more than there is. */
async function exhaust() {
  const device = new Device(false);
  const taken = [];
  try {
    for (;;) taken.push(addon.allocate(device.handle, 50_000_128, 'host'));
  } catch (error) {
    return { failure: failureOf(error), taken: taken.length };
  }
}

/** Shared memory, which the host and the device may see differently: what either sees before and after it is synchronized. */
async function share() {
  const device = new Device(true);
  const pipelines = await copyPipeline(device);
  const byteLength = 1 << 20;
  const source = addon.allocate(device.handle, byteLength, 'shared');
  const target = addon.allocate(device.handle, byteLength, 'shared');
  const [given, seen] = [source, target].map(({ memory }) => new Uint8Array(memory));
  const recording = addon.record(
    device.handle,
    pipelines,
    Uint32Array.from(copyWords(source.address, target.address, byteLength, false)),
    false,
  );
  const submit = () =>
    device.settled(
      addon.submit(device.handle, recording, [], [], new Float64Array(0), [source.handle, target.handle], []),
    );
  const isZero = given.every((byte) => byte === 0) && seen.every((byte) => byte === 0);
  const data = noise(byteLength, 3);
  given.set(data);
  // Two ranges: what lies between them is not synchronized.
  const ranges = Float64Array.of(0, 4096, 65536, 256);
  addon.syncBuffer(device.handle, source.handle, false, ranges);
  await submit();
  const before = equal(seen.subarray(0, 4096), data.subarray(0, 4096));
  addon.syncBuffer(device.handle, target.handle, true, ranges);
  const result = {
    isZero,
    coherent: source.coherent,
    before,
    first: equal(seen.subarray(0, 4096), data.subarray(0, 4096)),
    second: equal(seen.subarray(65536, 65792), data.subarray(65536, 65792)),
    between: seen[32768],
  };
  // Transfers see to it themselves.
  const into = new Uint8Array(16);
  await device.settled(addon.write(device.handle, source.handle, 65536, noise(16, 5)));
  await submit();
  await device.settled(addon.read(device.handle, target.handle, 65536, into));
  result.transfer = equal(into, noise(16, 5));
  addon.dispose(recording);
  for (const each of [source, target]) addon.disposeBuffer(each.handle, each.memory);
  addon.closeDevice(device.handle);
  return { ...result, messages: addon.validationMessages() };
}

/** Ends with a device open and work in flight. */
async function leave() {
  const device = new Device(false);
  const pipelines = await copyPipeline(device);
  const buffer = addon.allocate(device.handle, 1 << 22, 'device');
  const words = Uint32Array.from(copyWords(buffer.address, buffer.address + BigInt(1 << 21), 1 << 21, false));
  const recording = addon.record(device.handle, pipelines, words, false);
  for (let i = 0; i < 200; i++) {
    void device.outcome(
      addon.submit(device.handle, recording, [], [], new Float64Array(0), [buffer.handle], []),
    );
  }
  report({ left: true });
  process.exit(0);
}

/** Is idle with a device open: that must not keep the process alive. */
async function idle() {
  const device = new Device(false);
  await copyPipeline(device);
  return { idle: addon.allocations(device.handle) >= 0 };
}

const scenarios = {
  probe: () => addon.probe(task.validation ?? false),
  run,
  fail,
  exhaust,
  share,
  leave,
  idle,
};
try {
  report(await scenarios[task.scenario]());
} catch (error) {
  report({ thrown: failureOf(error) });
}
