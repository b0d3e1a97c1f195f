/**
 * How many layers of a model run on a device (a GPU) when not all fit there: the last ones and the head on the device, the
 * first ones on the CPU. Pure arithmetic; it opens nothing.
 *
 * The last ones, since the head is read whole for every token and reads only the rows that are wanted, while the
 * embedding in front is looked up row by row, which the CPU does where the file lies.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import { chooseContext, memoryError, type ContextAnswer, type ContextChoice } from './context-length.js';
import type { GpuLayers } from './load-options.js';
import type { DeviceShare, PoolBytes, Purse } from './memory-pool.js';
import type { ModelBytes } from './model-bytes.js';

export interface SplitRequest {
  readonly asked: GpuLayers;
  /** Number of layers that the model has. */
  readonly layers: number;
  /** Both sides of a cut in front of layer `layer`; undefined where the model cannot be cut. */
  cut(layer: number): { readonly host: ModelBytes; readonly device: ModelBytes } | undefined;
  /** The whole model, on either. */
  readonly whole: ModelBytes;
  readonly device: Purse;
  readonly host: Purse;
  /** The pools of both purses. */
  readonly pools: PoolBytes;
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

/** A split, or why there is none. */
export type SplitAnswer =
  | { readonly kind: 'chosen'; readonly split: SplitChoice }
  | (ContextAnswer & { readonly kind: 'tooLarge' })
  /** The model cannot be cut there. `legal`: the numbers of layers that can be parted from the others, ascending. */
  | { readonly kind: 'noCut'; readonly gpuLayers: number; readonly legal: readonly number[] };

/** Layers leave the device before a context that nobody asked for becomes shorter than this. */
const usefulContext = 8192;

/** @param request with numbers that {@link checkGpuLayers} and `checkContext` let pass */
export function chooseSplit(request: SplitRequest): SplitAnswer {
  const { asked, layers } = request;
  if (asked === 0) return onOne(request, 'host');
  if (asked === 'all' || (asked !== 'auto' && asked >= layers)) return onOne(request, 'device');
  return asked === 'auto' ? fittingSplit(request) : askedSplit(request, asked);
}

/** @throws UnicornError `usage/gpu-layers` for what is not a number of layers */
export function checkGpuLayers(asked: GpuLayers): GpuLayers {
  if (asked === 'auto' || asked === 'all' || (Number.isSafeInteger(asked) && asked >= 0)) return asked;
  throw new UnicornError('usage/gpu-layers', `${String(asked)} is not a number of layers.`, {
    fields: { gpuLayers: String(asked) },
    fix: 'Give a whole number from 0, `all` or `auto`.',
  });
}

/** What a caller is told who cannot have a split. */
export function splitError(answer: Exclude<SplitAnswer, { kind: 'chosen' }>, layers: number): UnicornError {
  if (answer.kind === 'tooLarge') return memoryError(answer);
  const { gpuLayers, legal } = answer;
  const nearest = legal.find((count) => count > gpuLayers) ?? layers;
  return new UnicornError(
    'usage/gpu-layers',
    `The model's last ${gpuLayers} layers read keys and values of layers in front of them: they cannot be parted.`,
    { fields: { gpuLayers, layers, legal: [...legal] }, fix: `Ask for ${nearest} layers, 0, or \`auto\`.` },
  );
}

function onOne(request: SplitRequest, where: 'host' | 'device'): SplitAnswer {
  const answer = contextFor(request, [{ ...request.whole, purse: request[where] }]);
  if (answer.kind === 'tooLarge') return answer;
  return chosen({ gpuLayers: where === 'host' ? 0 : request.layers, context: answer.context });
}

function askedSplit(request: SplitRequest, gpuLayers: number): SplitAnswer {
  const { layers } = request;
  const shares = sharesOf(request, layers - gpuLayers);
  if (!shares) {
    const counts = Array.from({ length: layers - 1 }, (_, index) => index + 1);
    return { kind: 'noCut', gpuLayers, legal: counts.filter((count) => request.cut(layers - count)) };
  }
  const answer = contextFor(request, shares);
  return answer.kind === 'fits' ? chosen({ gpuLayers, context: answer.context }) : answer;
}

/** As many layers on the device as fit with a useful context; all of them, where that is possible, with less. */
function fittingSplit(request: SplitRequest): SplitAnswer {
  const { layers, whole, requested, modelContext } = request;
  const all = onOne(request, 'device');
  const contextLength = requested ?? Math.min(modelContext, usefulContext);
  if (all.kind === 'chosen' && all.split.context.contextLength >= contextLength) return all;
  const { availableBytes } = request.device;
  const neededFor = (context: number): number =>
    whole.weightBytes + whole.kvBytes(context) + (whole.historyBytes?.(context) ?? 0);
  const limitedBy = { availableBytes, neededBytes: neededFor(contextLength) };
  for (let layer = 1; layer < layers; layer++) {
    const shares = sharesOf(request, layer);
    const answer = shares && contextFor({ ...request, requested: contextLength }, shares);
    if (answer?.kind !== 'fits') continue;
    const isShorter = requested === undefined && contextLength < modelContext;
    const neededBytes = neededFor(modelContext);
    const context = isShorter
      ? { ...answer.context, limitedBy: { availableBytes, neededBytes } }
      : answer.context;
    return chosen({ gpuLayers: layers - layer, context, limitedBy });
  }
  if (all.kind === 'chosen') return all;
  const none = onOne(request, 'host');
  return none.kind === 'chosen' ? chosen({ ...none.split, limitedBy }) : none;
}

function chosen(split: SplitChoice): SplitAnswer {
  return { kind: 'chosen', split };
}

function sharesOf({ cut, host, device }: SplitRequest, layer: number): readonly DeviceShare[] | undefined {
  const sides = cut(layer);
  return (
    sides && [
      { ...sides.host, purse: host },
      { ...sides.device, purse: device },
    ]
  );
}

function contextFor(request: SplitRequest, shares: readonly DeviceShare[]): ContextAnswer {
  const { requested, modelContext, pools } = request;
  return chooseContext({ requested, modelContext, shares, pools });
}
