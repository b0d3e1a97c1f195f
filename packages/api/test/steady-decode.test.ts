/** Decoding the bundled model for long on the GPU: nothing is allocated on the way, and no step waits for the host. */
import { describe, expect, it } from 'vitest';
import { vulkanBackend } from '@unicorn-exec/backend-vulkan';
import { modelPath } from '@unicorn-exec/model-nano';
import { openModel } from '@unicorn-exec/models';
import { Scheduler } from '@unicorn-exec/scheduler';
import type { Device } from '@unicorn-exec/tensor';
import { backends } from './shared.js';

const { usable } = backends.find(({ name }) => name === 'vulkan')!;
const tokens = [1, 40, 41, 42, 43];
const steps = 200;
/** By then everything was compiled, recorded and staged once. */
const warmSteps = 8;

describe.skipIf(!usable)('200 steps of decoding on the GPU (needs mesa-vulkan-drivers)', () => {
  const decode = async (
    residency: 'host' | 'device',
    stepsAhead: number,
  ): Promise<{ ids: number[]; allocated: number }> => {
    const model = await openModel(modelPath);
    const device = (await vulkanBackend.open()) as Device & { readonly allocations: number };
    const weights = await device.load(
      model.weights().map((entry) => (entry.residency === 'host' ? { ...entry, residency } : entry)),
    );
    const scheduler = await Scheduler.create({ device, weights, model, contextLength: 512, stepsAhead });
    const ids: number[] = [];
    let before = 0;
    const sampling = { temperature: 0.8, seed: 1, repetitionPenalty: 1.1 };
    for await (const event of scheduler.generate({ tokens, maxTokens: steps + warmSteps, sampling })) {
      if (event.kind === 'end') break;
      ids.push(event.token);
      if (ids.length === warmSteps) before = device.allocations;
    }
    const allocated = device.allocations - before;
    await scheduler.close();
    weights.dispose();
    await device.close();
    await model.close();
    return { ids, allocated };
  };

  // Rows of tables in host memory are gathered by the host, which must know the ids: no step runs ahead there.
  it.each(['host', 'device'] as const)(
    'allocates nothing, with per-layer tables in %s memory',
    async (where) => {
      const { ids, allocated } = await decode(where, 2);
      expect(ids.length).toBe(steps + warmSteps);
      expect(allocated).toBe(0);
      if (where === 'device') expect((await decode(where, 0)).ids).toEqual(ids);
    },
  );
});
