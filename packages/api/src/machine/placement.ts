/**
 * Where a model runs: opens the device that was asked for, and decides between it, the CPU, and both with the model cut
 * between two layers. The context follows, since it shares their memory.
 */
import type { Model } from '@unicorn-exec/models';
import { hostPool, isUnicornError, UnicornError, type Device } from '@unicorn-exec/tensor';
import { chooseGpu, declined, fixOf, type AutomaticDeviceOptions } from './automatic-device.js';
import { isHostBackend, knownBackends } from './backends.js';
import { checkContext, chooseContext, memoryError, type ContextChoice } from './context-length.js';
import { checkGpuLayers, chooseSplit, splitError } from './layer-split.js';
import type {
  DeviceFallback,
  GpuChoice,
  GpuLayers,
  LayerPlace,
  LayerSplit,
  LoadOptions,
} from './load-options.js';
import { plannableBytes } from './hardware/memory.js';
import { poolsOf, purseOf, type MemoryOwner } from './memory-pool.js';
import { wholeBytes, type KvOptions, type ModelBytes } from './model-bytes.js';
import { openDevice, openHost, type OpenedDevice } from './open-device.js';

export interface Placement extends OpenedDevice {
  readonly context: ContextChoice;
  readonly split?: LayerSplit;
  /** What `auto` did about a GPU. */
  readonly gpu?: GpuChoice;
}

export type PlacementOptions = KvOptions &
  Pick<LoadOptions, 'backend' | 'device' | 'threads' | 'context' | 'gpuLayers'>;

/**
 * The device or devices for a model, open; they are the caller's to close.
 *
 * @throws UnicornError `usage/gpu-layers` for a number that the model or the backend cannot have, `usage/context`,
 * `resource/memory` when it does not fit, and as `openDevice`
 */
export async function placeModel(
  model: Model,
  options: PlacementOptions,
  automatic?: AutomaticDeviceOptions,
): Promise<Placement> {
  const asked = checkGpuLayers(options.gpuLayers ?? 'auto');
  checkContext(options.context, model.contextLength);
  const open = options.threads === undefined ? {} : { threads: options.threads };
  const backend = chooseBackend(options.backend ?? 'auto', asked);
  if (backend !== 'auto' || options.device !== undefined || asked === 0) {
    return placeOn(await openDevice(backend, { ...open, device: options.device }), model, options, asked);
  }
  const { device, choice } = await chooseGpu(automatic);
  let gpu = choice;
  if (device) {
    try {
      const placement = await placeOn({ device }, model, options, asked);
      const isTaken = !isHostBackend(placement.device.info.backend);
      return { ...placement, gpu: isTaken ? choice! : withoutRoom(choice!) };
    } catch (error) {
      if (isUnicornError(error) && error.family === 'usage') throw error;
      const reason = error instanceof Error ? error.message : String(error);
      gpu = declined(choice!.backend, reason, fixOf(error), choice!.device);
    }
  }
  const placement = await placeOn(await openDevice('auto', open), model, options, asked);
  return gpu ? { ...placement, gpu } : placement;
}

const withoutRoom = ({ backend, device }: GpuChoice): GpuChoice =>
  declined(backend, 'No layer of the model fits in its memory.', undefined, device);

/** Places a model on a device that is open; closes it when that fails. */
async function placeOn(
  opened: OpenedDevice,
  model: Model,
  options: PlacementOptions,
  asked: GpuLayers,
): Promise<Placement> {
  const open = options.threads === undefined ? {} : { threads: options.threads };
  const release: Device[] = [opened.device];
  try {
    const { info } = opened.device;
    const isHost = isHostBackend(info.backend);
    if (isHost && asked !== 'auto' && asked !== 0) throw noGpu(opened.device, asked);
    const whole = wholeBytes(model, options, info);
    const splitModel = isHost
      ? undefined
      : new (await import('./split-model.js')).SplitModel(model, options, info);
    const owner: MemoryOwner = { info, availableBytes: opened.device.availableBytes?.() };
    const hostBytes = plannableBytes();
    const pools = poolsOf([owner], hostBytes);
    const answer = chooseSplit({
      asked: isHost ? 'all' : asked,
      layers: model.layers,
      cut: (layer) => splitModel?.cut(layer),
      whole,
      device: purseOf(owner, pools),
      host: { pool: hostPool, availableBytes: hostBytes },
      pools,
      requested: options.context,
      modelContext: model.contextLength,
    });
    if (answer.kind !== 'chosen') throw splitError(answer, model.layers);
    const { gpuLayers, context, limitedBy } = answer.split;
    if (!splitModel || gpuLayers === model.layers) return { ...opened, context };
    const host = await openHost(open);
    release.push(host.device);
    const place = (device: Device, layers: number, { weightBytes, kvBytes }: ModelBytes): LayerPlace => ({
      device: device.info.name,
      layers,
      weightBytes,
      kvBytes: kvBytes(context.contextLength),
    });
    const split = (...places: LayerPlace[]): LayerSplit => ({ places, ...(limitedBy ? { limitedBy } : {}) });
    if (gpuLayers === 0) {
      await opened.device.close();
      return { ...host, context, split: split(place(host.device, model.layers, whole)) };
    }
    const layer = model.layers - gpuLayers;
    const sides = splitModel.cut(layer)!;
    return {
      ...host,
      device: splitModel.join(host.device, opened.device, layer),
      context,
      split: split(place(host.device, layer, sides.host), place(opened.device, gpuLayers, sides.device)),
    };
  } catch (error) {
    for (const device of release) await device.close();
    throw error;
  }
}

/**
 * The CPU for the whole model, open, in the place of another device.
 *
 * @param fallback why it is not the other one
 * @throws UnicornError `resource/memory` when the model does not fit, `device/unavailable`
 */
export async function placeOnHost(
  model: Model,
  options: KvOptions & Pick<LoadOptions, 'threads' | 'context'>,
  fallback: DeviceFallback,
): Promise<Placement> {
  const { device } = await openHost(options.threads === undefined ? {} : { threads: options.threads });
  try {
    const owner: MemoryOwner = { info: device.info, availableBytes: device.availableBytes?.() };
    const pools = poolsOf([owner], plannableBytes());
    const answer = chooseContext({
      requested: options.context,
      modelContext: model.contextLength,
      shares: [{ ...wholeBytes(model, options, device.info), purse: purseOf(owner, pools) }],
      pools,
    });
    if (answer.kind === 'tooLarge') throw memoryError(answer);
    return { device, fallback, context: answer.context };
  } catch (error) {
    await device.close();
    throw error;
  }
}

/** Asking for layers on a GPU selects a backend that has one. */
function chooseBackend(backend: NonNullable<LoadOptions['backend']>, asked: GpuLayers): typeof backend {
  if (backend !== 'auto' || asked === 'auto' || asked === 0) return backend;
  return knownBackends.find(({ isHost }) => !isHost)!.name;
}

function noGpu({ info }: Device, asked: GpuLayers): UnicornError {
  return new UnicornError('usage/gpu-layers', `${info.name} is not a GPU: there is none to put layers on.`, {
    fields: { backend: info.backend, gpuLayers: asked },
    fix: 'Choose another backend (`unicorn doctor` lists them), or leave the number of layers out.',
  });
}
