/** Hands out what a flight computed: tokens and rows to its jobs, positions to the cache, right and wrong guesses to drafters. */
import { invariant } from '@unicorn-exec/tensor';
import type { Drafter } from '../draft/drafter.js';
import type { Admission } from './admission.js';
import type { Flight, Flights } from './flight.js';
import { decodes } from './job.js';
import type { Program } from './program.js';
import type { SampledRows } from './sampled-rows.js';
import type { StepCounts } from './step-counts.js';

export class Landing {
  constructor(
    private readonly flights: Flights,
    private readonly admission: Admission,
    private readonly counts: StepCounts,
  ) {}

  /**
   * Waits for a flight and hands out what it computed.
   *
   * @returns the number of tokens that its sequences got; undefined: it failed, and its jobs with it
   */
  async land(flight: Flight): Promise<number | undefined> {
    const { program, entries } = flight;
    const sampled = await this.flights.sampled(flight);
    if (!sampled) return undefined;
    const rows = entries.reduce((sum, { portion }) => sum + portion.count, 0);
    let outputs: ReadonlyMap<string, Float32Array> | undefined;
    if (program.kind.result !== 'sample') {
      try {
        outputs = await this.#readRows(program, rows);
      } catch (error) {
        this.flights.fail(entries, error);
        return undefined;
      }
    }
    return this.#handOut(flight, sampled, rows, outputs);
  }

  #handOut(
    { program, entries }: Flight,
    sampled: SampledRows,
    rows: number,
    outputs: ReadonlyMap<string, Float32Array> | undefined,
  ): number {
    const hasLogProbabilities = program.kind.topLogProbabilities !== undefined;
    let row = 0;
    let sampledRows = 0;
    let given = 0;
    for (const { job, portion } of entries) {
      const { kv, begin, count } = portion;
      const first = row;
      row += count;
      const firstSampled = sampledRows;
      sampledRows += portion.sample?.count ?? 0;
      const drawn = Array.from(sampled.ids.subarray(firstSampled, sampledRows));
      // It was submitted before anybody knew that the sequence had ended.
      if (job.ended && portion.follows) {
        this.admission.unpin(job);
        continue;
      }
      // Of an answer that has ended, what it had is kept; what the draft would have added is not.
      const standing = job.ended || !job.drafter ? Math.min(1, drawn.length) : job.drafter.standing(drawn);
      const tokens = drawn.slice(0, standing);
      if (program.kind.result === 'sample') {
        if (!decodes(job)) this.counts.prefilledTokens += count;
        this.counts.generatedTokens += tokens.length;
      }
      given += tokens.length;
      const wrong = drawn.length - tokens.length;
      if (!portion.stateSlots) {
        this.admission.cache.advance(kv, begin + count - wrong);
      } else if (wrong === 0) {
        kv.slots!.keep(portion.stateSlots);
        this.admission.cache.advance(kv, begin + count);
      }
      if (this.admission.unpin(job)) continue;
      const begun = job.drafter?.begun ?? false;
      if (job.drafter?.engaged) this.#settle(job.drafter, drawn, tokens);
      try {
        const output = outputs ? { tokens, rows: slice(outputs, first, count, rows) } : { tokens };
        job.absorb(
          hasLogProbabilities
            ? { ...output, logProbabilities: sampled.logProbabilities(firstSampled, tokens.length) }
            : output,
          begin,
          count,
        );
      } catch (error) {
        job.fail(error);
      }
      if (begun && job.holding) this.admission.cache.retract(kv);
    }
    return given;
  }

  #settle(drafter: Drafter, drawn: readonly number[], standing: readonly number[]): void {
    const { drafted, accepted } = drafter.settle(drawn, standing);
    if (drafted === 0) return;
    this.counts.draftedTokens += drafted;
    this.counts.acceptedTokens += accepted;
    this.counts.speculationSteps++;
  }

  /** Every output of a scoring program, [tokens, features]. */
  async #readRows(program: Program, tokens: number): Promise<Map<string, Float32Array>> {
    const outputs = new Map<string, Float32Array>();
    for (const [name, { shape }] of Object.entries(program.executable.signature.outputs)) {
      invariant(shape[0] === 'tokens', `the output "${name}" must be [tokens, features]`);
      const count = tokens * shape.slice(1).reduce<number>((product, dim) => product * (dim as number), 1);
      const byteLength = count * Float32Array.BYTES_PER_ELEMENT;
      const bytes = await this.flights.readOutput(program.outputs[name]!, byteLength);
      outputs.set(name, new Float32Array(bytes.buffer, bytes.byteOffset, count));
    }
    return outputs;
  }
}

/** The rows of one sequence among those of all. */
function slice(
  outputs: ReadonlyMap<string, Float32Array>,
  first: number,
  count: number,
  tokens: number,
): Map<string, Float32Array> {
  return new Map(
    [...outputs].map(([name, rows]) => {
      const features = rows.length / tokens;
      return [name, rows.subarray(first * features, (first + count) * features)];
    }),
  );
}
