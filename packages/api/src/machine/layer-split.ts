/**
 * How many layers of a model run on a device with memory of its own (a GPU) when not all fit there: the last ones and the
 * head on the device, the first ones on the CPU. Pure arithmetic; it opens nothing.
 *
 * The last ones, since the head is read whole for every token and reads only the rows that are wanted, while the
 * embedding in front is looked up row by row, which the CPU does where the file lies.
 */
import { isUnicornError, UnicornError } from '@unicorn-exec/tensor';
import { chooseContext, type ContextChoice } from './context-length.js';
import type { GpuLayers } from './load-options.js';

/** What one side of a cut holds. */
export interface SideBytes {
  readonly weightBytes: number;
  kvBytes(context: number): number;
}

export interface SplitRequest {
  readonly asked: GpuLayers;
  /** Of the model. */
  readonly layers: number;
  /** Both sides of a cut in front of layer `layer`; undefined where the model cannot be cut. */
  cut(layer: number): { readonly host: SideBytes; readonly device: SideBytes } | undefined;
  /** The whole model, on either. */
  readonly whole: SideBytes;
  /** Bytes that the device may still give; undefined where it computes in the host's memory. */
  readonly deviceBytes: number | undefined;
  readonly hostBytes: number;
  /** Context asked for. */
  readonly requested: number | undefined;
  readonly modelContext: number;
}

export interface SplitChoice {
  /** 0: all on the CPU; as many as the model has: all on the device. */
  readonly gpuLayers: number;
  readonly context: ContextChoice;
  /** Present when memory, not the caller, set the number. */
  readonly limitedBy?: { readonly availableBytes: number; readonly neededBytes: number };
}

/** Layers leave the device before a context that nobody asked for becomes shorter than this. */
const usefulContext = 8192;

/**
 * @throws UnicornError `usage/gpu-layers` for a number that is none, or a cut that the model cannot have;
 * `resource/memory`, `usage/context` as {@link chooseContext}
 */
export function chooseSplit(request: SplitRequest): SplitChoice {
  const { layers, whole, deviceBytes, hostBytes } = request;
  const asked = checkGpuLayers(request.asked);
  if (asked === 0) return { gpuLayers: 0, context: contextFor(request, whole, hostBytes) };
  if (asked === 'all' || (asked !== 'auto' && asked >= layers)) {
    return { gpuLayers: layers, context: contextFor(request, whole, deviceBytes ?? hostBytes) };
  }
  return asked === 'auto' ? fittingSplit(request) : askedSplit(request, asked);
}

/** @throws UnicornError `usage/gpu-layers` */
export function checkGpuLayers(asked: GpuLayers): GpuLayers {
  if (asked === 'auto' || asked === 'all' || (Number.isSafeInteger(asked) && asked >= 0)) return asked;
  throw new UnicornError('usage/gpu-layers', `${String(asked)} is no number of layers.`, {
    fields: { gpuLayers: String(asked) },
    fix: 'Give a whole number from 0, `all` or `auto`.',
  });
}

function askedSplit(request: SplitRequest, gpuLayers: number): SplitChoice {
  const { layers, deviceBytes, hostBytes } = request;
  const sides = request.cut(layers - gpuLayers);
  if (!sides) {
    const legal = Array.from({ length: layers - 1 }, (_, index) => index + 1).filter((count) =>
      request.cut(layers - count),
    );
    const nearest = legal.find((count) => count > gpuLayers) ?? layers;
    throw new UnicornError(
      'usage/gpu-layers',
      `The model's last ${gpuLayers} layers read keys and values of layers in front of them: they cannot be parted.`,
      { fields: { gpuLayers, layers, legal }, fix: `Ask for ${nearest} layers, 0, or \`auto\`.` },
    );
  }
  const { host, device } = sides;
  if (deviceBytes === undefined) {
    return { gpuLayers, context: contextFor(request, together(host, device), hostBytes) };
  }
  const onDevice = contextFor(request, device, deviceBytes);
  const onHost = contextFor(request, host, hostBytes);
  const shorter = onDevice.contextLength <= onHost.contextLength ? onDevice : onHost;
  const kvBytes = together(host, device).kvBytes(shorter.contextLength);
  return { gpuLayers, context: { ...shorter, kvBytes } };
}

/** As many layers on the device as fit with a useful context; all of them, where that is possible, with less. */
function fittingSplit(request: SplitRequest): SplitChoice {
  const { layers, whole, deviceBytes, hostBytes, requested, modelContext } = request;
  const all = contextIfFits(request, whole, deviceBytes ?? hostBytes);
  const contextLength = requested ?? Math.min(modelContext, usefulContext);
  if (all.context && all.context.contextLength >= contextLength) {
    return { gpuLayers: layers, context: all.context };
  }
  if (deviceBytes === undefined) throw all.error;
  const neededFor = (context: number): number => whole.weightBytes + whole.kvBytes(context);
  const limitedBy = { availableBytes: deviceBytes, neededBytes: neededFor(contextLength) };
  for (let layer = 1; layer < layers; layer++) {
    const sides = request.cut(layer);
    if (!sides) continue;
    const exactly = { ...request, requested: contextLength };
    if (!contextIfFits(exactly, sides.device, deviceBytes).context) continue;
    if (!contextIfFits(exactly, sides.host, hostBytes).context) continue;
    const isShorter = requested === undefined && contextLength < modelContext;
    const context = {
      contextLength,
      kvBytes: whole.kvBytes(contextLength),
      ...(isShorter ? { limitedBy: { ...limitedBy, neededBytes: neededFor(modelContext) } } : {}),
    };
    return { gpuLayers: layers - layer, context, limitedBy };
  }
  if (all.context) return { gpuLayers: layers, context: all.context };
  return { gpuLayers: 0, context: contextFor(request, whole, hostBytes), limitedBy };
}

/** @throws UnicornError as {@link chooseContext} */
function contextFor(
  { requested, modelContext }: SplitRequest,
  { weightBytes, kvBytes }: SideBytes,
  availableBytes: number,
): ContextChoice {
  return chooseContext({ requested, modelContext, weightBytes, kvBytes, availableBytes });
}

function contextIfFits(
  request: SplitRequest,
  side: SideBytes,
  availableBytes: number,
): { readonly context?: ContextChoice; readonly error?: unknown } {
  try {
    return { context: contextFor(request, side, availableBytes) };
  } catch (error) {
    if (!isUnicornError(error) || error.family !== 'resource') throw error;
    return { error };
  }
}

function together(a: SideBytes, b: SideBytes): SideBytes {
  return {
    weightBytes: a.weightBytes + b.weightBytes,
    kvBytes: (context) => a.kvBytes(context) + b.kvBytes(context),
  };
}
