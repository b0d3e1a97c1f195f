/** How many layers go where: on an invented machine, then on the devices that are there. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hostPool, nullBackend, type Backend, type DeviceInfo } from '@unicorn-exec/tensor';
import { Engine, type GenerateRequest, type LoadOptions } from '../src/index.js';
import { evaluate } from '../src/measure/index.js';
import {
  checkGpuLayers,
  chooseSplit,
  splitError,
  type SplitChoice,
  type SplitRequest,
} from '../src/machine/layer-split.js';
import type { ModelBytes } from '../src/machine/model-bytes.js';
import { poolsOf, purseOf, reservedBytes as reserved } from '../src/machine/memory-pool.js';
import { goldenModels } from './golden-model.js';
import { argmax, backends, largestDifference } from './shared.js';

const MiB = 2 ** 20;
const { info: nullInfo } = await nullBackend.open();

const hostMiB = 8192;

/** A model of ten layers of 100 MiB, an embedding of 50 that is the head too, 1 KiB of KV a layer and token. */
const invented = (() => {
  const side = (layers: number, extraMiB: number): ModelBytes => ({
    weightBytes: (100 * layers + extraMiB) * MiB,
    kvBytes: (context) => layers * 1024 * context,
  });
  return {
    layers: 10,
    cut: (layer: number) => ({ host: side(layer, 50), device: side(10 - layer, 50) }),
    whole: side(10, 50),
    requested: undefined,
    modelContext: 32768,
  };
})();

/** The invented model beside a device with so much memory of its own; undefined: it computes in the host's. */
function machine(
  deviceMiB: number | undefined,
  more: Partial<SplitRequest> & { readonly hostBytes?: number } = {},
): SplitRequest {
  const { hostBytes = hostMiB * MiB, ...rest } = more;
  const deviceBytes = deviceMiB === undefined ? undefined : deviceMiB * MiB + reserved;
  const pools = new Map([['host', hostBytes]]);
  if (deviceBytes !== undefined) pools.set('card', deviceBytes);
  return {
    ...invented,
    asked: 'auto',
    device:
      deviceBytes === undefined
        ? { pool: 'host', availableBytes: hostBytes }
        : { pool: 'card', availableBytes: deviceBytes },
    host: { pool: 'host', availableBytes: hostBytes },
    pools,
    ...rest,
  };
}

/** With the errors that a caller sees. */
function splitOn(request: SplitRequest): SplitChoice {
  checkGpuLayers(request.asked);
  const answer = chooseSplit(request);
  if (answer.kind !== 'chosen') throw splitError(answer, request.layers);
  return answer.split;
}

describe('chooseSplit', () => {
  it('keeps a model together that fits, with a shorter context where that is still useful', () => {
    expect(splitOn(machine(1500))).toEqual({
      gpuLayers: 10,
      context: { contextLength: 32768, kvBytes: 32768 * 10240 },
    });
    const shorter = splitOn(machine(1050 + 100));
    expect(shorter.gpuLayers).toBe(10);
    expect(shorter.context.contextLength).toBe(10240);
    expect(shorter.context.limitedBy).toBeDefined();
  });

  it('leaves to the CPU what does not fit, and tells why', () => {
    // Seven layers, the head and 56 MiB of KV.
    const split = splitOn(machine(810));
    expect(split.gpuLayers).toBe(7);
    expect(split.context).toMatchObject({ contextLength: 8192, kvBytes: 8192 * 10240 });
    expect(split.limitedBy).toEqual({
      availableBytes: 810 * MiB + reserved,
      neededBytes: 1050 * MiB + 8192 * 10240,
    });
    expect(splitOn(machine(810, { requested: 32768 })).gpuLayers).toBe(5);
    expect(splitOn(machine(805)).gpuLayers).toBe(6);
  });

  it('takes no layer where not even the head and one fit', () => {
    const split = splitOn(machine(100));
    expect(split).toMatchObject({ gpuLayers: 0, context: { contextLength: 32768 } });
    expect(split.limitedBy).toBeDefined();
  });

  it('keeps to cuts that the model can have', () => {
    const cut = machine(0).cut;
    const some = { cut: (layer: number) => (layer <= 4 ? cut(layer) : undefined) };
    expect(splitOn(machine(810, some)).gpuLayers).toBe(7);
    expect(splitOn(machine(500, some)).gpuLayers).toBe(0);
    expect(() => splitOn(machine(500, { ...some, asked: 3 }))).toThrow(
      expect.objectContaining({ code: 'usage/gpu-layers', fix: 'Ask for 6 layers, 0, or `auto`.' }),
    );
  });

  it('does as it is told, as far as memory allows', () => {
    expect(splitOn(machine(1500, { asked: 3 }))).toMatchObject({ gpuLayers: 3 });
    expect(splitOn(machine(1500, { asked: 3 })).limitedBy).toBeUndefined();
    expect(splitOn(machine(1500, { asked: 0 })).gpuLayers).toBe(0);
    expect(splitOn(machine(1500, { asked: 99 })).gpuLayers).toBe(10);
    expect(splitOn(machine(undefined, { asked: 4 })).gpuLayers).toBe(4);
    // The device's share of the context is what limits it.
    const tight = splitOn(machine(350 + 30, { asked: 3 })).context;
    expect(tight.contextLength).toBe(10240);
    expect(tight.kvBytes).toBe(10240 * 10240);
    for (const asked of ['all', 9] as const) {
      expect(() => splitOn(machine(500, { asked }))).toThrow(
        expect.objectContaining({ code: 'resource/memory' }),
      );
    }
    for (const asked of [-1, 1.5, Number.NaN]) {
      expect(() => splitOn(machine(500, { asked }))).toThrow(
        expect.objectContaining({ code: 'usage/gpu-layers' }),
      );
    }
  });

  it('refuses what fits nowhere', () => {
    expect(() => splitOn(machine(500, { hostBytes: 600 * MiB }))).toThrow(
      expect.objectContaining({ code: 'resource/memory' }),
    );
    expect(() => splitOn(machine(undefined, { hostBytes: 600 * MiB }))).toThrow(
      expect.objectContaining({ code: 'resource/memory' }),
    );
  });
});

describe('a machine with one memory', () => {
  const GB = 1e9;
  /** 12 GB, of which the GPU may have 10: the layers of a model that neither holds alone are still bytes of one purse. */
  function unified(modelGB: number): SplitRequest {
    const info: DeviceInfo = {
      ...nullInfo,
      heaps: [
        { name: 'device0', bytes: 10 * GB, pool: hostPool, hostVisible: true },
        { name: 'host1', bytes: 6 * GB, pool: hostPool, hostVisible: true },
      ],
    };
    const owner = { info, availableBytes: 10 * GB };
    const pools = poolsOf([owner], 12 * GB);
    const side = (layers: number): ModelBytes => ({
      weightBytes: (layers * modelGB * GB) / 10,
      kvBytes: (context) => layers * 1000 * context,
    });
    return {
      ...invented,
      asked: 'auto',
      cut: (layer) => ({ host: side(layer), device: side(10 - layer) }),
      whole: side(10),
      device: purseOf(owner, pools),
      host: { pool: hostPool, availableBytes: 12 * GB },
      pools,
    };
  }

  it('refuses a model that is larger than the memory', () => {
    for (const asked of ['auto', 'all', 5, 0] as const) {
      expect(() => splitOn({ ...unified(16), asked })).toThrow(
        expect.objectContaining({ code: 'resource/memory' }),
      );
    }
    expect(chooseSplit(unified(16))).toMatchObject({
      kind: 'tooLarge',
      shortage: { availableBytes: 12 * GB },
    });
  });

  it("shares a model between both where only the GPU's part of it is too small", () => {
    expect(splitOn(unified(10.6))).toMatchObject({ gpuLayers: 9, context: { contextLength: 8192 } });
    expect(splitOn(unified(9)).gpuLayers).toBe(10);
  });
});

/** A pool, whose bytes devices share or do not, and a model of random layers, some of which cannot be parted. */
const machines = fc.record({
  isShared: fc.boolean(),
  heapMiB: fc.integer({ min: 1, max: 8000 }),
  deviceFreeMiB: fc.option(fc.integer({ min: 0, max: 8000 }), { nil: undefined }),
  hostFreeMiB: fc.integer({ min: 0, max: 8000 }),
  layerMiB: fc.array(fc.integer({ min: 0, max: 1500 }), { minLength: 1, maxLength: 12 }),
  sharedMiB: fc.integer({ min: 0, max: 500 }),
  kvBytes: fc.integer({ min: 1, max: 300_000 }),
  uncut: fc.array(fc.boolean(), { minLength: 12, maxLength: 12 }),
  asked: fc.oneof(fc.constantFrom('auto' as const, 'all' as const), fc.nat(13)),
  requested: fc.option(fc.integer({ min: 1, max: 32_768 }), { nil: undefined }),
});

it('never promises more of a pool than it has, nor of a device', () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(machines, (described) => {
      const { layerMiB, sharedMiB, asked } = described;
      const layers = layerMiB.length;
      const pool = described.isShared ? hostPool : 'card';
      const heap = { name: 'device0', bytes: described.heapMiB * MiB, pool, hostVisible: described.isShared };
      const free = described.deviceFreeMiB;
      const owner = {
        info: { ...nullInfo, heaps: [heap] },
        availableBytes: free === undefined ? undefined : free * MiB,
      };
      const hostBytes = described.hostFreeMiB * MiB;
      const pools = poolsOf([owner], hostBytes);
      const side = (from: number, to: number): ModelBytes => ({
        weightBytes: (layerMiB.slice(from, to).reduce((sum, one) => sum + one, 0) + sharedMiB) * MiB,
        kvBytes: (context) => (to - from) * described.kvBytes * context,
      });
      const request: SplitRequest = {
        asked,
        layers,
        cut: (layer) =>
          described.uncut[layer] ? undefined : { host: side(0, layer), device: side(layer, layers) },
        whole: side(0, layers),
        device: purseOf(owner, pools),
        host: { pool: hostPool, availableBytes: hostBytes },
        pools,
        requested: described.requested,
        modelContext: 32_768,
      };
      const answer = chooseSplit(request);
      seen.add(answer.kind);
      if (answer.kind !== 'chosen') return;
      const { gpuLayers, context } = answer.split;
      const onDevice = side(layers - gpuLayers, layers);
      const onHost = side(0, layers - gpuLayers);
      const promised = ({ weightBytes, kvBytes }: ModelBytes): number =>
        weightBytes + kvBytes(context.contextLength) + reserved;
      const device = gpuLayers > 0 ? promised(onDevice) : 0;
      const host = gpuLayers < layers ? promised(onHost) : 0;
      expect(device).toBeLessThanOrEqual(Math.min(heap.bytes, owner.availableBytes ?? heap.bytes));
      expect(host + (described.isShared ? device : 0)).toBeLessThanOrEqual(hostBytes);
      if (described.requested !== undefined) expect(context.contextLength).toBe(described.requested);
      seen.add(gpuLayers === 0 ? 'host' : gpuLayers === layers ? 'device' : 'both');
    }),
    { numRuns: 2000 },
  );
  expect([...seen].sort()).toEqual(['both', 'chosen', 'device', 'host', 'noCut', 'tooLarge']);
});

const [cpu, vulkan] = ['cpu', 'vulkan'].map((name) => backends.find((one) => one.name === name)!);
const gpu = vulkan!.backend;

/** A backend whose devices have so much memory of their own. */
function withMemory(backend: Backend, availableBytes: number): Backend {
  return {
    ...backend,
    open: async (...given) =>
      Object.assign(await backend.open(...given), { availableBytes: () => availableBytes }),
  };
}

async function generated(engine: Engine, request: GenerateRequest): Promise<number[]> {
  const tokens: number[] = [];
  for await (const chunk of engine.generate(request)) tokens.push(...chunk.tokens);
  return tokens;
}

describe.skipIf(!vulkan!.usable || !cpu!.usable)('a model over a GPU and the CPU', () => {
  const load = (options: LoadOptions): Promise<Engine> =>
    Engine.load({ backend: gpu, context: 512, precision: 'f32', kvType: 'f32', ...options });
  const request: GenerateRequest = {
    messages: [{ role: 'user', content: 'Tell me a short story about a brave fox.' }],
    sampling: { temperature: 0 },
    maxTokens: 12,
  };
  const prompt = Array.from({ length: 37 }, (_, index) => 300 + index * 7);
  const references = new Map<string, Promise<{ tokens: number[]; logits: Float32Array }>>();
  const run = async (engine: Engine): Promise<{ tokens: number[]; logits: Float32Array }> => {
    const tokens = await generated(engine, request);
    const [row] = await engine.forward([prompt], { logits: 'all' });
    await engine.close();
    return { tokens, logits: row!.logits! };
  };
  const alone = (backend: 'cpu' | 'vulkan'): Promise<{ tokens: number[]; logits: Float32Array }> => {
    const known =
      references.get(backend) ?? load({ backend: backend === 'cpu' ? cpu!.backend : gpu }).then(run);
    references.set(backend, known);
    return known;
  };

  // Nano's last layers read keys and values of the fifth, which so stays with them.
  it.each([1, 5])('cannot have only %i of nano on the GPU', async (gpuLayers) => {
    await expect(load({ gpuLayers })).rejects.toMatchObject({ code: 'usage/gpu-layers' });
  });

  // The first case also computes what all are compared with, on a GPU that a processor plays.
  it.each([6, 7, 8, 9])(
    'answers the same with %i layers on the GPU',
    { timeout: 180_000 },
    async (gpuLayers) => {
      const [onCpu, onGpu] = [await alone('cpu'), await alone('vulkan')];
      const engine = await load({ gpuLayers });
      expect(engine.backend.name).toBe('vulkan+cpu');
      const { places } = engine.backend.split!;
      expect(places.map(({ layers }) => layers)).toEqual([10 - gpuLayers, gpuLayers]);
      const { tokens, logits } = await run(engine);
      expect(tokens).toEqual(onCpu.tokens);
      // Each side rounds as its device does: no further from either than a few times what they differ by.
      const apart = largestDifference(onCpu.logits, onGpu.logits);
      expect(largestDifference(logits, onCpu.logits)).toBeLessThanOrEqual(4 * apart);
      const last = (all: Float32Array): Float32Array => all.subarray(-all.length / prompt.length);
      expect(argmax(last(logits))).toBe(argmax(last(onCpu.logits)));
    },
  );

  it('parts a model by itself when the device is too small, and says so', async () => {
    const whole = await load({});
    expect(whole.backend.split).toBeUndefined();
    const bytes = whole.stats().memory.weightBytes;
    await whole.close();
    const engine = await load({ backend: withMemory(gpu, reserved + 0.7 * bytes) });
    const { places, limitedBy } = engine.backend.split!;
    expect(places).toHaveLength(2);
    expect(places[1]!.weightBytes + places[1]!.kvBytes).toBeLessThanOrEqual(0.7 * bytes);
    expect(limitedBy!.neededBytes).toBeGreaterThan(limitedBy!.availableBytes - reserved);
    expect((await run(engine)).tokens).toEqual((await alone('cpu')).tokens);
  });

  it('computes on the CPU alone when the device has room for nothing, or is given nothing', async () => {
    for (const options of [{ backend: withMemory(gpu, 1000) }, { gpuLayers: 0 }]) {
      const engine = await load(options);
      expect(engine.backend.name).toBe('cpu');
      expect(engine.backend.split!.places.map(({ layers }) => layers)).toEqual([10]);
      await engine.close();
    }
  });

  it('takes the GPU for who asks for layers there, and refuses them elsewhere', async () => {
    const engine = await Engine.load({ context: 256, gpuLayers: 'all' });
    expect(engine.backend.name).toBe('vulkan');
    await engine.close();
    await expect(Engine.load({ backend: 'cpu', gpuLayers: 3 })).rejects.toMatchObject({
      code: 'usage/gpu-layers',
    });
  });

  for (const golden of goldenModels) {
    const { name, path, isThere } = golden;
    it.skipIf(!isThere)(`${name}, cut in the middle: logits and greedy continuation`, async () => {
      const { checks } = golden.meta();
      const engine = await loadCut(path);
      const prompts = ['b0', 'b1'];
      const ids = await Promise.all(
        prompts.map(async (prompt) => [...(await golden.read(`${prompt}.input_ids`))]),
      );
      const results = await evaluate(engine, ids);
      const answers = await Promise.all(
        prompts.map(async (prompt, index) => {
          const expected = [...(await golden.read(`${prompt}.greedy.ids`))];
          const tokens = await generated(engine, {
            tokens: ids[index]!,
            sampling: { temperature: 0 },
            maxTokens: expected.length,
            ignoreEnd: true,
          });
          return { tokens, expected };
        }),
      );
      await engine.close();
      for (const [index, prompt] of prompts.entries()) {
        const { data } = results[index]!.get('logits')!;
        // Ten times what float32 and float64 differ by.
        expect(largestDifference(data, await golden.read(`${prompt}.logits`))).toBeLessThanOrEqual(
          10 * checks[prompt]!.f32_vs_f64_max_abs,
        );
        expect(answers[index]!.tokens).toEqual(answers[index]!.expected);
      }
    });
  }

  /** Cut near the middle, where the model can be. */
  async function loadCut(model: string): Promise<Engine> {
    for (let gpuLayers = 1; ; gpuLayers++) {
      try {
        const engine = await load({ model, context: 256, gpuLayers });
        if (2 * gpuLayers >= engine.model.layers) return engine;
        await engine.close();
      } catch (error) {
        expect(error).toMatchObject({ code: 'usage/gpu-layers' });
      }
    }
  }
});
