/**
 * A graph in parts on several devices: each submission is one of each part. What crosses between parts has memory twice,
 * so that a submission may begin while the one before it is still read.
 */
import {
  completionsOf,
  resolveBindings,
  submissionDims,
  UnicornError,
  type Bindings,
  type CompileOptions,
  type Completion,
  type DeviceBuffer,
  type Executable,
  type ProfileEntry,
  type Signature,
  type SubmitOptions,
} from '@unicorn-exec/tensor';
import type { PartOrder } from './part-order.js';
import { SplitSubmission, type CompiledPart } from './split-submission.js';

/** Memory of the values that cross and that no caller binds, by name: {@link crossingBuffers} buffers each. */
export type CrossingMemory = ReadonlyMap<string, readonly DeviceBuffer[]>;

/** How many submissions may be under way before what crosses is written over. */
export const crossingBuffers = 2;

export interface SplitParts {
  readonly signature: Signature;
  readonly parts: readonly CompiledPart[];
  readonly crossing: CrossingMemory;
  readonly order: PartOrder;
  readonly options: CompileOptions;
}

export class SplitExecutable implements Executable {
  readonly signature: Signature;
  readonly scratchBytes: number;
  readonly runsAhead: boolean;
  readonly #parts: readonly CompiledPart[];
  readonly #crossing: CrossingMemory;
  readonly #order: PartOrder;
  readonly #options: CompileOptions;
  /** For each set of crossing memory the last submission that uses it, until it has ended. */
  readonly #inUse: (SplitSubmission | undefined)[] = [];
  /** The last submission: the next one hands each part over after it. */
  #last: SplitSubmission | undefined;
  #submissions = 0;
  #unfinished = 0;
  #disposed = false;

  constructor({ signature, parts, crossing, order, options }: SplitParts) {
    this.signature = signature;
    this.#parts = parts;
    this.#crossing = crossing;
    this.#order = order;
    this.#options = options;
    this.runsAhead = parts.length === 1 && parts[0]!.executable.runsAhead === true;
    const memory = [...crossing.values()].flat();
    const crossingBytes = memory.reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.scratchBytes =
      crossingBytes + this.#parts.reduce((sum, { executable }) => sum + executable.scratchBytes, 0);
  }

  describe(): string {
    return this.#parts
      .map(({ deviceName, executable }) => `on ${deviceName}:\n${executable.describe()}`)
      .join('\n\n');
  }

  submit(bindings: Bindings, options: SubmitOptions = {}): Completion {
    if (this.#disposed) throw new UnicornError('usage/disposed', 'The executable was disposed of.');
    const dims = submissionDims(this.signature, this.#options, bindings);
    const set = this.#submissions % crossingBuffers;
    const submission = new SplitSubmission(this.#parts, this.#order, {
      dims,
      bindings: resolveBindings(this.signature, dims, bindings),
      crossing: (name) => this.#crossing.get(name)?.[set],
      after: completionsOf(options),
      free: this.#crossing.size > 0 ? this.#inUse[set]?.completion.done.catch(() => {}) : undefined,
      previous: this.#last,
      ended: () => this.#ended(submission, set),
    });
    const { completion } = submission;
    this.#submissions++;
    this.#unfinished++;
    this.#last = submission;
    this.#inUse[set] = submission;
    return completion;
  }

  #ended(submission: SplitSubmission, set: number): void {
    if (this.#last === submission) this.#last = undefined;
    if (this.#inUse[set] === submission) this.#inUse[set] = undefined;
    if (--this.#unfinished === 0 && this.#disposed) this.#release();
  }

  profile(): readonly ProfileEntry[] {
    return this.#parts.flatMap(({ executable }) => executable.profile());
  }

  /** Frees everything, once what was submitted has ended. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#unfinished === 0) this.#release();
  }

  #release(): void {
    for (const { executable } of this.#parts) executable.dispose();
    for (const buffer of [...this.#crossing.values()].flat()) buffer.dispose();
  }
}
