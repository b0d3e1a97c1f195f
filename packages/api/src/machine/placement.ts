/**
 * Where a model runs: opens the device that was asked for, and decides between it, the CPU, and both with the model cut
 * between two layers. The context follows, since it shares their memory.
 */
import { layerOfWeight, type Model } from '@unicorn-exec/models';
import {
  partition,
  placesByLayer,
  sharedStates,
  SplitDevice,
  type LayerCut,
} from '@unicorn-exec/scheduler/placement';
import {
  defaultBlockTokens,
  GraphBuilder,
  hostPool,
  namedValues,
  planKv,
  tensorBytes,
  UnicornError,
  type Device,
  type Graph,
} from '@unicorn-exec/tensor';
import { knownBackends } from './backends.js';
import { availableMemoryBytes, checkContext, type ContextChoice } from './context-length.js';
import { checkGpuLayers, chooseSplit, splitError, type SideBytes } from './layer-split.js';
import type { GpuLayers, KvType, LayerPlace, LayerSplit, LoadOptions } from './load-options.js';
import { poolsOf, purseOf, type MemoryOwner } from './memory-pool.js';
import { openDevice, openHost, type OpenedDevice } from './open-device.js';

export interface Placement extends OpenedDevice {
  readonly context: ContextChoice;
  readonly split?: LayerSplit;
}

export interface PlacementOptions extends Pick<
  LoadOptions,
  'backend' | 'device' | 'threads' | 'context' | 'gpuLayers'
> {
  readonly kvType: KvType;
  readonly maxSequences: number;
}

/**
 * The device or devices for a model, open; they are the caller's to close.
 *
 * @throws UnicornError `usage/gpu-layers` for a number that the model or the backend cannot have, `usage/context`,
 * `resource/memory` when it does not fit, and as `openDevice`
 */
export async function placeModel(model: Model, options: PlacementOptions): Promise<Placement> {
  const asked = checkGpuLayers(options.gpuLayers ?? 'auto');
  checkContext(options.context, model.contextLength);
  const open = options.threads === undefined ? {} : { threads: options.threads };
  const backend = choice(options.backend ?? 'auto', asked);
  const opened = await openDevice(backend, { ...open, device: options.device });
  const release: Device[] = [opened.device];
  try {
    const isHost = knownBackends.some(({ name, isHost }) => isHost && name === opened.device.info.backend);
    if (isHost && asked !== 'auto' && asked !== 0) throw noGpu(opened.device, asked);
    const sizes = new SideSizes(model, options);
    const owner: MemoryOwner = {
      info: opened.device.info,
      availableBytes: opened.device.availableBytes?.(),
    };
    const hostBytes = availableMemoryBytes();
    const pools = poolsOf([owner], hostBytes);
    const answer = chooseSplit({
      asked: isHost ? 'all' : asked,
      layers: model.layers,
      cut: (layer) => sizes.cut(layer),
      whole: sizes.whole,
      device: purseOf(owner, pools),
      host: { pool: hostPool, availableBytes: hostBytes },
      pools,
      requested: options.context,
      modelContext: model.contextLength,
    });
    if (answer.kind !== 'chosen') throw splitError(answer, model.layers);
    const { gpuLayers, context } = answer.split;
    if (isHost || gpuLayers === model.layers) return { ...opened, context };
    const host = await openHost(open);
    release.push(host.device);
    const place = (device: Device, layers: number, side: SideBytes): LayerPlace => ({
      device: device.info.name,
      layers,
      weightBytes: side.weightBytes,
      kvBytes: side.kvBytes(context.contextLength),
    });
    const limitedBy = answer.split.limitedBy ? { limitedBy: answer.split.limitedBy } : {};
    if (gpuLayers === 0) {
      await opened.device.close();
      return {
        ...host,
        context,
        split: { places: [place(host.device, model.layers, sizes.whole)], ...limitedBy },
      };
    }
    const cut = layerCut(model.layers - gpuLayers);
    const sides = sizes.cut(cut.layer)!;
    const places = [place(host.device, cut.layer, sides.host), place(opened.device, gpuLayers, sides.device)];
    const device = new SplitDevice({
      devices: [host.device, opened.device],
      place: (graph) => placesByLayer(graph, cut),
      graphs: [
        { graph: sizes.graph, phase: 'prompt' },
        { graph: sizes.graph, phase: 'token' },
      ],
    });
    return { ...host, device, context, split: { places, ...limitedBy } };
  } catch (error) {
    for (const device of release) await device.close();
    throw error;
  }
}

/** Who asks for layers on a GPU means a backend that has one. */
function choice(backend: NonNullable<LoadOptions['backend']>, asked: GpuLayers): typeof backend {
  if (backend !== 'auto' || asked === 'auto' || asked === 0) return backend;
  return knownBackends.find(({ isHost }) => !isHost)!.name;
}

function noGpu({ info }: Device, asked: GpuLayers): UnicornError {
  return new UnicornError('usage/gpu-layers', `${info.name} is no GPU: there is none to put layers on.`, {
    fields: { backend: info.backend, gpuLayers: asked },
    fix: 'Choose another backend (`unicorn doctor` lists them), or leave the number of layers out.',
  });
}

function layerCut(layer: number): LayerCut {
  return { layer, layerOf: layerOfWeight };
}

/** What a model takes on each side of a cut. */
class SideSizes {
  readonly #bytes: ReadonlyMap<string, number>;
  readonly #cuts = new Map<number, { host: SideBytes; device: SideBytes } | undefined>();
  #graph: Graph | undefined;

  constructor(
    private readonly model: Model,
    private readonly options: PlacementOptions,
  ) {
    this.#bytes = new Map(
      model
        .weights()
        // Tables that stay in the mapped file are not resident but for the rows that were gathered.
        .filter(({ residency }) => residency !== 'host')
        .map(({ name, dtype, shape }) => [name, tensorBytes(dtype, shape)]),
    );
  }

  /** A step that reads everything. */
  get graph(): Graph {
    if (!this.#graph) {
      const { model } = this;
      const builder = new GraphBuilder(model.name);
      model.buildStep(builder, {
        kvDType: this.options.kvType,
        blockTokens: defaultBlockTokens,
        logits: 'selected',
      });
      this.#graph = builder.build();
    }
    return this.#graph;
  }

  get whole(): SideBytes {
    return { weightBytes: this.model.weightBytes - this.model.hostBytes, kvBytes: this.#kvBytes(() => true) };
  }

  /** Undefined where the model cannot be cut. */
  cut(layer: number): { host: SideBytes; device: SideBytes } | undefined {
    if (!this.#cuts.has(layer)) this.#cuts.set(layer, this.#cut(layer));
    return this.#cuts.get(layer);
  }

  #cut(layer: number): { host: SideBytes; device: SideBytes } | undefined {
    const places = placesByLayer(this.graph, layerCut(layer));
    // Keys and values that both sides read would have to lie in memory that is slow for one of them.
    if (sharedStates(this.graph, places).length > 0) return undefined;
    const { parts } = partition(this.graph, places);
    const on = (device: number): Graph | undefined => parts.find((part) => part.device === device)?.graph;
    return {
      host: this.#side(on(0), (one) => one < layer),
      device: this.#side(on(1), (one) => one >= layer),
    };
  }

  #side(graph: Graph | undefined, holds: (layer: number) => boolean): SideBytes {
    const names = graph ? [...namedValues(graph, 'weight').keys()] : [];
    const weightBytes = names.reduce((sum, name) => sum + (this.#bytes.get(name) ?? 0), 0);
    return { weightBytes, kvBytes: this.#kvBytes(holds) };
  }

  #kvBytes(holds: (layer: number) => boolean): SideBytes['kvBytes'] {
    const groups = this.model.kvGroups.map((group) => ({ ...group, layers: group.layers.filter(holds) }));
    const { kvType: kvDType, maxSequences } = this.options;
    return (contextLength) => planKv({ groups, contextLength, kvDType, maxSequences }).bytes;
  }
}
