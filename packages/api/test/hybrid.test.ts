/**
 * Real models over two devices at once: the prompt on the one, what follows on the other, whole or cut by op or by layer.
 * Keys and values are handed over in place, and greedy tokens are those of one device.
 */
import { cpuBackend } from '@unicorn-exec/backend-cpu';
import { createInt8Backend, productOps } from '@unicorn-exec/conformance/fixture';
import { layerOfWeight, openModel } from '@unicorn-exec/models';
import { createSplitBackend, placesByLayer, type Place } from '@unicorn-exec/scheduler/placement';
import { GraphBuilder, type Backend, type Device } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { Engine } from '../src/index.js';
import { locateModel } from '../src/model-location.js';
import { goldenModels } from './golden-model.js';
import { backends } from './shared.js';

/** How the work of a prompt is put on the first of two devices; everything else is the second's. */
const cuts: Readonly<Record<string, Place>> = {
  'whole prompts': ({ nodes }, phase) => nodes.map(({ op }) => Number(phase === 'token' || op === 'sample')),
  'products of prompts': ({ nodes }, phase) =>
    nodes.map(({ op }) => Number(phase === 'token' || !productOps.includes(op))),
  'the last layers of prompts': (graph, phase) => {
    if (phase === 'token') return graph.nodes.map(() => 1);
    const behind = placesByLayer(graph, { layer: 1, layerOf: layerOfWeight });
    return graph.nodes.map(({ id, op }) => (op === 'sample' ? 1 : 1 - behind[id]!));
  },
};

/** A device in plain JavaScript with the arithmetic of the reference, whose memory is not coherent. */
const awkward = createInt8Backend({ arithmetic: 'f32' });
const vulkan = backends.find(({ name }) => name === 'vulkan')!;
const isCpuUsable = backends.find(({ name }) => name === 'cpu')!.usable;
const pairs: readonly { name: string; first: Backend; second: Backend; usable: boolean }[] = [
  { name: 'fixture and cpu', first: awkward, second: cpuBackend, usable: isCpuUsable },
  { name: 'cpu and vulkan', first: cpuBackend, second: vulkan.backend, usable: isCpuUsable && vulkan.usable },
];

/** An engine over two devices, and the device that they are. */
async function load(
  path: string,
  place: Place,
  { first, second }: (typeof pairs)[number],
): Promise<{ engine: Engine; device: Device }> {
  const model = await openModel(path);
  const builder = new GraphBuilder(model.name);
  model.buildStep(builder, { kvDType: 'f32', blockTokens: 16, logits: 'selected' });
  const graph = builder.build();
  await model.close();
  const split = createSplitBackend({
    backends: [{ backend: first }, { backend: second }],
    place,
    graphs: [
      { graph, phase: 'prompt' },
      { graph, phase: 'token' },
    ],
  });
  let device: Device | undefined;
  const backend: Backend = {
    ...split,
    open: async (...given) => (device = await split.open(...given)),
  };
  const engine = await Engine.load({ model: path, backend, precision: 'f32', kvType: 'f32', context: 256 });
  return { engine, device: device! };
}

async function greedy(engine: Engine, tokens: readonly number[], maxTokens: number): Promise<number[]> {
  const generated: number[] = [];
  const request = { tokens: [...tokens], sampling: { temperature: 0 }, maxTokens, ignoreEnd: true };
  for await (const chunk of engine.generate(request)) generated.push(...chunk.tokens);
  return generated;
}

for (const pair of pairs) {
  describe.skipIf(!pair.usable)(`a model over ${pair.name}`, () => {
    for (const [cut, place] of Object.entries(cuts)) {
      for (const golden of goldenModels) {
        it.skipIf(!golden.isThere)(`${golden.name}, ${cut} apart: the golden's greedy tokens`, async () => {
          const [tokens, expected] = [await golden.read('a.input_ids'), await golden.read('a.greedy.ids')];
          const { engine, device } = await load(golden.path, place, pair);
          expect(await greedy(engine, [...tokens], expected.length)).toEqual([...expected]);
          expect(device.memory().copiedBytes).toBe(0);
          await engine.close();
        });
      }

      it(`nano, ${cut} apart: the tokens of one device`, async () => {
        const path = await locateModel('nano');
        const alone = await Engine.load({
          model: path,
          backend: cpuBackend,
          precision: 'f32',
          kvType: 'f32',
          context: 256,
        });
        const tokens = await alone.tokenize('Once upon a time there was a fox');
        const expected = await greedy(alone, tokens, 8);
        await alone.close();
        const { engine, device } = await load(path, place, pair);
        expect(await greedy(engine, tokens, 8)).toEqual(expected);
        expect(device.memory().copiedBytes).toBe(0);
        await engine.close();
      });
    }
  });
}
