/** A compiled graph: checks bindings, submits the layout that fits them, and reports the times of its steps. */
import { guarded } from '@unicorn-exec/native';
import { UnicornError } from '@unicorn-exec/tensor';
import type {
  Bindings,
  CompileOptions,
  Completion,
  DeviceInfo,
  DimValues,
  Executable,
  ProfileEntry,
  Signature,
  SubmitOptions,
} from '@unicorn-exec/tensor';
import type { Gather, RecordingHandle } from '../addon.js';
import type { VulkanBuffer } from '../device/buffer.js';
import type { FaultRecord, FaultRecords } from '../device/faults.js';
import type { Submission } from '../device/queue.js';
import { chainHead } from '../dispatch/chain.js';
import type { PipelineSpec } from '../dispatch/dispatch.js';
import { attentionBounds } from '../lowering/attention-bound.js';
import type { Plan } from '../lowering/plan.js';
import { printPlan } from '../lowering/text.js';
import type { WeightSets } from '../weights/weight-sets.js';
import { ForeignParts, type CopiedIn } from './foreign-parts.js';
import { bindingOf, Requests, type Request, type RequestHost } from './request.js';
import { StepProfile } from './step-profile.js';
import {
  SubmissionLayouts,
  type ExecutableMemory,
  type LayoutHost,
  type SubmissionLayout,
} from './submission-layouts.js';

/** The services of a device that its executables share. */
export interface ExecutableHost extends LayoutHost, RequestHost {
  readonly info: DeviceInfo;
  readonly faults: FaultRecords;
  /** @throws UnicornError `device/closed` */
  expectOpen(): void;
  forget(executable: Executable): void;
  /** Called when a wait of a chain was given up. */
  stopChaining(): void;
}

export class VulkanExecutable implements Executable {
  readonly signature: Signature;
  readonly scratchBytes: number;
  readonly #host: ExecutableHost;
  readonly #plan: Plan;
  readonly #weights: WeightSets;
  readonly #memory: ExecutableMemory;
  readonly #options: CompileOptions;
  readonly #layouts: SubmissionLayouts;
  readonly #requests: Requests;
  readonly #profile: StepProfile;
  /** Submissions in flight, by the inputs block that they read. */
  readonly #inFlight: number[];
  /** When profiled: the end of the submission whose timestamps the next one would overwrite. */
  #last: Promise<void> | undefined;
  #disposed = false;

  constructor(
    host: ExecutableHost,
    plan: Plan,
    weights: WeightSets,
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
    const bounds = attentionBounds(plan);
    const timed = options.profile ?? false;
    this.#layouts = new SubmissionLayouts(host, plan, bounds, weights, memory, timed);
    this.#requests = new Requests(host, plan, options, bounds, this.#layouts);
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
    if (this.#disposed) {
      throw new UnicornError('usage/disposed', 'The executable was disposed of.', {
        fix: 'Compile the graph again, or dispose of it later.',
      });
    }
    const request = this.#requests.of(bindings);
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

  /** Forgets what was recorded with a buffer that is gone. */
  release(buffer: VulkanBuffer): void {
    this.#layouts.release(buffer);
  }

  /** Forgets every recording, so that all is recorded anew. */
  forgetLayouts(): void {
    this.#layouts.clear();
  }

  /** What pipelines submissions of these dims will want. */
  pipelinesFor(dims: DimValues): PipelineSpec[] {
    return this.#layouts.pipelinesFor(dims);
  }

  // ---------------------------------------------------------------- running

  #submission(request: Request): Submission {
    let ended: (() => UnicornError | undefined) | undefined;
    const foreign = request.parts.length > 0 ? new ForeignParts(this.#host, request.parts) : undefined;
    let before: Promise<void> | undefined = this.#last?.then(() => {
      before = undefined;
    });
    return {
      ready: () => before ?? foreign?.ready ?? this.#ready(request),
      detach: () => {
        request.data = request.data.map((bytes, index) =>
          request.foreign.has(index) ? bytes : bytes?.slice(),
        );
      },
      run: () => {
        const started = this.#run(request, foreign?.before() ?? []);
        foreign?.submitted();
        ended = started.ended;
        return started.job;
      },
      ended: () => ended?.(),
      ...(foreign ? { finish: () => foreign.finish(), settled: () => foreign.settled() } : {}),
    };
  }

  /** What a request waits for before it can be recorded. */
  #ready(request: Request): Promise<void> | undefined {
    const { handles, dispatches } = this.#layouts.find(request);
    if (handles.some((handle) => handle !== undefined)) return undefined;
    return this.#host.pipelines.ensure(dispatches.map(({ pipeline }) => pipeline));
  }

  /** Hands a request to the device. @returns the job, and what tells of its end */
  #run(
    request: Request,
    copiedIn: readonly CopiedIn[],
  ): { job: number; ended: () => UnicornError | undefined } {
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
      const targets = data.map(() => inputs.handle);
      for (const { data: bytes, target: shadow, byteOffset } of copiedIn) {
        data.push(bytes);
        offsets.push(byteOffset);
        targets.push(shadow.handle);
      }
      for (const index of request.foreign) this.#host.foreign.copiedBytes += request.data[index]!.byteLength;
      const held = [layout.arena, constants, counters, record.block];
      for (const { buffer } of layout.sources) if (buffer) held.push(buffer);
      const job = guarded(() =>
        addon.submit(
          handle,
          recorded,
          data,
          targets,
          Float64Array.from(offsets),
          [...held.map((buffer) => buffer.handle), ...this.#weights.handles],
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
      const data = indexOf.get(bindingOf(this.#plan, ids));
      if (data === undefined) return [];
      const { handle, index: own } = this.#weights.origin(weight);
      return {
        weights: handle,
        weight: own,
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
