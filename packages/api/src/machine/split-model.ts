/**
 * A model whose first layers run on the CPU and the others on another device: what each side holds, and the device that is
 * both. Imported only where there is another device.
 */
import { layerOfWeight, type Model } from '@unicorn-exec/models';
import { partition, placesByLayer, sharedStates, SplitDevice } from '@unicorn-exec/scheduler/placement';
import {
  defaultBlockTokens,
  GraphBuilder,
  namedValues,
  tensorBytes,
  type Device,
  type Graph,
} from '@unicorn-exec/tensor';
import { historyBytes, layerKvBytes, type KvDevice, type KvOptions, type ModelBytes } from './model-bytes.js';

/** Both sides of a cut in front of a layer. */
export interface CutSides {
  readonly host: ModelBytes;
  readonly device: ModelBytes;
}

export class SplitModel {
  /** Bytes of each weight that will be resident. */
  readonly #bytes: ReadonlyMap<string, number>;
  readonly #cuts = new Map<number, CutSides | undefined>();
  #graph: Graph | undefined;

  /** @param info of the device beside the CPU, which computes all phases alike: the phases of both are the device's */
  constructor(
    private readonly model: Model,
    private readonly options: KvOptions,
    private readonly info: KvDevice,
  ) {
    this.#bytes = new Map(
      model
        .weights()
        // Tables that stay in the mapped file are not resident but for the rows that were gathered.
        .filter(({ residency }) => residency !== 'host')
        .map(({ name, dtype, shape }) => [name, tensorBytes(dtype, shape)]),
    );
  }

  /** Both sides of a cut in front of `layer`; undefined where the model cannot be cut. */
  cut(layer: number): CutSides | undefined {
    if (!this.#cuts.has(layer)) this.#cuts.set(layer, this.#cut(layer));
    return this.#cuts.get(layer);
  }

  /** Both devices as one, which closes them. @param layer the first one on `device` */
  join(host: Device, device: Device, layer: number): Device {
    const graph = this.#stepGraph();
    return new SplitDevice({
      devices: [host, device],
      place: (one) => placesByLayer(one, { layer, layerOf: layerOfWeight }),
      graphs: [
        { graph, phase: 'prompt' },
        { graph, phase: 'token' },
      ],
    });
  }

  #cut(layer: number): CutSides | undefined {
    const graph = this.#stepGraph();
    const places = placesByLayer(graph, { layer, layerOf: layerOfWeight });
    // Keys and values that both sides read would have to lie in memory that is slow for one of them.
    if (sharedStates(graph, places).length > 0) return undefined;
    const { parts } = partition(graph, places);
    const on = (device: number): Graph | undefined => parts.find((part) => part.device === device)?.graph;
    return {
      host: this.#side(on(0), (one) => one < layer),
      // Its part holds the head, and so the sampling.
      device: { ...this.#side(on(1), (one) => one >= layer), historyBytes: historyBytes(this.options) },
    };
  }

  #side(graph: Graph | undefined, holds: (layer: number) => boolean): ModelBytes {
    const names = graph ? [...namedValues(graph, 'weight').keys()] : [];
    const weightBytes = names.reduce((sum, name) => sum + (this.#bytes.get(name) ?? 0), 0);
    return { weightBytes, kvBytes: layerKvBytes(this.model, this.options, this.info, holds) };
  }

  /** A step that reads everything. */
  #stepGraph(): Graph {
    if (!this.#graph) {
      const builder = new GraphBuilder(this.model.name);
      this.model.buildStep(builder, {
        kvDType: this.options.kvType,
        blockTokens: defaultBlockTokens,
        logits: 'selected',
      });
      this.#graph = builder.build();
    }
    return this.#graph;
  }
}
