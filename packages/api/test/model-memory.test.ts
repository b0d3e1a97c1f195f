/**
 * Memory that a model need not take: keys and values outside sliding windows, and tables of which a token reads one row.
 * What is computed beforehand is what is allocated, and less of it changes no bit.
 */
import { describe, expect, it } from 'vitest';
import { openModel } from '@unicorn-exec/models';
import { modelPath } from '@unicorn-exec/model-nano';
import { Scheduler } from '@unicorn-exec/scheduler';
import {
  nullBackend,
  planKv,
  tensorBytes,
  type Backend,
  type KvGroup,
  type LanguageModel,
} from '@unicorn-exec/tensor';
import { Engine } from '../src/index.js';
import { wholeBytes } from '../src/machine/model-bytes.js';
import { backends } from './shared.js';

/** The groups of the published Gemma 3n models: 20 layers with keys and values of their own, every fifth one full. */
const gemma3nGroups: readonly KvGroup[] = [
  { name: 'full', layers: [4, 9, 14, 19], kvHeads: 2, headDim: 256 },
  {
    name: 'sliding',
    layers: Array.from({ length: 20 }, (_, layer) => layer).filter((layer) => layer % 5 !== 4),
    kvHeads: 2,
    headDim: 256,
    window: 512,
  },
];
const context = 32_768;

/** Of f16 keys and values of both heads, in one layer. */
const tokenBytes = 2 * 2 * 256 * 2;

describe('Gemma 3n at 32,768 tokens', () => {
  // Full layers hold all blocks, sliding ones their window, a prefill chunk of 512 and what both touch besides.
  const fullBytes = 4 * (1 + 2048) * 16 * tokenBytes;
  const slidingBytes = 16 * (1 + 32 + 2 + 32) * 16 * tokenBytes;

  it('takes the bytes that were computed beforehand, and the scheduler allocates them', async () => {
    const plan = planKv({ groups: gemma3nGroups, contextLength: context, kvDType: 'f16' });
    expect(plan.bytes).toBe(fullBytes + slidingBytes);
    const device = await nullBackend.open();
    const model: LanguageModel = {
      name: 'gemma3n-e2b',
      vocabularySize: 262_144,
      contextLength: context,
      layers: 30,
      kvGroups: gemma3nGroups,
      buildStep: () => ({}),
    };
    const weights = await device.load([]);
    const scheduler = await Scheduler.create({ device, weights, model, kvDType: 'f16' });
    expect(scheduler.stats().kvBytes).toBe(plan.bytes);
    // Beside them lies the history that repetition penalties look at.
    expect(device.memory().bufferBytes).toBe(plan.bytes + 4 * context);
    await scheduler.close();
    await device.close();
  });

  it.each([1, 16])('counts all states that a scheduler allocates for %i sequences', async (maxSequences) => {
    const device = await nullBackend.open();
    const model = await openModel(modelPath);
    const weights = await device.load([]);
    const contextLength = 1024;
    const options = { kvType: 'f16', maxSequences } as const;
    const scheduler = await Scheduler.create({
      device,
      weights,
      model,
      kvDType: 'f16',
      contextLength,
      maxSequences,
    });
    const { kvBytes, historyBytes } = wholeBytes(model, options, device.info);
    expect(kvBytes(contextLength) + historyBytes!(contextLength)).toBe(device.memory().bufferBytes);
    await scheduler.close();
    await device.close();
    await model.close();
  });

  it('takes a fifth of what it would without windows', () => {
    const groups = gemma3nGroups.map(withoutWindow);
    const plan = planKv({ groups, contextLength: context, kvDType: 'f16' });
    expect(plan.bytes).toBe(20 * (1 + 2048) * 16 * tokenBytes);
    expect((fullBytes + slidingBytes) / plan.bytes).toBeLessThan(0.23);
  });
});

/** For pools only: attention keeps its window, which is in the graph. */
function withoutWindow({ window: _, ...group }: KvGroup): KvGroup {
  return group;
}

const cpu = backends.find(({ name }) => name === 'cpu')!;

describe.skipIf(!cpu.usable)('per-layer embeddings', () => {
  it('take no memory of the device, and a token reads one row of them', async () => {
    const model = await openModel(modelPath);
    const table = model.weights().find(({ name }) => name === 'perLayer.embed')!;
    const rows = table.shape[0]!;
    expect(model.hostBytes).toBe(tensorBytes(table.dtype, table.shape));
    expect(model.sizes[0]!.hostBytesPerToken).toBe(model.hostBytes / rows);
    const device = await cpu.backend.open();
    const weights = await device.load(model.weights());
    // Packing may pad the rest by a few bytes a row; the table is a tenth of it.
    expect(device.memory().weightBytes).toBeLessThan(1.02 * (model.weightBytes - model.hostBytes));
    weights.dispose();
    await device.close();
    await model.close();
  });
});

describe.skipIf(!cpu.usable)('nano at 2,048 tokens', () => {
  it.each(['f32', 'fast'] as const)(
    'has the same logits, bit for bit, whether sliding layers keep everything or their window (%s)',
    { timeout: 300_000 },
    async (precision) => {
      const model = await openModel(modelPath);
      const everything: LanguageModel = {
        name: model.name,
        vocabularySize: model.vocabularySize,
        contextLength: model.contextLength,
        layers: model.layers,
        kvGroups: model.kvGroups.map(withoutWindow),
        buildStep: (builder, options) => model.buildStep(builder, options),
      };
      const tokens = Array.from(
        { length: model.contextLength },
        (_, i) => ((i + 1) * 7919) % model.vocabularySize,
      );
      const device = await cpu.backend.open();
      const weights = await device.load(model.weights());
      const shared = { device, weights, precision, prefillChunk: 96 };
      const windowed = await Scheduler.create({ ...shared, model });
      const whole = await Scheduler.create({ ...shared, model: everything });
      expect(windowed.stats().kvBytes).toBeLessThan(0.4 * whole.stats().kvBytes);
      const expected = await logitsOf(whole, tokens);
      const actual = await logitsOf(windowed, tokens);
      expect(actual.size).toBe(tokens.length);
      for (const [position, row] of expected)
        expect(actual.get(position)!.equals(row), `row ${position}`).toBe(true);
      // Decoding one by one past several windows, into blocks that others have left.
      const prompt = tokens.slice(0, 100);
      expect(await generated(windowed, prompt)).toEqual(await generated(whole, prompt));
      for (const opened of [windowed, whole]) await opened.close();
      weights.dispose();
      await device.close();
      await model.close();
    },
  );
});

/** The bytes of each position's logits. */
async function logitsOf(scheduler: Scheduler, tokens: readonly number[]): Promise<Map<number, Buffer>> {
  const rows = new Map<number, Buffer>();
  await scheduler.forward([tokens], {
    logits: 'all',
    onRows: ({ position, count, logits }) => {
      const width = logits!.length / count;
      for (let row = 0; row < count; row++) {
        rows.set(position + row, Buffer.from(logits!.slice(row * width, (row + 1) * width).buffer));
      }
    },
  });
  return rows;
}

async function generated(scheduler: Scheduler, tokens: readonly number[]): Promise<number[]> {
  const ids: number[] = [];
  for await (const event of scheduler.generate({ tokens, maxTokens: 400, sampling: { temperature: 0 } })) {
    if (event.kind === 'token') ids.push(event.token);
  }
  return ids;
}

/** The CPU as a device of another kind, which computes prompts and answers in different classes of bits, or so it says. */
const phased: Backend = {
  ...cpu.backend,
  probe: () => cpu.backend.probe(),
  open: async (...given) => {
    const device = await cpu.backend.open(...given);
    const info = {
      ...device.info,
      backend: 'phased',
      numerics: { prompt: 'rounded', token: device.info.numerics.token },
    };
    return new Proxy(device, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (name === 'info') return info;
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  },
};

describe.skipIf(!cpu.usable)('a device with a runner for each phase', () => {
  it.each([
    ['alone', 'all'],
    ['beside a CPU', 6],
  ] as const)('is promised what both runners take, %s', async (_, gpuLayers) => {
    const options = { context: 2048, kvType: 'f16' } as const;
    const plain = await Engine.load({ ...options, backend: cpu.backend });
    const engine = await Engine.load({ ...options, backend: phased, gpuLayers });
    const { kvBytes } = engine.stats().memory;
    expect(kvBytes).toBeGreaterThan(plain.stats().memory.kvBytes);
    expect(engine.context.kvBytes).toBe(kvBytes);
    const { places } = engine.backend.split ?? {};
    if (places) expect(places.reduce((sum, place) => sum + place.kvBytes, 0)).toBe(kvBytes);
    expect(places === undefined).toBe(gpuLayers === 'all');
    await plain.close();
    await engine.close();
  });
});
