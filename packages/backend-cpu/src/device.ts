/** A CPU device: one thread pool of the addon behind the Device contract. */
import { guarded, JobTable } from '@unicorn-exec/native';
import {
  checkHostCopy,
  checkWeights,
  completionsOf,
  copyOnHost,
  endOf,
  graphSignature,
  maximumDims,
  ownWeightSets,
  throwIfCancelled,
  UnicornError,
} from '@unicorn-exec/tensor';
import type {
  AllocateOptions,
  BufferView,
  CompileOptions,
  Completion,
  Device,
  DeviceBuffer,
  DeviceInfo,
  Executable,
  Graph,
  LoadOptions,
  MemoryUse,
  Node,
  PlanOptions,
  SubmitOptions,
  Support,
  WeightEntry,
  WeightSet,
} from '@unicorn-exec/tensor';
import type { DeviceHandle, NativeAddon } from './addon.js';
import { CpuBuffer, ImportedBuffer, readBuffer, writeBuffer } from './buffer.js';
import { CpuExecutable, type NativeSubmission, type Submitter } from './executable.js';
import { encodePlan } from './lowering/encode.js';
import { lower } from './lowering/lower.js';
import { CpuPlanner } from './planner.js';
import { CpuWeightSet, loadRequest, weightPlacements, type WeightPlacement } from './weight-set.js';

class CpuCompletion implements Completion {
  /** Set once the job is in the addon's queue; until then it waits for another device. */
  job: number | undefined;

  constructor(
    readonly device: CpuDevice,
    readonly done: Promise<void>,
  ) {
    // A caller that awaits only the last of a chain must not be ended by an unhandled rejection of an earlier one.
    done.catch(() => {});
  }

  times(): readonly [] {
    return [];
  }
}

export class CpuDevice implements Device, Submitter {
  readonly #handle: DeviceHandle;
  readonly #planner: CpuPlanner;
  readonly #placement: number;
  readonly #jobs = new JobTable((job) => this.addon.jobEnded(this.#handle, job));
  readonly #buffers = new Set<CpuBuffer>();
  readonly #executables = new Set<Executable>();
  #weightBytes = 0;
  #bufferBytes = 0;
  #closed = false;
  #closing: Promise<void> | undefined;
  /** While a submission waits for another device, later ones wait behind it: the order of submission is kept. */
  #gate: Promise<void> | undefined;

  constructor(
    readonly addon: NativeAddon,
    readonly info: DeviceInfo,
    threads: number,
    level: string,
    weights: WeightPlacement,
  ) {
    this.#planner = new CpuPlanner(info);
    this.#placement = weightPlacements.indexOf(weights);
    this.#handle = guarded(() => addon.openDevice(threads, level, this.#jobs.listener));
  }

  supports(node: Node, graph: Graph, options: PlanOptions): Support {
    return this.#planner.supports(node, graph, options);
  }

  async load(entries: readonly WeightEntry[], options: LoadOptions = {}): Promise<WeightSet> {
    this.expectOpen();
    const { signal, onProgress } = options;
    throwIfCancelled(signal, 'Loading');
    const { paths, names, numbers, bytes } = loadRequest(entries);
    const totalBytes = entries.reduce((sum, _, index) => sum + numbers[7 * index + 6]!, 0);
    const { job, load } = guarded(() =>
      this.addon.loadWeights(this.#handle, this.#placement, paths, names, numbers, bytes),
    );
    const abort = (): void => this.addon.abortLoad(load);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await this.#jobs.settled(job, {
        progress: (loadedBytes) => onProgress?.({ loadedBytes, totalBytes }),
      });
      // It may have come too late for the job.
      throwIfCancelled(signal, 'Loading');
    } catch (error) {
      this.addon.dispose(load);
      throwIfCancelled(signal, 'Loading');
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    onProgress?.({ loadedBytes: totalBytes, totalBytes });
    const set = new CpuWeightSet(
      this.addon,
      load,
      entries,
      (byteLength) => (this.#weightBytes -= byteLength),
    );
    this.#weightBytes += set.byteLength;
    return set;
  }

  async compile(
    graph: Graph,
    given: WeightSet | readonly WeightSet[],
    options: CompileOptions,
  ): Promise<Executable> {
    this.expectOpen();
    const { sets } = ownWeightSets(given, (set) => set instanceof CpuWeightSet);
    const weights = sets[0]!;
    checkWeights(graph, (name) => weights.spec(name));
    for (const node of graph.nodes) {
      const support = this.supports(node, graph, { precision: options.precision ?? 'fast' });
      if (!support.ok) {
        throw new UnicornError('unsupported/op', `The CPU backend does not support ${support.reason}.`, {
          fields: { node: node.id, op: node.op, reason: support.reason },
        });
      }
    }
    const signature = graphSignature(graph);
    const plan = lower(graph, {
      signature,
      precision: options.precision ?? 'fast',
      maximumDims: maximumDims(graph, options),
      takesInt8: (name) => weights.takesInt8(name),
    });
    const { words, names, constants } = encodePlan(
      plan,
      (name) => weights.index(name),
      options.profile ?? false,
    );
    const { handle, scratchBytes } = guarded(() =>
      this.addon.compile(this.#handle, weights.handle, words, names, constants),
    );
    const executable = new CpuExecutable(this, handle, scratchBytes, signature, graph, plan, options);
    this.#executables.add(executable);
    return executable;
  }

  allocate(byteLength: number, _options: AllocateOptions = {}): DeviceBuffer {
    this.expectOpen();
    if (!Number.isSafeInteger(byteLength) || byteLength < 0) {
      throw new UnicornError('usage/buffer-size', `A buffer of ${byteLength} bytes cannot be.`, {
        fields: { byteLength },
      });
    }
    const left = this.info.maxBufferBytes - this.#bufferBytes;
    if (byteLength > left) {
      throw new UnicornError(
        'resource/memory',
        `A buffer of ${byteLength} bytes was asked for; ${Math.max(0, left)} bytes are left.`,
        { fields: { byteLength, left }, fix: 'Ask for a smaller context.' },
      );
    }
    const buffer: CpuBuffer = new CpuBuffer(this.addon, byteLength, (released) => {
      this.#bufferBytes -= released;
      this.#buffers.delete(buffer);
    });
    this.#buffers.add(buffer);
    this.#bufferBytes += byteLength;
    return buffer;
  }

  importBuffer(memory: Uint8Array | DeviceBuffer): DeviceBuffer {
    this.expectOpen();
    const host = memory instanceof Uint8Array ? memory : memory.host;
    if (host) return new ImportedBuffer(host);
    throw new UnicornError('unsupported/import', 'The host cannot address the memory of that buffer.', {
      fix: "Allocate it with host: 'required'.",
    });
  }

  copy(from: BufferView, to: BufferView, byteLength: number, options: SubmitOptions = {}): Completion {
    this.expectOpen();
    checkHostCopy(from, to, byteLength);
    const idle = this.#idle();
    const done = (async () => {
      await endOf(completionsOf(options));
      await idle;
      copyOnHost(from, to, byteLength);
    })();
    return new CpuCompletion(this, done);
  }

  async write(buffer: DeviceBuffer, byteOffset: number, data: Uint8Array): Promise<void> {
    this.expectOpen();
    if (!this.#isIdle) {
      const copy = data.slice();
      await this.#idle();
      return writeBuffer(buffer, byteOffset, copy);
    }
    writeBuffer(buffer, byteOffset, data);
  }

  async read(buffer: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    this.expectOpen();
    await this.#idle();
    return readBuffer(buffer, byteOffset, byteLength);
  }

  memory(): MemoryUse {
    return {
      weightBytes: this.#weightBytes,
      bufferBytes: this.#bufferBytes,
      // Executables of one device run one after the other, over the same memory.
      scratchBytes: Math.max(0, ...[...this.#executables].map(({ scratchBytes }) => scratchBytes)),
      copiedBytes: 0,
    };
  }

  forget(executable: Executable): void {
    this.#executables.delete(executable);
    if (this.#executables.size === 0 && !this.#closed) this.addon.trimScratch(this.#handle);
  }

  close(): Promise<void> {
    this.#closed = true;
    return (this.#closing ??= this.#finish());
  }

  async #finish(): Promise<void> {
    await this.#idle();
    this.addon.closeDevice(this.#handle);
    for (const buffer of [...this.#buffers]) buffer.dispose();
  }

  enqueue(submission: NativeSubmission, options: SubmitOptions): Completion {
    const all = completionsOf(options);
    const after = all[0];
    if (all.length > 1) return this.#submitLater(submission, endOf(all));
    const own = after instanceof CpuCompletion && after.device === this ? after : undefined;
    if (!this.#gate && (own?.job !== undefined || after === undefined)) {
      const job = this.#submit(submission, own?.job ?? 0);
      const completion = new CpuCompletion(this, this.#settled(job, submission, own));
      completion.job = job;
      return completion;
    }
    return this.#submitLater(submission, after?.done);
  }

  /** Waits for what was submitted before, and for the other device, then submits. */
  #submitLater(submission: NativeSubmission, after: Promise<unknown> | undefined): Completion {
    // Host data is copied now, since the caller may reuse it as soon as `submit` returns.
    const copied = {
      ...submission,
      bindings: submission.bindings.map((memory, index) =>
        memory instanceof Uint8Array && submission.numbers[3 * index + 2] === 0 ? memory.slice() : memory,
      ),
    };
    const before = this.#gate;
    // eslint-disable-next-line prefer-const -- set below, read only after the first await
    let completion: CpuCompletion | undefined;
    const submitted = (async (): Promise<Promise<void>[]> => {
      await before;
      await after;
      const job = this.#submit(copied, 0);
      completion!.job = job;
      // In an array, since a promise's promise would be awaited here.
      return [this.#settled(job, copied)];
    })();
    const gate = submitted.then(
      () => {},
      () => {},
    );
    this.#gate = gate;
    void gate.then(() => {
      if (this.#gate === gate) this.#gate = undefined;
    });
    completion = new CpuCompletion(
      this,
      submitted.then(([done]) => done),
    );
    return completion;
  }

  #submit({ program, dims, bindings, numbers }: NativeSubmission, after: number): number {
    return guarded(() => this.addon.submit(this.#handle, program, dims, bindings, numbers, after));
  }

  /** @param after whose failure this job shares even if JavaScript was told of that one already */
  async #settled(job: number, { bindings }: NativeSubmission, after?: CpuCompletion): Promise<void> {
    await this.#jobs.settled(job, { holds: bindings });
    await after?.done;
  }

  get #isIdle(): boolean {
    return this.#gate === undefined && this.#jobs.isIdle;
  }

  /** Resolves when everything submitted so far has ended, well or not. */
  async #idle(): Promise<void> {
    while (!this.#isIdle) {
      await this.#gate;
      await this.#jobs.idle();
    }
  }

  expectOpen(): void {
    if (this.#closed) throw new UnicornError('device/closed', 'The CPU device was closed.');
  }
}
