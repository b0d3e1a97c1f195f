/**
 * The layouts of an executable's submissions: for each combination of dims, bound buffers and attention bucket the
 * dispatches, the places of what the submission brings along, and the recordings that are submitted again and again. A few
 * of these layouts are kept; one that names a buffer that is gone is forgotten.
 *
 * A recording knows the address of its inputs, and while it runs those of the next submission are written. So there are
 * several inputs blocks, and each layout has a recording for each block that it was submitted with.
 */
import { guarded } from '@unicorn-exec/native';
import { resolveShape, tensorBytes, type DimValues } from '@unicorn-exec/tensor';
import type { DeviceHandle, NativeAddon, PipelineHandle, RecordingHandle } from '../addon.js';
import type { VulkanBuffer } from '../device/buffer.js';
import { chainLinks } from '../dispatch/chain.js';
import type { PipelineSpec, Place } from '../dispatch/dispatch.js';
import type { MemoryRange } from '../dispatch/hazards.js';
import type { KeyBound } from '../lowering/attention-bound.js';
import { dispatchesOf, type StepDispatch } from '../lowering/dispatches.js';
import type { Target } from '../lowering/target.js';
import type { Plan } from '../lowering/plan.js';
import { pipelineKey, type Pipelines } from '../device/pipelines.js';
import { encodeRecording } from './recording-words.js';
import { weightLayout } from '../weights/weight-layout.js';
import type { WeightSets } from '../weights/weight-sets.js';

/** Memory of one executable. */
export interface ExecutableMemory {
  readonly constants: VulkanBuffer;
  readonly counters: VulkanBuffer;
  /** Blocks of inputs, one for each submission in flight: the address of the fault record, host data, gathered rows. */
  readonly inputs: readonly VulkanBuffer[];
}

/**
 * Inputs blocks of one executable. So many submissions find a block that no other reads: one runs, one waits behind it so
 * that the device never idles, and one is being prepared. The data of later ones is transferred when their turn has come.
 */
export const inputsBlocks = 3;

/** The services of a device that layouts need. */
export interface LayoutHost {
  readonly addon: NativeAddon;
  readonly handle: DeviceHandle;
  readonly pipelines: Pipelines;
  readonly target: Target;
  /** One arena for all executables, since they run one after the other; another one when a larger one was compiled. */
  readonly arena: VulkanBuffer;
}

/** How one binding is bound: to a part of a buffer, or to host data. */
export interface BoundSource {
  readonly buffer: VulkanBuffer | undefined;
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** What a layout is made for. */
export interface LayoutKey {
  readonly dims: DimValues;
  /** By index of the binding. */
  readonly sources: readonly BoundSource[];
  /** Bound of the keys, by index of the plan's key bounds; infinite where only the device knows. */
  readonly keys: readonly number[];
}

export interface SubmissionLayout extends LayoutKey {
  readonly arena: VulkanBuffer;
  readonly dispatches: readonly StepDispatch[];
  /** Byte offset of each host-bound binding in an inputs block; undefined for others. */
  readonly inputOffsets: readonly (number | undefined)[];
  /** Byte offset of the rows of each gather. */
  readonly gatherOffsets: readonly number[];
  /** By inputs block; absent until it is wanted. */
  readonly handles: (RecordingHandle | undefined)[];
}

/** An inputs block begins with what `chainHead` makes; inputs follow at multiples of this. */
const inputAlignment = 64;

const alignUp = (bytes: number): number => Math.ceil(bytes / inputAlignment) * inputAlignment;

/**
 * SubmissionLayouts that are kept: of every batch size up to 32 of a decode step the one that begins with ids of the host and
 * three that go round on ids of the device, in two buckets of context. Those of equal dims share what is large.
 */
const keptLayouts = 256;

/** Bytes of an inputs block when every input is bound to host data, at the largest dims. */
export function inputsBytes({ signature, gathers, maximumDims }: Plan): number {
  const inputs = Object.values(signature.inputs).map(({ dtype, shape }) =>
    alignUp(tensorBytes(dtype, resolveShape(shape, maximumDims))),
  );
  const gathered = gathers.map(({ byteLength }) => alignUp(byteLength));
  return [...inputs, ...gathered].reduce((sum, bytes) => sum + bytes, inputAlignment);
}

function sameSource(a: BoundSource, b: BoundSource): boolean {
  return a.buffer === b.buffer && a.byteOffset === b.byteOffset && a.byteLength === b.byteLength;
}

export class SubmissionLayouts implements Iterable<SubmissionLayout> {
  /** The most recently used first. */
  readonly #kept: SubmissionLayout[] = [];

  /** @param timed with a timestamp after each dispatch */
  constructor(
    private readonly host: LayoutHost,
    private readonly plan: Plan,
    private readonly bounds: readonly KeyBound[],
    private readonly weights: WeightSets,
    private readonly memory: ExecutableMemory,
    private readonly timed: boolean,
  ) {}

  [Symbol.iterator](): Iterator<SubmissionLayout> {
    return this.#kept.values();
  }

  /** The layout for a key, made when there is none; recorded later, when its pipelines are there. */
  find(key: LayoutKey): SubmissionLayout {
    const { arena } = this.host;
    const at = this.#kept.findIndex(
      (one) =>
        one.arena === arena &&
        this.#isAlike(one, key.dims, key.keys) &&
        one.sources.every((source, index) => sameSource(source, key.sources[index]!)),
    );
    if (at === 0) return this.#kept[0]!;
    const found = at < 0 ? this.#layOut(key) : this.#kept.splice(at, 1)[0]!;
    this.#kept.unshift(found);
    for (const old of this.#kept.splice(keptLayouts)) this.#drop(old);
    return found;
  }

  #isAlike(one: SubmissionLayout, dims: DimValues, keys: readonly number[]): boolean {
    return (
      this.plan.signature.dims.every((dim) => one.dims[dim] === dims[dim]) &&
      one.keys.every((bound, index) => bound === keys[index])
    );
  }

  /** Kernels of all dispatches under some dims, with every input in a buffer: what pipelines will be wanted. */
  pipelinesFor(dims: DimValues): PipelineSpec[] {
    const isGathered = (step: number): boolean => this.plan.gathers.some((one) => one.step === step);
    return dispatchesOf(this.plan, this.weights, this.host.target, {
      dims,
      gatheredAt: (step) => (isGathered(step) ? inputAlignment : undefined),
      chains: !this.timed,
    }).map(({ pipeline }) => pipeline);
  }

  /** Records what is not yet, over one of the inputs blocks. Its pipelines must be there. */
  record(layout: SubmissionLayout, block: number): RecordingHandle {
    return (layout.handles[block] ??= this.#record(layout, this.memory.inputs[block]!));
  }

  /** Forgets what was recorded with a buffer that is gone. */
  release(buffer: VulkanBuffer): void {
    for (let i = this.#kept.length - 1; i >= 0; i--) {
      const { arena, sources } = this.#kept[i]!;
      const isUsed = arena === buffer || sources.some((source) => source.buffer === buffer);
      if (isUsed) this.#drop(this.#kept.splice(i, 1)[0]!);
    }
  }

  /** Forgets all. */
  clear(): void {
    for (const layout of this.#kept.splice(0)) this.#drop(layout);
  }

  #drop({ handles }: SubmissionLayout): void {
    for (const handle of handles.splice(0)) if (handle) guarded(() => this.host.addon.dispose(handle));
  }

  /** Divides the inputs block and makes the dispatches. */
  #layOut({ dims, sources, keys }: LayoutKey): SubmissionLayout {
    const { plan, host } = this;
    let end = inputAlignment;
    const take = (bytes: number): number => {
      const at = end;
      end += alignUp(bytes);
      return at;
    };
    const inputOffsets = sources.map(({ buffer, byteLength }) => (buffer ? undefined : take(byteLength)));
    const gatherOffsets = plan.gathers.map(({ weight, ids }) => {
      const { dtype, columns } = this.weights.loaded(weight);
      const [rows] = resolveShape(plan.values[ids]!.shape, dims);
      return take(weightLayout(dtype, rows!, columns).byteLength);
    });
    // Dispatches name places; which buffers those are in is asked when they are recorded.
    const twin =
      plan.gathers.length > 0 ? undefined : this.#kept.find((one) => this.#isAlike(one, dims, keys));
    const dispatches =
      twin?.dispatches ??
      dispatchesOf(plan, this.weights, host.target, {
        dims,
        keysOf: (step) => keys[this.bounds.findIndex(({ steps }) => steps.includes(step))],
        gatheredAt: (step) => gatherOffsets[plan.gathers.findIndex((one) => one.step === step)],
        chains: !this.timed,
      });
    return {
      dims,
      sources,
      keys,
      arena: host.arena,
      dispatches,
      inputOffsets,
      gatherOffsets,
      handles: [],
    };
  }

  #record(layout: SubmissionLayout, inputs: VulkanBuffer): RecordingHandle {
    const { addon, handle, pipelines } = this.host;
    const indices = new Map<string, number>();
    const used: PipelineHandle[] = [];
    const pipelineOf = layout.dispatches.map(({ pipeline }) => {
      const key = pipelineKey(pipeline);
      const index = indices.get(key) ?? used.push(pipelines.get(pipeline)!) - 1;
      indices.set(key, index);
      return index;
    });
    const links = chainLinks(layout.dispatches, (place) => this.#rangeOf(layout, place));
    const words = encodeRecording(layout.dispatches, pipelineOf, links, (place) =>
      this.#addressOf(layout, inputs, place),
    );
    return guarded(() => addon.record(handle, used, words, this.timed));
  }

  #addressOf(layout: SubmissionLayout, inputs: VulkanBuffer, { storage, byteOffset }: Place): bigint {
    const offset = BigInt(byteOffset);
    const { constants, counters } = this.memory;
    switch (storage.kind) {
      case 'arena':
        return layout.arena.address + offset;
      case 'constants':
        return constants.address + offset;
      case 'counters':
        return counters.address + offset;
      case 'inputs':
        return inputs.address + offset;
      case 'weight':
        return this.weights.addresses[storage.index]! + offset;
      case 'binding': {
        const { buffer, byteOffset: begin } = layout.sources[storage.index]!;
        if (buffer) return buffer.address + BigInt(begin) + offset;
        return inputs.address + BigInt(layout.inputOffsets[storage.index]!) + offset;
      }
    }
  }

  /** The memory of a place; undefined where nothing writes it while the recording runs. */
  #rangeOf(layout: SubmissionLayout, { storage, byteOffset, byteLength }: Place): MemoryRange | undefined {
    const range = (memory: unknown, start: number): MemoryRange => ({
      memory,
      begin: start + byteOffset,
      end: start + byteOffset + byteLength,
    });
    switch (storage.kind) {
      case 'weight':
      case 'constants':
      case 'inputs':
        return undefined;
      case 'arena':
        return range(layout.arena, 0);
      case 'counters':
        return range(this.memory.counters, 0);
      case 'binding': {
        const { buffer, byteOffset: start } = layout.sources[storage.index]!;
        if (!buffer) return undefined;
        const { memory, byteOffset: origin } = buffer.origin;
        return range(memory, origin + start);
      }
    }
  }
}
