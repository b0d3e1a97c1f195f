/**
 * Two devices as one, for a model that does not fit the faster of them: layers up to a cut run on the device in front
 * (the CPU), the others and the head on the device behind it. Weights and states are split by layer, every graph is cut
 * there, and a submission is one of each, the second after the first. It decides nothing: where to cut is its maker's
 * business.
 *
 * The device in front computes in memory that the host can address, so that the device behind reads what crosses where
 * it lies.
 */
import {
  graphSignature,
  maximumDims,
  namedValues,
  ownWeightSets,
  resolveShape,
  symbolicDims,
  tensorBytes,
  UnicornError,
  type AllocateOptions,
  type BufferView,
  type CompileOptions,
  type Completion,
  type Device,
  type DeviceBuffer,
  type DeviceInfo,
  type Executable,
  type Graph,
  type LoadOptions,
  type MemoryUse,
  type Node,
  type PlanOptions,
  type SubmitOptions,
  type Support,
  type TensorSpec,
  type WeightEntry,
  type WeightSet,
} from '@unicorn-exec/tensor';
import { ChainExecutable, type ChainPart } from './chain-executable.js';
import { cutGraph, type LayerCut } from './cut-graph.js';

export interface ChainOptions {
  /** Computes in host memory. Both are closed with the chain. */
  readonly front: Device;
  readonly back: Device;
  readonly cut: LayerCut;
  /** A step of the model that reads all its weights and states: tells which of them lie where. */
  readonly graph: Graph;
}

class ChainWeightSet implements WeightSet {
  constructor(
    readonly front: WeightSet,
    readonly back: WeightSet,
  ) {}

  get names(): readonly string[] {
    return [...new Set([...this.front.names, ...this.back.names])];
  }

  spec(name: string): TensorSpec | undefined {
    return this.back.spec(name) ?? this.front.spec(name);
  }

  get byteLength(): number {
    return this.front.byteLength + this.back.byteLength;
  }

  dispose(): void {
    this.front.dispose();
    this.back.dispose();
  }
}

export class ChainDevice implements Device {
  readonly info: DeviceInfo;
  readonly front: Device;
  readonly back: Device;
  readonly #cut: LayerCut;
  /** Names of what the part in front reads, keeps or returns. */
  readonly #frontWeights: ReadonlySet<string>;
  readonly #backWeights: ReadonlySet<string>;
  readonly #frontNames = new Set<string>();
  readonly #owners = new WeakMap<DeviceBuffer, Device>();

  /** @throws UnicornError `unsupported/cut` when the graph cannot be cut there */
  constructor({ front, back, cut, graph }: ChainOptions) {
    this.front = front;
    this.back = back;
    this.#cut = cut;
    this.info = chainInfo(front.info, back.info);
    const parts = cutGraph(graph, cut);
    this.#frontWeights = weightNames(parts.front);
    this.#backWeights = weightNames(parts.back);
    this.#learn(parts.front);
  }

  supports(node: Node, graph: Graph, options: PlanOptions): Support {
    const support = this.front.supports(node, graph, options);
    return support.ok ? this.back.supports(node, graph, options) : support;
  }

  async load(entries: readonly WeightEntry[], options: LoadOptions = {}): Promise<WeightSet> {
    const inFront = entries.filter(({ name }) => this.#frontWeights.has(name));
    // What the graph does not tell of lies where most of the work is done.
    const behind = entries.filter(({ name }) => this.#backWeights.has(name) || !this.#frontWeights.has(name));
    const frontBytes = bytesOf(inFront);
    const totalBytes = frontBytes + bytesOf(behind);
    const progressFrom = (begin: number): LoadOptions => ({
      ...options,
      onProgress: ({ loadedBytes }) => options.onProgress?.({ loadedBytes: begin + loadedBytes, totalBytes }),
    });
    const front = await this.front.load(inFront, progressFrom(0));
    try {
      return new ChainWeightSet(front, await this.back.load(behind, progressFrom(frontBytes)));
    } catch (error) {
      front.dispose();
      throw error;
    }
  }

  async compile(
    graph: Graph,
    given: WeightSet | readonly WeightSet[],
    options: CompileOptions,
  ): Promise<Executable> {
    const weights = ownWeightSets(given, (set) => set instanceof ChainWeightSet).sets[0]!;
    const maximum = maximumDims(graph, options);
    const parts = cutGraph(graph, this.#cut);
    this.#learn(parts.front);
    const made: { dispose(): void }[] = [];
    const compile = async (device: Device, part: Graph, set: WeightSet): Promise<ChainPart> => {
      const dims = Object.fromEntries(symbolicDims(part).map((dim) => [dim, options.dims[dim]!]));
      const executable = await device.compile(part, set, { ...options, dims });
      made.push(executable);
      return { name: device.info.name, executable };
    };
    try {
      const front = parts.front && (await compile(this.front, parts.front, weights.front));
      const back = parts.back && (await compile(this.back, parts.back, weights.back));
      const crossing = new Map<string, DeviceBuffer | undefined>();
      for (const { name, dtype, shape, isOutput } of parts.crossing) {
        const buffer = isOutput
          ? undefined
          : this.front.allocate(tensorBytes(dtype, resolveShape(shape, maximum)));
        if (buffer) made.push(buffer);
        crossing.set(name, buffer);
      }
      return new ChainExecutable(graphSignature(graph), front, back, crossing);
    } catch (error) {
      for (const one of made) one.dispose();
      throw error;
    }
  }

  /** On the device in front when the name is that of a state or an output there, else behind. */
  allocate(byteLength: number, options: AllocateOptions = {}): DeviceBuffer {
    const { name } = options;
    const device = name !== undefined && this.#frontNames.has(name) ? this.front : this.back;
    const buffer = device.allocate(byteLength, options);
    this.#owners.set(buffer, device);
    return buffer;
  }

  write(buffer: DeviceBuffer, byteOffset: number, data: Uint8Array): Promise<void> {
    return this.#owner(buffer).write(buffer, byteOffset, data);
  }

  read(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    return this.#owner(buffer).read(buffer, byteOffset, byteLength);
  }

  importBuffer(memory: Uint8Array | DeviceBuffer): DeviceBuffer {
    return this.front.importBuffer(memory);
  }

  copy(from: BufferView, to: BufferView, byteLength: number, options?: SubmitOptions): Completion {
    return this.#owner(from.buffer).copy(from, to, byteLength, options);
  }

  memory(): MemoryUse {
    const [front, back] = [this.front.memory(), this.back.memory()];
    return {
      weightBytes: front.weightBytes + back.weightBytes,
      bufferBytes: front.bufferBytes + back.bufferBytes,
      scratchBytes: front.scratchBytes + back.scratchBytes,
      copiedBytes: front.copiedBytes + back.copiedBytes,
    };
  }

  async close(): Promise<void> {
    // What is in flight behind waits for what is in front of it.
    await Promise.all([this.front.close(), this.back.close()]);
  }

  #owner(buffer: DeviceBuffer): Device {
    const device = this.#owners.get(buffer);
    if (device) return device;
    throw new UnicornError('usage/binding', 'The buffer was allocated by another device.');
  }

  /** Remembers the states and outputs of a part in front. */
  #learn(front: Graph | undefined): void {
    if (!front) return;
    for (const name of namedValues(front, 'state').keys()) this.#frontNames.add(name);
    for (const name of Object.keys(front.outputs)) this.#frontNames.add(name);
  }
}

function weightNames(graph: Graph | undefined): Set<string> {
  return new Set(graph && namedValues(graph, 'weight').keys());
}

function bytesOf(entries: readonly WeightEntry[]): number {
  return entries.reduce((sum, { dtype, shape }) => sum + tensorBytes(dtype, shape), 0);
}

/** What both can do. */
function chainInfo(front: DeviceInfo, back: DeviceInfo): DeviceInfo {
  return {
    backend: `${back.backend}+${front.backend}`,
    id: `${back.id}+${front.id}`,
    name: `${back.name} + ${front.name}`,
    dtypes: {
      weights: back.dtypes.weights.filter((dtype) => front.dtypes.weights.includes(dtype)),
      kv: back.dtypes.kv.filter((dtype) => front.dtypes.kv.includes(dtype)),
    },
    precisions: back.precisions.filter((precision) => front.precisions.includes(precision)),
    activations: back.activations,
    numerics: {
      prompt: `${front.numerics.prompt} + ${back.numerics.prompt}`,
      token: `${front.numerics.token} + ${back.numerics.token}`,
    },
    shapes: front.shapes === 'dynamic' ? back.shapes : front.shapes,
    rows: front.rows.kind === 'any' ? back.rows : front.rows,
    alignmentBytes: Math.max(front.alignmentBytes, back.alignmentBytes),
    maxBufferBytes: Math.min(front.maxBufferBytes, back.maxBufferBytes),
    heaps: [...back.heaps, ...front.heaps],
    ...(front.threads === undefined ? {} : { threads: front.threads }),
    features: back.features,
  };
}
