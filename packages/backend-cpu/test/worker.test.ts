/** The addon in worker threads: one that closes its device, one that ends with it open and work in flight. */
import { Worker } from 'node:worker_threads';
import { GraphBuilder, graphSignature } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { diagnoseAddon } from '../src/index.js';
import { encodePlan } from '../src/lowering/encode.js';
import { lower } from '../src/lowering/lower.js';

/** Speaks to the addon directly, since a worker has no loader for TypeScript. */
const program = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { path, words, names, constants, close } = workerData;
  const addon = require(path);
  const done = new Map();
  const device = addon.openDevice(2, addon.probe().best, (job, ended, bytes, failure) => {
    if (ended) done.get(job)(failure);
  });
  const settled = (job) => new Promise((resolve) => done.set(job, resolve));
  (async () => {
    const { job, load } = addon.loadWeights(device, 0, [], [], new Float64Array(0), []);
    await settled(job);
    const { handle } = addon.compile(device, [load], words, names, constants);
    const x = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer);
    const { handle: y, memory } = addon.allocate(16, true);
    const submit = () =>
      addon.submit(device, handle, Float64Array.of(1), [x, y], Float64Array.of(0, 16, 0, 0, 16, 2), undefined);
    const failure = await settled(submit());
    parentPort.postMessage({ failure, result: [...new Float32Array(memory)] });
    if (close) {
      addon.closeDevice(device);
      addon.closeDevice(device);
    } else {
      for (let i = 0; i < 1000; i++) done.set(submit(), () => {});
      process.exit(0);
    }
  })();
`;

const { loaded } = diagnoseAddon();

describe.skipIf(!loaded)('a worker thread', () => {
  for (const close of [true, false]) {
    it(close ? 'opens, runs and closes a device' : 'ends while its device works', async () => {
      const builder = new GraphBuilder('doubling');
      builder.output('y', builder.scale(builder.input('x', 'f32', ['n', 4]), 2));
      const graph = builder.build();
      const plan = lower(graph, {
        signature: graphSignature(graph),
        precision: 'f32',
        maximumDims: { n: 1 },
        takesInt8: () => false,
      });
      const encoded = encodePlan(plan, () => 0, false);
      const worker = new Worker(program, {
        eval: true,
        workerData: { path: loaded!.path, close, ...encoded },
      });
      const messages: unknown[] = [];
      worker.on('message', (message) => messages.push(message));
      const code = await new Promise((resolve, reject) => {
        worker.on('exit', resolve);
        worker.on('error', reject);
      });
      expect(code).toBe(0);
      expect(messages).toEqual([{ failure: undefined, result: [2, 4, 6, 8] }]);
    });
  }
});
