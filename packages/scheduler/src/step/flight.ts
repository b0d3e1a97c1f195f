/**
 * Submissions on their way: what goes out, what it samples, and what becomes of its jobs when it fails. A failure is that
 * of the submission's jobs and of nobody else. It does not know why something was planned.
 */
import {
  isUnicornError,
  sampleNames,
  tensorBytes,
  type Completion,
  type DeviceBuffer,
  type UnicornError,
} from '@unicorn-exec/tensor';
import type { Admission } from './admission.js';
import type { Job } from './job.js';
import type { ProgramKind } from './program-kind.js';
import type { Program, ProgramCache, SampledBuffers, StepHost } from './program.js';
import { SampledRows } from './sampled-rows.js';
import { follower, StepBatch, type StepPortion } from './step-batch.js';
import type { StepCounts } from './step-counts.js';

/** A job and its portion of a submission. */
export interface StepEntry {
  readonly job: Job;
  readonly portion: StepPortion;
}

/** A submission that has not landed. Its jobs are pinned until then. */
export interface Flight {
  readonly program: Program;
  readonly entries: readonly StepEntry[];
  /** Index of its buffer among those that the program samples into. */
  readonly buffer: number;
  readonly done: Promise<void>;
}

export class Flights {
  readonly #batch: StepBatch;
  #lost: UnicornError | undefined;

  constructor(
    private readonly host: StepHost,
    private readonly programs: ProgramCache,
    private readonly admission: Admission,
    private readonly counts: StepCounts,
    /** Whether jobs outlive their device: another takes over. */
    private readonly outlived: boolean,
  ) {
    this.#batch = new StepBatch(host.plan, host.states);
  }

  /** Submits, compiling its program if need be. Undefined: it failed, and its jobs with it. */
  async launch(kind: ProgramKind, entries: readonly StepEntry[]): Promise<Flight | undefined> {
    for (const { job } of entries) this.admission.pin(job);
    try {
      const program = await this.programs.get(kind);
      await this.#writeGuesses(entries);
      return this.#submit(program, entries, 0);
    } catch (error) {
      this.fail(entries, error);
      return undefined;
    }
  }

  /**
   * Submits the step after that of a flight whose tokens the device alone will know. Undefined: it failed, and its jobs with it.
   *
   * @param buffers how many of the program's buffers take turns
   */
  follow({ program, entries, buffer }: Flight, buffers: number): Flight | undefined {
    const next = entries.map(({ job, portion }) => ({ job, portion: follower(portion) }));
    for (const { job } of next) this.admission.pin(job);
    try {
      const from = program.sampled[buffer]![sampleNames.sampled];
      return this.#submit(program, next, (buffer + 1) % buffers, from);
    } catch (error) {
      this.fail(next, error);
      return undefined;
    }
  }

  /** What a flight sampled, once it has ended. Undefined: it failed, and its jobs with it. */
  async sampled({ program, entries, buffer, done }: Flight): Promise<SampledRows | undefined> {
    try {
      await done;
      const rows = entries.reduce((sum, { portion }) => sum + (portion.sample?.count ?? 0), 0);
      const sampled = program.sampled[buffer];
      return rows === 0 || !sampled ? SampledRows.none : await this.readSampled(program, sampled, rows);
    } catch (error) {
      this.fail(entries, error);
      return undefined;
    }
  }

  /** Present once the device was lost and its jobs wait for another. Nothing is submitted any more. */
  get lost(): UnicornError | undefined {
    return this.#lost;
  }

  /** Fails the jobs of what is not under way any more, or never was. */
  fail(entries: readonly StepEntry[], error: unknown): void {
    for (const { job } of entries) if (!this.admission.unpin(job)) this.failJob(job, error);
    // A device that was lost took the caches along.
    if (isUnicornError(error) && error.family === 'device') this.admission.cache.clear();
  }

  /** Fails a job, unless what went wrong is that its device was lost, and it waits for another. */
  failJob(job: Job, error: unknown): void {
    const isDevice = isUnicornError(error) && error.family === 'device';
    if (this.outlived && isDevice && error.code === 'device/lost') this.#lost ??= error;
    if (!this.#lost || !isDevice) job.fail(error);
  }

  /** Submits the sampling of one pinned job from its logits. Throws and rejects with what the device says. */
  submitSampler(
    program: Program,
    portion: StepPortion,
    logits: DeviceBuffer,
    into: SampledBuffers,
  ): Completion {
    this.counts.submissions++;
    return program.executable.submit(this.#batch.bindSampler(program, portion, logits, into));
  }

  /** The first rows of what a program has sampled into these. */
  async readSampled(program: Program, buffers: SampledBuffers, rows: number): Promise<SampledRows> {
    const { outputs } = program.executable.signature;
    const read = new Map<string, Uint8Array>();
    for (const [name, buffer] of Object.entries(buffers)) {
      const { dtype, shape } = outputs[name]!;
      read.set(
        name,
        await this.readOutput(buffer, tensorBytes(dtype, [rows, ...(shape.slice(1) as number[])])),
      );
    }
    return new SampledRows(rows, program.kind.topLogProbabilities ?? 0, read);
  }

  /** Without a copy where the host can address the buffer. */
  async readOutput(buffer: DeviceBuffer, byteLength: number): Promise<Uint8Array> {
    return buffer.host ?? (await this.host.device.read(buffer, 0, byteLength));
  }

  /** @param from where the device finds the ids; undefined: the host knows them */
  #submit(program: Program, entries: readonly StepEntry[], buffer: number, from?: DeviceBuffer): Flight {
    const portions = entries.map(({ portion }) => portion);
    const bindings = this.#batch.bind(program, portions, { sampled: program.sampled[buffer], from });
    this.counts.submissions++;
    const { done } = program.executable.submit(bindings);
    // It is awaited later, and may fail before.
    done.catch(() => {});
    return { program, entries, buffer, done };
  }

  /** Guesses that were looked up, where penalties see them; those that a slice drew it has written itself. */
  async #writeGuesses(entries: readonly StepEntry[]): Promise<void> {
    for (const { job, portion } of entries) {
      if (portion.draft.length === 0 || job.drafter!.program || !portion.sample!.row.penalized) continue;
      const ids = Int32Array.from(portion.draft);
      const index = portion.sample!.historyRow * this.host.plan.contextLength + portion.kv.tokens.length;
      const offset = index * ids.BYTES_PER_ELEMENT;
      await this.host.device.write(this.host.states.history, offset, new Uint8Array(ids.buffer));
    }
  }
}
