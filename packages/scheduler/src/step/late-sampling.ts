/**
 * Sampling by itself, for jobs whose token masks come late. A step leaves their logits, one row for each, while the masks
 * are made; each job is sampled as soon as its own mask is there. Nobody waits for somebody else's: other jobs are stepped
 * meanwhile, and a job that waits may be cancelled or lose its memory as at any other time.
 */
import { sampleNames, tensorBytes, type DeviceBuffer } from '@unicorn-exec/tensor';
import type { Admission } from './admission.js';
import type { Flight, Flights, StepEntry } from './flight.js';
import type { RunnerPhase } from './phase.js';
import type { Program, ProgramCache, SampledBuffers, StepHost } from './program.js';
import type { StepCounts } from './step-counts.js';

export interface LateSamplingSetup {
  readonly host: StepHost;
  readonly programs: ProgramCache;
  readonly admission: Admission;
  readonly flights: Flights;
  readonly counts: StepCounts;
  /** Phase of the device's samplers, whichever phase left the logits. */
  readonly phase: RunnerPhase;
  /** Tells the step loop that something has changed. */
  readonly tell: () => void;
}

export class LateSampling {
  /** f32 [sampled ids] by row of the history. */
  readonly #logits = new Map<number, DeviceBuffer>();
  /** Outputs of samplers by their programs' names and rows of the history. */
  readonly #sampled = new Map<string, SampledBuffers>();
  #flying = 0;
  #waiting = 0;

  constructor(private readonly setup: LateSamplingSetup) {}

  /** Whether a submission of it is on the device. */
  get busy(): boolean {
    return this.#flying > 0;
  }

  /** Whether something will be told: a mask that is waited for, or a submission. */
  get expects(): boolean {
    return this.#waiting > 0;
  }

  /** Has the masks made of those whose logits a flight computes. */
  askMasks({ entries }: Flight): void {
    for (const { job, portion } of entries) {
      // Whoever waits for it is told what went wrong.
      if (portion.sample) job.lateMask!().catch(() => {});
    }
  }

  /** Keeps each job's row of the logits that a flight has computed. Rejects with what the device says. */
  async keepLogits({ program, entries, done }: Flight): Promise<void> {
    await done;
    const { device } = this.setup.host;
    const byteLength = tensorBytes('f32', [program.sampledIds]);
    const buffer = program.outputs[sampleNames.logits]!;
    const copies: Promise<void>[] = [];
    for (const { portion } of entries) {
      if (!portion.sample) continue;
      const from = { buffer, byteOffset: copies.length * byteLength };
      const to = { buffer: this.#logitsOf(portion.sample.historyRow, byteLength), byteOffset: 0 };
      copies.push(device.copy(from, to, byteLength).done);
    }
    await Promise.all(copies);
  }

  /** Samples each job of a flight that has landed, when its mask is there. */
  begin({ program, entries }: Flight): void {
    for (const entry of entries) {
      if (entry.portion.sample && !entry.job.ended) void this.#sample(program, entry);
    }
  }

  dispose(): void {
    const sampled = [...this.#sampled.values()].flatMap((buffers) => Object.values(buffers));
    for (const buffer of [...this.#logits.values(), ...sampled]) buffer.dispose();
    this.#logits.clear();
    this.#sampled.clear();
  }

  async #sample({ kind }: Program, entry: StepEntry): Promise<void> {
    const { programs, admission, flights, phase, tell } = this.setup;
    const { job, portion } = entry;
    const { holding } = job;
    this.#waiting++;
    try {
      const [mask, sampler] = await Promise.all([job.lateMask!(), programs.sampler(kind, phase)]);
      // It was cancelled, or has lost its memory and its logits are computed again.
      if (job.ended || job.holding !== holding || flights.lost) return;
      admission.pin(job);
      const masked = { ...portion, sample: { ...portion.sample!, masks: [mask] } };
      await this.#submit(sampler, { job, portion: masked });
    } catch (error) {
      flights.failJob(job, error);
    } finally {
      this.#waiting--;
      tell();
    }
  }

  /** Samples a pinned job. */
  async #submit(sampler: Program, entry: StepEntry): Promise<void> {
    const { admission, flights, counts } = this.setup;
    const { job, portion } = entry;
    const { historyRow } = portion.sample!;
    const into = this.#sampledOf(sampler, historyRow);
    let output;
    this.#flying++;
    try {
      await flights.submitSampler(sampler, portion, this.#logits.get(historyRow)!, into).done;
      output = await flights.readSampled(sampler, into, 1);
    } catch (error) {
      flights.fail([entry], error);
      return;
    } finally {
      this.#flying--;
    }
    if (admission.unpin(job)) return;
    counts.generatedTokens++;
    const tokens = [output.ids[0]!];
    const scored = sampler.kind.topLogProbabilities !== undefined;
    job.absorb(
      scored ? { tokens, logProbabilities: output.logProbabilities(0, 1) } : { tokens },
      portion.begin,
      portion.count,
    );
  }

  #logitsOf(historyRow: number, byteLength: number): DeviceBuffer {
    let buffer = this.#logits.get(historyRow);
    if (!buffer) {
      buffer = this.setup.host.device.allocate(byteLength, { name: sampleNames.logits });
      this.#logits.set(historyRow, buffer);
    }
    return buffer;
  }

  #sampledOf(sampler: Program, historyRow: number): SampledBuffers {
    const key = `${historyRow} ${sampler.kind.name}`;
    let buffers = this.#sampled.get(key);
    if (!buffers) this.#sampled.set(key, (buffers = this.setup.programs.sampledBuffers(sampler)));
    return buffers;
  }
}
