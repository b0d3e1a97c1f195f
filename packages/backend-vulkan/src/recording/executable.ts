/** A compiled graph: checks bindings, submits the layout that they want, and reports what the steps took. */
import { guarded } from '@unicorn-exec/native';
import { resolveBindings, submissionDims, UnicornError } from '@unicorn-exec/tensor';
import type {
  Binding,
  Bindings,
  BufferView,
  CompileOptions,
  Completion,
  DeviceBuffer,
  DeviceInfo,
  DimValues,
  Executable,
  ProfileEntry,
  ResolvedBinding,
  Signature,
  SubmitOptions,
} from '@unicorn-exec/tensor';
import type { Gather, RecordingHandle } from '../addon.js';
import { bindingAlignment, VulkanBuffer } from '../device/buffer.js';
import { chainHead } from '../dispatch/chain.js';
import type { PipelineSpec } from '../dispatch/dispatch.js';
import type { FaultRecord, FaultRecords } from '../device/faults.js';
import { attentionBounds, keyBucket, type KeyBound } from '../lowering/attention-bound.js';
import type { Plan } from '../lowering/plan.js';
import { printPlan } from '../lowering/text.js';
import type { JobQueue, Submission } from '../device/queue.js';
import {
  SubmissionLayouts,
  type BoundSource,
  type ExecutableMemory,
  type SubmissionLayout,
  type LayoutHost,
  type LayoutKey,
} from './submission-layouts.js';
import { StepProfile } from './step-profile.js';
import type { VulkanWeightSet } from '../weights/weight-set.js';

/** What executables of one device share. */
export interface ExecutableHost extends LayoutHost {
  readonly info: DeviceInfo;
  readonly queue: JobQueue;
  readonly faults: FaultRecords;
  /** @throws UnicornError `device/closed` */
  expectOpen(): void;
  forget(executable: Executable): void;
  /** A wait of a chain was given up. */
  stopChaining(): void;
}

/** A submission that passed every check. */
interface Request extends LayoutKey {
  /** Host data, by index of the binding. */
  data: (Uint8Array | undefined)[];
  /** Indexes of the data that lie in memory of other devices, which may still be computing them. */
  readonly foreign: ReadonlySet<number>;
}

const nothingForeign: ReadonlySet<number> = new Set();

export class VulkanExecutable implements Executable {
  readonly signature: Signature;
  readonly scratchBytes: number;
  readonly #host: ExecutableHost;
  readonly #plan: Plan;
  readonly #weights: VulkanWeightSet;
  readonly #memory: ExecutableMemory;
  readonly #options: CompileOptions;
  /** By index of the binding. */
  readonly #names: readonly string[];
  readonly #bounds: readonly KeyBound[];
  readonly #layouts: SubmissionLayouts;
  readonly #profile: StepProfile;
  /** Submissions in flight, by the inputs block that they read. */
  readonly #inFlight: number[];
  /** When profiled: the end of the submission whose timestamps the next one would overwrite. */
  #last: Promise<void> | undefined;
  #disposed = false;

  constructor(
    host: ExecutableHost,
    plan: Plan,
    weights: VulkanWeightSet,
    memory: ExecutableMemory,
    options: CompileOptions,
  ) {
    this.#host = host;
    this.#plan = plan;
    this.#weights = weights;
    this.#memory = memory;
    this.#options = options;
    this.signature = plan.signature;
    this.scratchBytes = plan.arenaBytes;
    this.#names = [...plan.bindings.keys()].map((key) => key.slice(key.indexOf(':') + 1));
    this.#bounds = attentionBounds(plan);
    const timed = options.profile ?? false;
    this.#layouts = new SubmissionLayouts(host, plan, this.#bounds, weights, memory, timed);
    this.#profile = new StepProfile(plan, host.info.id);
    this.#inFlight = memory.inputs.map(() => 0);
  }

  /** Ids of weights in host memory must be the host's. */
  get runsAhead(): boolean {
    return this.#plan.gathers.length === 0;
  }

  describe(): string {
    return printPlan(this.#plan);
  }

  submit(bindings: Bindings, options: SubmitOptions = {}): Completion {
    this.#host.expectOpen();
    if (this.#disposed) throw new UnicornError('usage/disposed', 'The executable was disposed of.');
    const request = this.#sameAsBefore(bindings) ?? this.#check(bindings);
    const completion = this.#host.queue.enqueue(this.#submission(request), options);
    if (this.#options.profile) this.#last = completion.done.catch(() => {});
    return completion;
  }

  profile(): readonly ProfileEntry[] {
    return this.#profile.entries();
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#layouts.clear();
    const { constants, counters, inputs } = this.#memory;
    for (const buffer of [constants, counters, ...inputs]) buffer.dispose();
    this.#host.forget(this);
  }

  /** A buffer is gone: so is what was recorded with it. */
  release(buffer: VulkanBuffer): void {
    this.#layouts.release(buffer);
  }

  /** Everything is recorded anew. */
  forgetLayouts(): void {
    this.#layouts.clear();
  }

  /** What pipelines submissions of these dims will want. */
  pipelinesFor(dims: DimValues): PipelineSpec[] {
    return this.#layouts.pipelinesFor(dims);
  }

  // ---------------------------------------------------------------- checks

  /** @throws UnicornError `usage/dims`, `usage/binding`, `usage/disposed`, `unsupported/op` */
  #check(bindings: Bindings): Request {
    const dims = { ...submissionDims(this.signature, this.#options, bindings) };
    const resolved = resolveBindings(this.signature, dims, bindings);
    const bound = resolved.map((binding) => this.#bind(binding));
    const sources = bound.map(({ source }) => source);
    const data = bound.map((binding) => binding.data);
    for (const { ids, weight } of this.#plan.gathers) {
      if (!sources[this.#bindingOf(ids)]!.buffer) continue;
      throw new UnicornError(
        'unsupported/op',
        `The weight "${weight}" stays in host memory: the ids that it is looked up by must be host data.`,
        { fields: { weight }, fix: 'Bind the ids to an Int32Array, or load the weight into device memory.' },
      );
    }
    const foreign = new Set(bound.flatMap((binding, index) => (binding.isForeign ? [index] : [])));
    return { dims, sources, data, foreign, keys: this.#keys(data, foreign) };
  }

  #bind({ name, role, source, byteLength }: ResolvedBinding): {
    source: BoundSource;
    data?: Uint8Array;
    isForeign?: true;
  } {
    const host = { buffer: undefined, byteOffset: 0, byteLength };
    if (source.kind === 'host') return { source: host, data: source.bytes };
    const { buffer, byteOffset } = source;
    if (buffer instanceof VulkanBuffer && buffer.device === this.#host.handle) {
      buffer.expectAlive();
      if (byteOffset % bindingAlignment === 0) return { source: { buffer, byteOffset, byteLength } };
      throw new UnicornError(
        'usage/binding',
        `"${name}" begins at byte ${byteOffset}; bindings begin at multiples of ${bindingAlignment}.`,
        { fields: { name, byteOffset, alignmentBytes: bindingAlignment } },
      );
    }
    if (role !== 'input' || !buffer.host) {
      throw new UnicornError('usage/binding', `"${name}" is bound to a buffer of another device.`, {
        fields: { name },
      });
    }
    // Another device's memory that the host can read is copied like host data, when this submission's turn comes.
    const data = buffer.host.subarray(byteOffset, byteOffset + byteLength);
    return { source: host, data, isForeign: true };
  }

  /** Index of the binding that an input value is. */
  #bindingOf(id: number): number {
    return (this.#plan.values[id]!.storage as { index: number }).index;
  }

  /** For each bound the keys that positions of the host allow. */
  #keys(data: readonly (Uint8Array | undefined)[], foreign: ReadonlySet<number>): number[] {
    return this.#bounds.map(({ binding }) => {
      const bytes = data[binding];
      if (!bytes || foreign.has(binding)) return Infinity;
      let last = -1;
      const positions = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
      for (const position of positions) if (position > last) last = position;
      return keyBucket(last + 1);
    });
  }

  /**
   * The step after a step differs in its host data only, and the check of dozens of states would cost more than they
   * change: what is bound to the very same buffers under the same dims was checked before. Undefined for anything else.
   */
  #sameAsBefore({ dims, buffers }: Bindings): Request | undefined {
    let given = 0;
    for (const _ in buffers) given++;
    if (given !== this.#names.length) return undefined;
    for (const layout of this.#layouts) {
      if (!this.signature.dims.every((dim) => dims[dim] === layout.dims[dim])) continue;
      const found = this.#dataFor(layout, buffers);
      if (!found) continue;
      const { dims: own, sources } = layout;
      return { dims: own, sources, ...found, keys: this.#keys(found.data, found.foreign) };
    }
    return undefined;
  }

  /** Host data by index of the binding, when everything else is bound as in the layout. */
  #dataFor(
    { sources }: SubmissionLayout,
    buffers: Bindings['buffers'],
  ): Pick<Request, 'data' | 'foreign'> | undefined {
    const data: Request['data'] = [];
    let foreign: Set<number> | undefined;
    for (const [index, source] of sources.entries()) {
      const name = this.#names[index]!;
      const now = buffers[name];
      if (now === undefined) return undefined;
      if (source.buffer) {
        if (!isBoundTo(now, source)) return undefined;
        data.push(undefined);
      } else {
        const isForeign = !ArrayBuffer.isView(now);
        const view = isForeign
          ? foreignView(now, source.byteLength)
          : hostView(now, this.signature.inputs[name]!.dtype, source.byteLength);
        if (!view) return undefined;
        if (isForeign) (foreign ??= new Set()).add(index);
        data.push(view);
      }
    }
    return { data, foreign: foreign ?? nothingForeign };
  }

  // ---------------------------------------------------------------- running

  #submission(request: Request): Submission {
    let ended: (() => UnicornError | undefined) | undefined;
    let before: Promise<void> | undefined = this.#last?.then(() => {
      before = undefined;
    });
    return {
      ready: () => before ?? this.#ready(request),
      detach: () => {
        request.data = request.data.map((bytes, index) =>
          request.foreign.has(index) ? bytes : bytes?.slice(),
        );
      },
      run: () => {
        const started = this.#run(request);
        ended = started.ended;
        return started.job;
      },
      ended: () => ended?.(),
    };
  }

  /** What a request waits for before it can be recorded. */
  #ready(request: Request): Promise<void> | undefined {
    const { handles, dispatches } = this.#layouts.find(request);
    if (handles.some((handle) => handle !== undefined)) return undefined;
    return this.#host.pipelines.ensure(dispatches.map(({ pipeline }) => pipeline));
  }

  /** Hands a request to the device. @returns the job, and what tells of its end */
  #run(request: Request): { job: number; ended: () => UnicornError | undefined } {
    const { addon, handle, faults, target } = this.#host;
    for (const { buffer } of request.sources) buffer?.expectAlive();
    const layout = this.#layouts.find(request);
    const block = this.#freeBlock(layout);
    const recorded = this.#layouts.record(layout, block);
    const { constants, counters } = this.#memory;
    const inputs = this.#memory.inputs[block]!;
    const record = faults.take();
    try {
      const head = chainHead(record.address, target.traits);
      const { data, offsets, indexOf } = inputData(layout, request, head);
      const held = [layout.arena, constants, counters, record.block];
      for (const { buffer } of layout.sources) if (buffer) held.push(buffer);
      const job = guarded(() =>
        addon.submit(
          handle,
          recorded,
          data,
          data.map(() => inputs.handle),
          Float64Array.from(offsets),
          [...held.map((buffer) => buffer.handle), this.#weights.handle],
          this.#gathers(layout, indexOf, inputs),
        ),
      );
      this.#inFlight[block]!++;
      const ended = (): UnicornError | undefined => {
        this.#inFlight[block]!--;
        return this.#ended(layout, recorded, record);
      };
      return { job, ended };
    } catch (error) {
      faults.give(record);
      throw error;
    }
  }

  /** An inputs block that no submission in flight reads, or that the fewest do: one that it was recorded over, if any. */
  #freeBlock({ handles }: SubmissionLayout): number {
    const least = Math.min(...this.#inFlight);
    const recorded = handles.findIndex((handle, block) => handle && this.#inFlight[block] === least);
    return recorded >= 0 ? recorded : this.#inFlight.indexOf(least);
  }

  /** @param indexOf binding to the index of its host data */
  #gathers(
    { gatherOffsets }: SubmissionLayout,
    indexOf: ReadonlyMap<number, number>,
    inputs: VulkanBuffer,
  ): Gather[] {
    return this.#plan.gathers.flatMap(({ weight, ids, beyond }, index) => {
      const data = indexOf.get(this.#bindingOf(ids));
      if (data === undefined) return [];
      return {
        weights: this.#weights.handle,
        weight: this.#weights.loaded(weight).index,
        ids: data,
        beyond,
        target: inputs.handle,
        byteOffset: gatherOffsets[index]!,
      };
    });
  }

  #ended(layout: SubmissionLayout, handle: RecordingHandle, record: FaultRecord): UnicornError | undefined {
    const fault = this.#host.faults.give(record);
    if (fault?.code === 'device/stalled') this.#host.stopChaining();
    if (this.#options.profile && !fault && !this.#disposed) {
      const times = guarded(() => this.#host.addon.timings(handle));
      this.#profile.count(layout.dims, layout.dispatches, times);
    }
    return fault;
  }
}

/** What a submission brings along: what inputs begin with, and host data where the layout has it. */
function inputData(
  { inputOffsets, sources }: SubmissionLayout,
  request: Request,
  head: Uint8Array,
): { data: Uint8Array[]; offsets: number[]; indexOf: Map<number, number> } {
  const data = [head];
  const offsets = [0];
  const indexOf = new Map<number, number>();
  inputOffsets.forEach((offset, binding) => {
    if (offset === undefined || sources[binding]!.byteLength === 0) return;
    indexOf.set(binding, data.length);
    data.push(request.data[binding]!);
    offsets.push(offset);
  });
  return { data, offsets, indexOf };
}

function isBoundTo(binding: Binding, { buffer, byteOffset }: BoundSource): boolean {
  if (ArrayBuffer.isView(binding) || buffer!.isDisposed) return false;
  if (binding === buffer) return byteOffset === 0;
  return 'buffer' in binding && binding.buffer === buffer && binding.byteOffset === byteOffset;
}

/** The bytes of host data of the right type and length; undefined for anything else. */
function hostView(binding: ArrayBufferView, dtype: string, byteLength: number): Uint8Array | undefined {
  if (binding.byteLength < byteLength) return undefined;
  const isRight =
    dtype === 'f32' ? binding instanceof Float32Array : dtype === 'i32' && binding instanceof Int32Array;
  return isRight ? new Uint8Array(binding.buffer, binding.byteOffset, byteLength) : undefined;
}

/** The bytes of a whole buffer of another device that the host can address; undefined for anything else. */
function foreignView(binding: DeviceBuffer | BufferView, byteLength: number): Uint8Array | undefined {
  if ('buffer' in binding || binding instanceof VulkanBuffer) return undefined;
  const { host } = binding;
  return host && host.byteLength >= byteLength ? host.subarray(0, byteLength) : undefined;
}
