/** A model cut over two devices: the same answers at every cut, and each part where it belongs. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  GraphBuilder,
  namedValues,
  printGraph,
  referenceBackend,
  type Completion,
  type Device,
  type DeviceBuffer,
  type Graph,
  type SubmitOptions,
  type WeightSet,
} from '@unicorn-exec/tensor';
import { Scheduler } from '../src/index.js';
import { ChainDevice, cutGraph, type LayerCut } from '../src/placement/index.js';
import { answer, promptOf } from './toy-answer.js';
import { ToyModel, toyBench, type Bench } from './toy-model.js';

const layerOf = (weight: string): number | undefined => {
  const digits = /^(\d+)\./.exec(weight)?.[1];
  return digits === undefined ? undefined : Number(digits);
};
const model = new ToyModel([undefined, 5, undefined, 5]);
const cutAt = (layer: number): LayerCut => ({ layer, layerOf });

function stepGraph(logits: 'selected' | 'all' | 'none' = 'selected', hidden = false): Graph {
  const builder = new GraphBuilder('toy');
  model.buildStep(builder, { kvDType: 'f32', blockTokens: 4, logits, hidden });
  return builder.build();
}

const namesOf = (graph: Graph | undefined, kind: 'input' | 'state' | 'weight'): string[] =>
  graph ? [...namedValues(graph, kind).keys()].sort() : [];

describe('cutGraph', () => {
  it('hands the hidden state over and nothing else', () => {
    for (let layer = 0; layer <= 4; layer++) {
      const { front, back, crossing } = cutGraph(stepGraph(), cutAt(layer));
      // Behind the last layer only rows whose logits are wanted.
      const shape = [layer < 4 ? 'tokens' : 'outputs', 8];
      const name: string = expect.stringMatching(/^cut\.\d+$/);
      expect(crossing).toEqual([{ name, dtype: 'f32', shape, isOutput: false }]);
      const states = [0, 1, 2, 3].map((one) => `kv.${one}`);
      expect(namesOf(front, 'state')).toEqual(states.slice(0, layer));
      expect(namesOf(back, 'state')).toEqual(states.slice(layer));
      expect(namesOf(front, 'weight')).toContain('embed');
      expect(namesOf(back, 'weight')).toContain('head');
      expect(namesOf(front, 'input').includes('ids') && !namesOf(back, 'input').includes('ids')).toBe(true);
      expect(Object.keys(back!.outputs)).toEqual(['logits']);
      expect(front!.nodes.length + back!.nodes.length).toBe(stepGraph().nodes.length);
    }
  });

  it('lets a value that is an output anyway cross as that', () => {
    const { front, crossing } = cutGraph(stepGraph('all', true), cutAt(2));
    expect(crossing).toMatchObject([{ name: 'hidden.2', isOutput: true }]);
    expect(Object.keys(front!.outputs)).toEqual(['hidden.0', 'hidden.1', 'hidden.2']);
  });

  it('has no part behind where nothing is computed there', () => {
    const graph = stepGraph('none');
    const { front, back, crossing } = cutGraph(graph, cutAt(4));
    expect(printGraph(front!)).toBe(printGraph(graph));
    expect(back).toBeUndefined();
    expect(crossing).toEqual([]);
  });

  it('refuses to part layers that share a state', () => {
    const builder = new GraphBuilder('shared');
    const [ids, positions, starts] = ['ids', 'positions', 'starts'].map((name) =>
      builder.input(name, 'i32', ['tokens']),
    );
    const weight = (name: string) => builder.weight(name, { dtype: 'f32', shape: [4, 4] });
    const heads = (name: string, x: ReturnType<typeof weight>) =>
      builder.reshape(builder.matmul(x, weight(name)), ['tokens', 1, 4]);
    const x = builder.embed(ids!, weight('embed'));
    const state = builder.state('kv.0', 'f32', ['pool', 2, 1, 4, 4]);
    const written = builder.kvWrite(state, heads('0.k', x), heads('0.v', x), ids!);
    const blocks = builder.input('blocks', 'i32', ['tokens', 'columns']);
    const see = (name: string) =>
      builder.attention(
        { query: heads(name, x), state: written, positions: positions!, starts: starts!, blocks },
        { scale: 1 },
      );
    builder.output('y', builder.add(see('0.q'), see('1.q')));
    expect(() => cutGraph(builder.build(), cutAt(1))).toThrow(
      expect.objectContaining({ code: 'unsupported/cut', fields: { layer: 1, state: 'kv.0' } }),
    );
    expect(cutGraph(builder.build(), cutAt(2)).back).toBeUndefined();
  });
});

describe('ChainDevice', () => {
  let whole: Bench;
  beforeAll(async () => {
    whole = await toyBench(model);
  });
  afterAll(() => whole.device.close());

  const chained = async (layer: number): Promise<{ device: ChainDevice; weights: WeightSet }> => {
    const [front, back] = [await referenceBackend.open(), await referenceBackend.open()];
    const device = new ChainDevice({ front, back, cut: cutAt(layer), graph: stepGraph('all') });
    return { device, weights: await device.load(model.weights) };
  };
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

  it('answers and scores as one device does, at every cut', async () => {
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
    for (let layer = 0; layer <= 4; layer++) {
      const { device, weights } = await chained(layer);
      expect(await all(await scheduler(device, weights)), `cut before layer ${layer}`).toEqual(expected);
      expect(device.memory().bufferBytes).toBe(0);
      weights.dispose();
      expect(device.memory().weightBytes).toBe(0);
      await device.close();
    }
  });

  it('puts weights and caches where their layers are', async () => {
    const { device, weights } = await chained(1);
    const [front, back] = [device.front, device.back].map((one) => one.memory());
    expect(weights.byteLength).toBe(whole.weights.byteLength);
    expect(front!.weightBytes).toBeLessThan(back!.weightBytes);
    const one = await scheduler(device, weights);
    const [frontKv, backKv] = [device.front, device.back].map((each) => each.memory().bufferBytes);
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
    const [front, back] = [await referenceBackend.open(), await referenceBackend.open()];
    const device = new ChainDevice({ front, back, cut: cutAt(2), graph: stepGraph('all') });
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
    const { device, weights } = await chained(2);
    const options = { dims: Object.fromEntries(dimsOf(stepGraph('all')).map((dim) => [dim, 4])) };
    await expect(device.compile(stepGraph('all'), whole.weights, options)).rejects.toMatchObject({
      code: 'usage/weight',
    });
    const executable = await device.compile(stepGraph('all'), weights, options);
    expect(executable.describe()).toMatch(/^on reference evaluator.*:\n[^]*\n\non reference evaluator/);
    const buffers = { nobody: Int32Array.of(1) };
    expect(() => executable.submit({ dims: options.dims, buffers })).toThrow(
      expect.objectContaining({ code: 'usage/binding', fields: { name: 'nobody' } }),
    );
    const foreign = whole.device.allocate(4);
    expect(() => device.read(foreign, 0, 4)).toThrow(expect.objectContaining({ code: 'usage/binding' }));
    foreign.dispose();
    executable.dispose();
    expect(() => executable.submit({ dims: options.dims, buffers: {} })).toThrow(
      expect.objectContaining({ code: 'usage/disposed' }),
    );
    await device.close();
  });

  it('keeps a failure in front to its own submission and to what comes after it by request', async () => {
    const { device, weights } = await chained(1);
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

function dimsOf(graph: Graph): string[] {
  return [...new Set(graph.values.flatMap(({ shape }) => shape.filter((dim) => typeof dim === 'string')))];
}
