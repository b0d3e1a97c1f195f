/**
 * Keeps the order of what a device is given, and tells callers when it ends. The queue itself is in the addon; this class
 * holds a submission back while it, or one before it, waits for another device or for its pipelines.
 */
import { JobTable } from '@unicorn-exec/native';
import { completionsOf, endOf } from '@unicorn-exec/tensor';
import type { Completion, SubmissionTime, SubmitOptions, UnicornError } from '@unicorn-exec/tensor';

/** Something to run in the order of submission. */
export interface Submission {
  /** Resolves when there may be more to wait for; undefined when it can be handed to the device now. */
  ready(): Promise<void> | undefined;
  /** Copies what the caller may change as soon as `submit` has returned. */
  detach(): void;
  /** Hands it to the device. @returns the job */
  run(): number;
  /** Called once, when the job has ended. @returns the error of what went wrong on the device, if anything did */
  ended(): UnicornError | undefined;
  /** Called when it has ended well: what is to be done before others are told, if anything. */
  finish?(): Promise<void> | undefined;
  /** Called last, when it has run and ended, well or not. */
  settled?(): void;
}

/** When the device worked on a job. */
export type TimesOf = (job: number) => readonly SubmissionTime[];

/** What becomes known of a submission when it has ended. */
interface Outcome {
  times: readonly SubmissionTime[];
}

class QueuedCompletion implements Completion {
  constructor(
    readonly queue: JobQueue,
    readonly done: Promise<void>,
    private readonly outcome: Outcome,
  ) {
    // A caller that awaits only the last of several must not be ended by an unhandled rejection of an earlier one.
    done.catch(() => {});
  }

  times(): readonly SubmissionTime[] {
    return this.outcome.times;
  }
}

export class JobQueue extends JobTable {
  /** While something waits to be submitted, later ones wait behind it: the order of submission is kept. */
  #gate: Promise<void> | undefined;

  /** @param timesOf asked once for each submission, when it has ended. Default: nothing is known */
  constructor(private readonly timesOf: TimesOf = () => []) {
    super();
  }

  enqueue(submission: Submission, options: SubmitOptions): Completion {
    // Jobs of one queue run in order, so only the failures of earlier ones remain to be waited for.
    const after = completionsOf(options);
    const outcome: Outcome = { times: [] };
    const isOwn = (one: Completion): boolean => one instanceof QueuedCompletion && one.queue === this;
    const own = endOf(after.filter(isOwn));
    const foreign = endOf(after.filter((one) => !isOwn(one)));
    // A failure of one of them fails this submission.
    own?.catch(() => {});
    foreign?.catch(() => {});
    if (!this.#gate && !foreign) {
      const wait = submission.ready();
      if (!wait) return new QueuedCompletion(this, this.#run(submission, own, outcome), outcome);
      // Asked again below, where its failure is the submission's.
      wait.catch(() => {});
    }
    submission.detach();
    const before = this.#gate;
    const submitted = (async (): Promise<Promise<void>[]> => {
      await before;
      await foreign;
      for (let wait = submission.ready(); wait; wait = submission.ready()) await wait;
      // In an array, since a promise's promise would be awaited here.
      return [this.#run(submission, own, outcome)];
    })();
    this.#close(submitted);
    return new QueuedCompletion(
      this,
      submitted.then(([done]) => done),
      outcome,
    );
  }

  /** Runs what begins a job that is not a submission (a transfer), in its place among the others. */
  async inOrder(start: () => number): Promise<void> {
    if (this.#gate) {
      const before = this.#gate;
      const started = before.then(() => [this.settled(start())]);
      this.#close(started);
      const [done] = await started;
      return done;
    }
    return this.settled(start());
  }

  async #run(submission: Submission, after: Promise<unknown> | undefined, outcome: Outcome): Promise<void> {
    const job = submission.run();
    try {
      await this.#end(job, submission, outcome);
      await submission.finish?.();
    } finally {
      submission.settled?.();
    }
    await after;
  }

  async #end(job: number, submission: Submission, outcome: Outcome): Promise<void> {
    try {
      await this.settled(job);
    } finally {
      outcome.times = this.timesOf(job);
      const fault = submission.ended();
      // eslint-disable-next-line no-unsafe-finally -- what the device noted tells more than that it stopped
      if (fault) throw fault;
    }
  }

  /** Lets later submissions wait for this one to be submitted, well or not. */
  #close(submitted: Promise<unknown>): void {
    const gate = submitted.then(
      () => {},
      () => {},
    );
    this.#gate = gate;
    void gate.then(() => {
      if (this.#gate === gate) this.#gate = undefined;
    });
  }

  /** True while something submitted waits for what is not in this queue. */
  get isWaiting(): boolean {
    return this.#gate !== undefined;
  }

  override get isIdle(): boolean {
    return this.#gate === undefined && super.isIdle;
  }

  /** Resolves when everything submitted so far has ended, well or not. */
  override async idle(): Promise<void> {
    while (!this.isIdle) {
      await this.#gate;
      await super.idle();
    }
  }
}
