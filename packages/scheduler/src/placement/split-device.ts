/**
 * Several devices as one. Each graph is cut where its maker places its nodes, by layer, by op or by phase, and a
 * submission is one of each part. Weights lie where a part reads them, states where they are used; a state that several
 * devices use lies in memory that the host can address and is worked on in place by all of them. It decides nothing: what
 * runs where is its maker's business.
 */
import {
  checkHostCopy,
  copiedBytes,
  completionsOf,
  expectApart,
  expectCompileArguments,
  expectBytes,
  expectWeightEntries,
  graphSignature,
  isUnicornError,
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
  type WeightEntry,
  type WeightSet,
} from '@unicorn-exec/tensor';
import { expectPlaces, partition, type CrossingValue } from './partition.js';
import type { ExpectedGraph, Place } from './place.js';
import { SplitWeightSet } from './split-weights.js';
import { PartOrder } from './part-order.js';
import { LastingExecutable, type Made } from './lasting-executable.js';
import { splitInfo } from './split-info.js';
import { PlacedSupport } from './split-planner.js';
import { crossingBuffers, SplitExecutable } from './split-executable.js';
import type { CompiledPart } from './split-submission.js';
import { LateCompletion, orderedTransfer } from './split-transfer.js';

export interface SplitOptions {
  /** Closed with the split device. Where several can hold what they share, the first that can does. */
  readonly devices: readonly Device[];
  readonly place: Place;
  /** Together they read all weights and use all states: they tell which of them lie where. */
  readonly graphs: readonly ExpectedGraph[];
  /** What they say of themselves together. Default: what follows from theirs. */
  readonly info?: DeviceInfo;
  /**
   * The index of the device that takes over the nodes of one that was lost; undefined: nobody does. A step that failed
   * with a device on which no bound buffer lies is then computed again. What it computes is of the other device's class
   * of bits from then on. Default: nobody.
   */
  readonly successor?: (lost: number) => number | undefined;
}

export class SplitDevice implements Device {
  readonly info: DeviceInfo;
  readonly devices: readonly Device[];
  readonly #place: Place;
  readonly #support: PlacedSupport;
  readonly #order = new PartOrder();
  /** Devices by the name of a weight that they read, or of a state or an output that they use. */
  readonly #readers = new Map<string, Set<number>>();
  readonly #users = new Map<string, Set<number>>();
  readonly #owners = new WeakMap<DeviceBuffer, number>();
  /** Outputs that are kept on no device that another one may replace. */
  readonly #rescued = new Set<string>();
  readonly #successor: SplitOptions['successor'];
  /** For each device that was lost, the one that does its work. */
  readonly #successors = new Map<number, number>();
  #closed = false;

  constructor({ devices, place, graphs, info, successor }: SplitOptions) {
    if (successor) expectDistinct(devices);
    this.devices = devices;
    this.#successor = successor;
    this.#place = (graph, phase) => {
      const places = place(graph, phase);
      expectPlaces(graph, places, devices.length);
      return places.map((device) => this.#present(device));
    };
    for (const expected of graphs) this.#expect(expected);
    const placed = graphs.map(({ graph, phase }) => ({ phase, places: place(graph, phase) }));
    this.info =
      info ??
      splitInfo(
        devices.map((device) => device.info),
        placed,
      );
    this.#support = new PlacedSupport(devices, place);
  }

  /** As the devices answer on which the node is placed, in either phase. */
  supports(node: Node, graph: Graph, options: PlanOptions): Support {
    return this.#support.supports(node, graph, options);
  }

  async load(entries: readonly WeightEntry[], options: LoadOptions = {}): Promise<WeightSet> {
    this.#expectOpen();
    expectWeightEntries(entries);
    // What no graph tells of lies on the last device, until it is compiled for another.
    const readersOf = (name: string): ReadonlySet<number> =>
      this.#readers.get(name) ?? new Set([this.devices.length - 1]);
    return SplitWeightSet.load(this.devices, entries, readersOf, options);
  }

  async compile(
    graph: Graph,
    weights: WeightSet | readonly WeightSet[],
    options: CompileOptions,
  ): Promise<Executable> {
    this.#expectOpen();
    expectCompileArguments(graph, options);
    const { sets } = ownWeightSets(weights, (set) => set instanceof SplitWeightSet);
    const make = (): Promise<Made> => this.#compile(graph, sets, options);
    const made = await make();
    if (!this.#successor) return made.executable;
    const host = {
      lose: (deviceId: string) => this.#lose(deviceId),
      ownerOf: (buffer: DeviceBuffer) => this.devices[this.#owners.get(buffer) ?? -1]?.info.id,
    };
    return new LastingExecutable(made, make, host);
  }

  async #compile(graph: Graph, sets: readonly SplitWeightSet[], options: CompileOptions): Promise<Made> {
    const maximum = maximumDims(graph, options);
    const phase = options.phase ?? 'token';
    this.#expect({ graph, phase });
    const { parts, crossings } = partition(graph, this.#place(graph, phase));
    const made: { dispose(): void }[] = [];
    try {
      const compiled: CompiledPart[] = [];
      for (const { device: index, graph: part, after } of parts) {
        const device = this.devices[index]!;
        const dims = Object.fromEntries(symbolicDims(part).map((dim) => [dim, options.dims[dim]!]));
        const names = [...namedValues(part, 'weight').keys()];
        const own = (await Promise.all(sets.map((set) => set.on(index, names)))).flat();
        const executable = await device.compile(part, own, { ...options, dims });
        made.push(executable);
        compiled.push({ device: index, deviceName: device.info.name, graph: part, executable, after });
      }
      const crossing = new Map<string, DeviceBuffer[]>();
      for (const value of crossings) {
        if (value.isOutput) continue;
        const byteLength = tensorBytes(value.dtype, resolveShape(value.shape, maximum));
        const users = [...new Set([value.from, ...value.to].map((part) => parts[part]!.device))];
        const buffers = Array.from({ length: crossingBuffers }, () => this.#shared(byteLength, users).buffer);
        made.push(...buffers);
        crossing.set(value.name, buffers);
      }
      const signature = graphSignature(graph);
      const all = { signature, parts: compiled, crossing, order: this.#order, options };
      const devices = new Set(parts.map(({ device }) => this.devices[device]!.info.id));
      return { executable: new SplitExecutable(all), devices };
    } catch (error) {
      for (const one of made) one.dispose();
      throw error;
    }
  }

  /** On the device that uses what `name` says, the last one where nothing is known; in memory of the host where several do. */
  allocate(byteLength: number, options: AllocateOptions = {}): DeviceBuffer {
    this.#expectOpen();
    const { name } = options;
    const last = this.devices.length - 1;
    const users = [...((name === undefined ? undefined : this.#users.get(name)) ?? [last])];
    if (users.length > 1) {
      const { buffer, device } = this.#shared(byteLength, users, name);
      return this.#own(buffer, device);
    }
    // What has no name might be bound anywhere.
    const own = name === undefined ? ({ ...options, host: 'required' } as const) : options;
    return this.#own(this.devices[users[0]!]!.allocate(byteLength, own), users[0]!);
  }

  importBuffer(memory: Uint8Array | DeviceBuffer): DeviceBuffer {
    this.#expectOpen();
    const last = this.devices.length - 1;
    return this.#own(this.devices[last]!.importBuffer(memory), last, memory);
  }

  #own(buffer: DeviceBuffer, device: number, memory: DeviceBuffer | Uint8Array = buffer): DeviceBuffer {
    this.#owners.set(buffer, device);
    this.#order.note(buffer, memory);
    return buffer;
  }

  async write(buffer: DeviceBuffer, byteOffset: number, data: Uint8Array): Promise<void> {
    const device = this.#owner(buffer);
    expectBytes(data);
    const ranges = [{ buffer, byteOffset, byteLength: data.byteLength, isWritten: true }];
    let given = data;
    let isHanded = false;
    const written = orderedTransfer(this.#order, device, ranges, [], () => {
      isHanded = true;
      return this.devices[device]!.write(buffer, byteOffset, given);
    });
    // The caller may change its bytes as soon as this has returned; a device copies what it was handed.
    if (!isHanded) given = copiedBytes(data);
    return written;
  }

  async read(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    const device = this.#owner(buffer);
    const ranges = [{ buffer, byteOffset, byteLength, isWritten: false }];
    return orderedTransfer(this.#order, device, ranges, [], () =>
      this.devices[device]!.read(buffer, byteOffset, byteLength),
    );
  }

  copy(from: BufferView, to: BufferView, byteLength: number, options: SubmitOptions = {}): Completion {
    this.#expectOpen();
    expectApart(from, to, byteLength);
    if (from.buffer.host && to.buffer.host) checkHostCopy(from, to, byteLength);
    const device = this.#owners.get(from.buffer) ?? this.#owner(to.buffer);
    const ranges = [
      { ...from, byteLength, isWritten: false },
      { ...to, byteLength, isWritten: true },
    ];
    const after = completionsOf(options).map(({ done }) => done);
    return new LateCompletion((submit) =>
      orderedTransfer(this.#order, device, ranges, after, () =>
        submit(() => this.devices[device]!.copy(from, to, byteLength)),
      ),
    );
  }

  memory(): MemoryUse {
    const all = this.devices.map((device) => device.memory());
    const total = (field: keyof MemoryUse): number => all.reduce((sum, one) => sum + one[field], 0);
    return {
      weightBytes: total('weightBytes'),
      bufferBytes: total('bufferBytes'),
      scratchBytes: total('scratchBytes'),
      copiedBytes: total('copiedBytes'),
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#order.idle();
    await Promise.all(this.devices.map((device) => device.close()));
  }

  /** The device that does this one's work now. */
  #present(device: number): number {
    const successor = this.#successors.get(device);
    return successor === undefined ? device : this.#present(successor);
  }

  #lose(deviceId: string): boolean {
    const lost = this.devices.findIndex(({ info }) => info.id === deviceId);
    if (lost < 0) return false;
    if (this.#successors.has(lost)) return true;
    const successor = this.#successor?.(lost);
    if (successor === undefined || this.#present(successor) === lost) return false;
    this.#successors.set(lost, successor);
    // Nothing that is allocated from now on may lie there.
    for (const users of [...this.#users.values(), ...this.#readers.values()]) {
      if (users.delete(lost)) users.add(this.#present(lost));
    }
    return true;
  }

  /** Remembers who reads which weights and uses which states and outputs. */
  #expect({ graph, phase }: ExpectedGraph): void {
    const { parts, crossings } = partition(graph, this.#place(graph, phase));
    const note = (uses: Map<string, Set<number>>, name: string, device: number): void => {
      uses.set(name, (uses.get(name) ?? new Set()).add(device));
    };
    for (const { device, graph: part } of parts) {
      for (const name of namedValues(part, 'weight').keys()) note(this.#readers, name, device);
      const handed = (name: string): boolean => crossings.some((one) => one.name === name && !one.isOutput);
      for (const name of namedValues(part, 'state').keys()) note(this.#users, name, device);
      for (const name of Object.keys(part.outputs)) {
        if (handed(name)) continue;
        note(this.#users, name, device);
        // What a device returns need not be lost with it.
        if (!this.#canBeReplaced(device)) continue;
        note(this.#users, name, this.#successor!(device)!);
        this.#rescued.add(name);
      }
      for (const name of readOutputs(part, crossings)) note(this.#users, name, device);
    }
  }

  /** Memory that several devices bind: of the first of them that has some which the host can address. */
  #shared(
    byteLength: number,
    users: readonly number[],
    name?: string,
  ): { readonly buffer: DeviceBuffer; readonly device: number } {
    // A processor binds any memory of the host where it lies, so it is asked last.
    const rank = (device: number): number =>
      name !== undefined && this.#rescued.has(name) && this.#canBeReplaced(device)
        ? 2
        : Number(this.#isProcessor(device));
    const order = [...users].sort((a, b) => rank(a) - rank(b) || a - b);
    let refusal: unknown;
    for (const device of order) {
      try {
        const named = name === undefined ? {} : { name };
        const buffer = this.devices[device]!.allocate(byteLength, { ...named, host: 'required' });
        if (buffer.host) return { buffer, device };
        buffer.dispose();
      } catch (error) {
        refusal = error;
      }
    }
    // Memory that is short is another trouble than memory of another kind.
    if (isUnicornError(refusal) && refusal.family === 'resource') throw refusal;
    throw new UnicornError(
      'unsupported/host-memory',
      `None of ${users.map((one) => this.devices[one]!.info.name).join(', ')} has memory that the host can address.`,
      {
        fields: { byteLength, devices: users.map((one) => this.devices[one]!.info.id) },
        fix: 'Place the nodes such that these devices share nothing.',
        cause: refusal,
      },
    );
  }

  #canBeReplaced(device: number): boolean {
    return (this.#successor?.(device) ?? device) !== device;
  }

  #isProcessor(device: number): boolean {
    return this.devices[device]!.info.threads !== undefined;
  }

  #owner(buffer: DeviceBuffer): number {
    this.#expectOpen();
    const device = this.#owners.get(buffer);
    if (device !== undefined) return device;
    throw new UnicornError('usage/binding', 'The buffer was allocated by another device.');
  }

  #expectOpen(): void {
    if (!this.#closed) return;
    throw new UnicornError('device/closed', 'The devices were closed.', { fields: { device: this.info.id } });
  }
}

/** Errors of a loss name the device by its id. @throws UnicornError `usage/option` when two have the same */
function expectDistinct(devices: readonly Device[]): void {
  const ids = devices.map(({ info }) => info.id);
  const twice = ids.find((id, index) => ids.indexOf(id) !== index);
  if (twice === undefined) return;
  throw new UnicornError(
    'usage/option',
    `Two of the devices are called "${twice}": a lost one could not be told apart.`,
    {
      fields: { option: 'devices', device: twice },
      fix: 'Give devices with different ids, or no `successor`.',
    },
  );
}

/** Inputs of a part that are outputs of the whole graph. */
function readOutputs(part: Graph, crossings: readonly CrossingValue[]): string[] {
  const inputs = namedValues(part, 'input');
  return crossings.filter(({ name, isOutput }) => isOutput && inputs.has(name)).map(({ name }) => name);
}
