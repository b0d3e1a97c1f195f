/** What steps run on: a device with a model's weights, the plan of its memory, and the states allocated by it. */
import {
  planKv,
  sampleNames,
  stateName,
  tensorBytes,
  UnicornError,
  type DeviceBuffer,
  type DType,
} from '@unicorn-exec/tensor';
import type { SchedulerOptions } from './scheduler-options.js';
import { tokenChunk, type StepHost } from './step/program.js';

/**
 * Plans and allocates.
 *
 * @throws UnicornError `usage/scheduler-option` for a number out of range, `unsupported/kv-dtype` when the device cannot
 * keep such a cache, `resource/memory` when there is not enough of it
 */
export function openStepHost(options: SchedulerOptions): StepHost {
  const { device, weights, model } = options;
  const { info } = device;
  const plan = planKv({
    groups: model.kvGroups,
    sequenceStates: model.sequenceStates,
    contextLength: options.contextLength ?? model.contextLength,
    kvDType: chooseKvDType(options),
    maxSequences: options.maxSequences,
    prefillChunk: options.prefillChunk,
    tokenChunk: tokenChunk(info),
    blockTokens: options.blockTokens,
    kvTokens: options.kvTokens,
  });
  const kv = new Map<number, DeviceBuffer>();
  const sequence = new Map<string, DeviceBuffer>();
  try {
    for (const { group, layerBytes } of plan.groups) {
      for (const layer of group.layers)
        kv.set(layer, device.allocate(layerBytes, { name: stateName(layer) }));
    }
    for (const { name, shape } of model.sequenceStates ?? []) {
      const byteLength = tensorBytes('f32', [plan.stateSlots, ...shape]);
      sequence.set(name, device.allocate(byteLength, { name }));
    }
    const historyBytes = tensorBytes('i32', [plan.maxSequences, plan.contextLength]);
    const history = device.allocate(historyBytes, { name: sampleNames.history });
    const precision = options.precision ?? (info.precisions.includes('fast') ? 'fast' : 'f32');
    const profile = options.profile ?? false;
    return { device, weights, model, plan, precision, profile, states: { kv, sequence, history } };
  } catch (error) {
    for (const state of [...kv.values(), ...sequence.values()]) state.dispose();
    throw error;
  }
}

function chooseKvDType({ device, kvDType }: SchedulerOptions): DType {
  const offered = device.info.dtypes.kv;
  const chosen = kvDType ?? (offered.includes('f16') ? 'f16' : 'f32');
  if (offered.includes(chosen)) return chosen;
  throw new UnicornError('unsupported/kv-dtype', `${device.info.name} cannot keep a KV cache of ${chosen}.`, {
    fields: { kvDType: chosen, offered: [...offered] },
    fix: `Use ${offered.join(' or ')}.`,
  });
}
