/**
 * The order of what a device is given, and who is told when it ends. The addon has the queue itself; this keeps a
 * submission back while it, or one before it, waits for another device or for its pipelines.
 */
import { JobTable } from '@unicorn-exec/native';
import { completionsOf, endOf } from '@unicorn-exec/tensor';
import type { Completion, SubmitOptions, UnicornError } from '@unicorn-exec/tensor';

/** Something to run in the order of submission. */
export interface Submission {
  /** What to wait for next; undefined when it can be handed to the device now. */
  ready(): Promise<void> | undefined;
  /** Copies what the caller may change as soon as `submit` has returned. */
  detach(): void;
  /** Hands it to the device. @returns the job */
  run(): number;
  /** Called once, when the job has ended: what went wrong on the device. */
  ended(): UnicornError | undefined;
}

class QueuedCompletion implements Completion {
  constructor(
    readonly queue: JobQueue,
    readonly done: Promise<void>,
  ) {
    // A caller that awaits only the last of several must not be ended by an unhandled rejection of an earlier one.
    done.catch(() => {});
  }

  times(): readonly [] {
    return [];
  }
}

export class JobQueue extends JobTable {
  /** While something waits to be submitted, later ones wait behind it: the order of submission is kept. */
  #gate: Promise<void> | undefined;

  enqueue(submission: Submission, options: SubmitOptions): Completion {
    // Jobs of one queue run in order; of those before only the failures have to be shared.
    const after = completionsOf(options);
    const isOwn = (one: Completion): boolean => one instanceof QueuedCompletion && one.queue === this;
    const own = endOf(after.filter(isOwn));
    const foreign = endOf(after.filter((one) => !isOwn(one)));
    // Their failures are this submission's.
    own?.catch(() => {});
    foreign?.catch(() => {});
    if (!this.#gate && !foreign) {
      const wait = submission.ready();
      if (!wait) return new QueuedCompletion(this, this.#run(submission, own));
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
      return [this.#run(submission, own)];
    })();
    this.#close(submitted);
    return new QueuedCompletion(
      this,
      submitted.then(([done]) => done),
    );
  }

  /** Runs what begins a job that is no submission (a transfer), in its place among the others. */
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

  async #run(submission: Submission, after: Promise<unknown> | undefined): Promise<void> {
    const job = submission.run();
    try {
      await this.settled(job);
    } finally {
      const fault = submission.ended();
      // eslint-disable-next-line no-unsafe-finally -- what the device noted tells more than that it stopped
      if (fault) throw fault;
    }
    await after;
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
