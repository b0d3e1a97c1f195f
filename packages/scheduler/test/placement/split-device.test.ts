/** A model over several devices: the same answers wherever its nodes are placed, and each part where it belongs. */
import { createInt8Backend } from '@unicorn-exec/conformance/fixture';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createNullBackend,
  GraphBuilder,
  referenceBackend,
  type Completion,
  type Device,
  type DeviceBuffer,
  type Graph,
  type SubmitOptions,
  type WeightSet,
} from '@unicorn-exec/tensor';
import { Scheduler } from '../../src/index.js';
import { placesByLayer, SplitDevice, type Place } from '../../src/placement/index.js';
import { answer, promptOf } from '../toy-answer.js';
import { toyBench, type Bench } from '../toy-model.js';
import { cutAt, model, randomPlace, stepGraph } from './toy-places.js';

describe('SplitDevice', () => {
  let whole: Bench;
  beforeAll(async () => {
    whole = await toyBench(model);
  });
  afterAll(() => whole.device.close());

  const open = async (place: Place, count = 2): Promise<SplitDevice> => {
    const devices: Device[] = [];
    while (devices.length < count) devices.push(await referenceBackend.open());
    const graphs = (['prompt', 'token'] as const).map((phase) => ({ graph: stepGraph('all'), phase }));
    return new SplitDevice({ devices, place, graphs });
  };
  const split = async (place: Place, count = 2): Promise<{ device: SplitDevice; weights: WeightSet }> => {
    const device = await open(place, count);
    return { device, weights: await device.load(model.weights) };
  };
  const byLayer =
    (layer: number): Place =>
    (graph) =>
      placesByLayer(graph, cutAt(layer));
  const byOp =
    (...ops: readonly string[]): Place =>
    ({ nodes }) =>
      nodes.map(({ op }) => Number(!ops.includes(op)));
  const byPhase: Place = ({ nodes }, phase) => nodes.map(() => Number(phase === 'token'));
  const scheduler = (device: Device, weights: WeightSet): Promise<Scheduler> =>
    Scheduler.create({
      device,
      weights,
      model,
      kvDType: 'f32',
      precision: 'f32',
      blockTokens: 4,
      prefillChunk: 9,
      maxSequences: 3,
    });

  it('answers and scores as one device does, wherever nodes are', async () => {
    const requests = [
      { tokens: promptOf(23), maxTokens: 12, sampling: { temperature: 0 } },
      {
        tokens: promptOf(7, 1),
        maxTokens: 9,
        sampling: { temperature: 1.1, presencePenalty: 0.4, seed: 7n },
      },
      {
        tokens: promptOf(14, 2),
        maxTokens: 10,
        sampling: { temperature: 0 },
        speculation: { draft: 'ngram', adaptive: false },
      },
      {
        tokens: promptOf(11, 3),
        maxTokens: 6,
        sampling: { temperature: 0 },
        size: { feedForward: [6, 6, 6, 6], skip: [] },
      },
    ] as const;
    const all = async (one: Scheduler): Promise<unknown> => {
      const answers = await Promise.all(requests.map((request) => answer(one, request)));
      const rows = await one.forward([promptOf(21), promptOf(4, 1)], { logits: 'all', hidden: true });
      one.checkIntegrity();
      await one.close();
      return [answers.map(({ tokens }) => tokens), rows];
    };
    const expected = await all(await scheduler(whole.device, whole.weights));
    const places: [string, Place, number?][] = [
      ...[0, 1, 2, 3, 4].map((layer): [string, Place] => [`cut before layer ${layer}`, byLayer(layer)]),
      ['matmul apart', byOp('matmul')],
      ['attention apart', byOp('attention', 'kvWrite')],
      ['kvWrite apart', byOp('kvWrite')],
      ['sample apart', byOp('sample')],
      ['prompts apart', byPhase],
      ['at random on three', randomPlace(3, 1), 3],
      ['at random on two', randomPlace(2, 2)],
    ];
    for (const [title, place, count] of places) {
      const { device, weights } = await split(place, count);
      expect(await all(await scheduler(device, weights)), title).toEqual(expected);
      expect(device.memory().bufferBytes).toBe(0);
      weights.dispose();
      expect(device.memory().weightBytes).toBe(0);
      await device.close();
    }
  });

  it('puts weights and caches where their layers are', async () => {
    const { device, weights } = await split(byLayer(1));
    const [front, back] = device.devices.map((one) => one.memory());
    expect(weights.byteLength).toBe(whole.weights.byteLength);
    expect(front!.weightBytes).toBeLessThan(back!.weightBytes);
    const one = await scheduler(device, weights);
    const [frontKv, backKv] = device.devices.map((each) => each.memory().bufferBytes);
    const layers = new Map(one.plan.groups.map(({ group, layerBytes }) => [group.name, layerBytes]));
    const history = 4 * 3 * model.contextLength;
    expect(frontKv).toBe(layers.get('full'));
    expect(backKv).toBe(layers.get('full')! + 2 * layers.get('window5')! + history);
    await one.close();
    weights.dispose();
    await device.close();
    expect(() => device.allocate(4)).toThrow(expect.objectContaining({ code: 'device/closed' }));
  });

  it('tells of progress as of one load, and leaves nothing of a failed one', async () => {
    const device = await open(byLayer(2));
    const seen: number[] = [];
    const totals = new Set<number>();
    const set = await device.load(model.weights, {
      onProgress: ({ loadedBytes, totalBytes }) => {
        seen.push(loadedBytes);
        totals.add(totalBytes);
      },
    });
    expect([...totals]).toEqual([seen.at(-1)]);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    set.dispose();
    const broken = model.weights.map((entry) =>
      entry.name === 'head' ? { ...entry, shape: [1, 1] } : entry,
    );
    await expect(device.load(broken)).rejects.toMatchObject({ code: 'usage/weight' });
    expect(device.memory().weightBytes).toBe(0);
    await device.close();
  });

  it('refuses names that it does not know, buffers and weights that are not its own', async () => {
    const { device, weights } = await split(byLayer(2));
    const options = { dims: Object.fromEntries(dimsOf(stepGraph('all')).map((dim) => [dim, 4])) };
    await expect(device.compile(stepGraph('all'), whole.weights, options)).rejects.toMatchObject({
      code: 'usage/weight',
    });
    const executable = await device.compile(stepGraph('all'), weights, options);
    expect(executable.describe()).toMatch(/^on reference evaluator.*:\n[^]*\n\non reference evaluator/);
    const buffers = { nobody: Int32Array.of(1) };
    expect(() => executable.submit({ dims: options.dims, buffers })).toThrow(
      expect.objectContaining({ code: 'usage/binding' }),
    );
    const foreign = whole.device.allocate(4);
    await expect(device.read(foreign, 0, 4)).rejects.toMatchObject({ code: 'usage/binding' });
    foreign.dispose();
    executable.dispose();
    expect(() => executable.submit({ dims: options.dims, buffers: {} })).toThrow(
      expect.objectContaining({ code: 'usage/disposed' }),
    );
    await device.close();
  });

  it('keeps a failure in front to its own submission and to what comes after it by request', async () => {
    const { device, weights } = await split(byLayer(1));
    const graph = stepGraph('all');
    const dims = Object.fromEntries(dimsOf(graph).map((dim) => [dim, dim.startsWith('pool') ? 2 : 1]));
    const executable = await device.compile(graph, weights, { dims, precision: 'f32' });
    const { inputs, state, outputs } = executable.signature;
    const buffers: Record<string, DeviceBuffer | Int32Array> = {};
    for (const name of Object.keys(inputs)) buffers[name] = new Int32Array(1);
    for (const name of Object.keys(state)) buffers[name] = device.allocate(2 * 2 * 4 * 4 * 4, { name });
    const [logits, others] = [0, 1].map(() => device.allocate(4 * model.vocabularySize));
    for (const name of Object.keys(outputs)) buffers[name] = logits!;
    const submit = (id: number, options?: SubmitOptions): Completion =>
      executable.submit({ dims, buffers: { ...buffers, ids: Int32Array.of(id) } }, options);
    const read = async (from = logits!): Promise<string> =>
      (await device.read(from, 0, from.byteLength)).join();

    await submit(3).done;
    const [three, none] = [await read(), new Array(logits!.byteLength).fill(0).join()];
    expect(three).not.toBe(none);
    const failing = submit(model.vocabularySize);
    const after = submit(5, { after: failing });
    const other = submit(3);
    await expect(failing.done).rejects.toMatchObject({ code: 'usage/token-id' });
    await expect(after.done).rejects.toMatchObject({ code: 'usage/token-id' });
    await other.done;
    expect(await read()).toBe(three);
    // Host data is copied at once, and what crosses is not overwritten while it is read.
    await submit(4).done;
    const four = await read();
    const ids = Int32Array.of(4);
    executable.submit({ dims, buffers: { ...buffers, ids, logits: others! } });
    ids[0] = 9;
    submit(3);
    expect([await read(), await read(others)]).toEqual([three, four]);
    // Closing waits for what is in flight.
    const last = submit(6);
    await device.close();
    await last.done;
  });
});

describe('two devices at work', () => {
  /** y = 2 x on the first device, z = 3 y on the second; `w` = 5 x on the second alone. */
  const graphs = (): { both: Graph; second: Graph } => {
    const both = new GraphBuilder('both');
    const y = both.scale(both.input('x', 'f32', ['tokens', 2]), 2);
    both.output('z', both.scale(y, 3));
    const second = new GraphBuilder('second');
    second.output('w', second.scale(second.input('x', 'f32', ['tokens', 2]), 5));
    return { both: both.build(), second: second.build() };
  };
  const place: Place = ({ nodes, name }) => nodes.map(({ id }) => (name === 'both' ? id : 1));

  /** Devices on which a submission takes some ticks of a clock that goes on when everybody waits. */
  async function ticking(ticks: readonly number[]): Promise<{
    device: SplitDevice;
    /** Ticks until `work` has ended. */
    time(work: Promise<unknown>): Promise<number>;
  }> {
    let now = 0;
    const waiting: { at: number; resolve: () => void }[] = [];
    const devices = await Promise.all(
      ticks.map((each, index) =>
        createNullBackend({
          info: { id: `fake${index}`, ...(index === 0 ? {} : { threads: 1 }) },
          onSubmit: () => new Promise<void>((resolve) => void waiting.push({ at: now + each, resolve })),
        }).open(),
      ),
    );
    const { both } = graphs();
    const device = new SplitDevice({ devices, place, graphs: [{ graph: both, phase: 'token' }] });
    const time = async (work: Promise<unknown>): Promise<number> => {
      const begin = now;
      let ended = false;
      void work.then(() => (ended = true));
      for (;;) {
        // Everything that can go on without the clock does.
        for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
        if (ended) return now - begin;
        now = Math.min(...waiting.map(({ at }) => at));
        for (const one of waiting.splice(0)) {
          if (one.at > now) waiting.push(one);
          else one.resolve();
        }
      }
    };
    return { device, time };
  }

  it('overlap: the second computes one submission while the first begins the next', async () => {
    const { device, time } = await ticking([10, 10]);
    const executable = await device.compile(graphs().both, await device.load([]), { dims: { tokens: 1 } });
    const z = device.allocate(8);
    const submit = (): Completion =>
      executable.submit({ dims: { tokens: 1 }, buffers: { x: new Float32Array(2), z } });
    const count = 20;
    const all = Array.from({ length: count }, submit);
    // As long as the slower device alone, and once the other.
    expect(await time(Promise.all(all.map(({ done }) => done)))).toBe(10 * (count + 1));
    expect(all[3]!.times().map(({ device: id }) => id)).toEqual(['fake0', 'fake1']);
    await device.close();
  });

  it('do not hold up what has nothing to do with what waits', async () => {
    const { device, time } = await ticking([200, 1]);
    const weights = await device.load([]);
    const { both, second } = graphs();
    const options = { dims: { tokens: 1 } };
    const [slow, quick] = [
      await device.compile(both, weights, options),
      await device.compile(second, weights, options),
    ];
    const [z, w, other] = [device.allocate(8), device.allocate(8), device.allocate(8)];
    const x = new Float32Array(2);
    const waits = slow.submit({ dims: { tokens: 1 }, buffers: { x, z } });
    const independent = quick.submit({ dims: { tokens: 1 }, buffers: { x, w } });
    expect(await time(independent.done)).toBe(1);
    expect(await time(device.read(other, 0, 8))).toBe(0);
    expect(await time(device.write(w, 0, new Uint8Array(8)))).toBe(0);
    // What it writes is read when it has ended.
    expect(await time(device.read(z, 0, 8))).toBe(200);
    await waits.done;
    await device.close();
  });

  it('keep the order of work that touches the same bytes', async () => {
    const { device, time } = await ticking([50, 1]);
    const weights = await device.load([]);
    const { both, second } = graphs();
    const options = { dims: { tokens: 1 } };
    const [slow, quick] = [
      await device.compile(both, weights, options),
      await device.compile(second, weights, options),
    ];
    const [z, w] = [device.allocate(8), device.allocate(8)];
    slow.submit({ dims: { tokens: 1 }, buffers: { x: new Float32Array(2), z } });
    const reader = quick.submit({ dims: { tokens: 1 }, buffers: { x: z, w } });
    expect(await time(reader.done)).toBe(52);
    await device.close();
  });
});

describe('a device that is lost', () => {
  const bench = async (place: Place, successor?: () => number) => {
    const backend = createInt8Backend({ arithmetic: 'f32', buckets: [8, 32], latencyMs: 1 });
    const devices = [await backend.open(), await referenceBackend.open()];
    const graphs = [{ graph: stepGraph(), phase: 'token' as const }];
    const device = new SplitDevice({ devices, place, graphs, ...(successor ? { successor } : {}) });
    const weights = await device.load(model.weights);
    const scheduler = await Scheduler.create({ device, weights, model, kvDType: 'f32', precision: 'f32' });
    return { backend, device, scheduler };
  };
  const products: Place = ({ nodes }) => nodes.map(({ op }) => Number(op !== 'matmul'));
  const request = { tokens: promptOf(23), maxTokens: 30, sampling: { temperature: 0 } };

  it('without state costs a retry of the step', async () => {
    const whole = await toyBench(model);
    const plain = await Scheduler.create({ ...whole, kvDType: 'f32', precision: 'f32' });
    const expected = (await answer(plain, request)).tokens;
    await plain.close();
    await whole.device.close();
    const { backend, device, scheduler } = await bench(products, () => 1);
    const tokens: number[] = [];
    for await (const event of scheduler.generate(request)) {
      if (event.kind !== 'token') continue;
      tokens.push(event.token);
      if (tokens.length === 5) backend.lose({ forGood: true });
    }
    expect(tokens).toEqual(expected);
    // Also what begins later.
    expect((await answer(scheduler, request)).tokens).toEqual(expected);
    scheduler.checkIntegrity();
    await scheduler.close();
    await device.close();
  });

  it('is an error that names it where nobody takes over, or state lies there', async () => {
    const layers: Place = (graph) => placesByLayer(graph, cutAt(2));
    for (const [place, successor] of [
      [products, undefined],
      [layers, () => 1],
    ] as const) {
      const { backend, device, scheduler } = await bench(place, successor);
      const generation = scheduler.generate(request);
      await generation.next();
      backend.lose();
      const rest = (async () => {
        for await (const _ of generation);
      })();
      await expect(rest).rejects.toMatchObject({ code: 'device/lost', fields: { device: 'int8' } });
      await scheduler.close();
      await device.close();
    }
  });
});

function dimsOf(graph: Graph): string[] {
  return [...new Set(graph.values.flatMap(({ shape }) => shape.filter((dim) => typeof dim === 'string')))];
}
