/** Child processes that load models one after the other: a crash or a hang is a finding, and costs one child. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface Outcome {
  /** The code of the error, `answered`, or what went wrong. */
  readonly outcome: string;
  readonly milliseconds: number;
}

const script = fileURLToPath(new URL('load-child.mjs', import.meta.url));

/** Time for one load and one token. Tiny models take 50 ms; a machine with other work takes longer. */
const mostMilliseconds = 20_000;

export class LoadChild {
  #child: ChildProcess | undefined;
  /** The most that a child has had resident, in bytes. */
  peakBytes = 0;

  async load(model: string): Promise<Outcome> {
    const child = (this.#child ??= await this.#start());
    const began = performance.now();
    const failed = (outcome: string): Outcome => {
      this.close();
      return { outcome, milliseconds: performance.now() - began };
    };
    let timer: NodeJS.Timeout | undefined;
    const settled = new AbortController();
    const { signal } = settled;
    try {
      return await Promise.race([
        once(child, 'message', { signal }).then(([message]) => {
          this.#readPeak();
          return message as Outcome;
        }),
        once(child, 'exit', { signal }).then(([code, name]) => failed(`crash: ${String(code ?? name)}`)),
        new Promise<Outcome>((resolve) => {
          timer = setTimeout(() => resolve(failed(`hang: over ${mostMilliseconds} ms`)), mostMilliseconds);
        }),
        new Promise<never>((_, reject) => {
          child.send({ model }, (error) => error && reject(error));
        }),
      ]);
    } finally {
      clearTimeout(timer);
      settled.abort();
    }
  }

  close(): void {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
  }

  async #start(): Promise<ChildProcess> {
    const child = fork(script, {
      execArgv: ['--max-old-space-size=512'],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    await once(child, 'message');
    return child;
  }

  /** The kernel remembers the peak, which a look in between would miss. */
  #readPeak(): void {
    const status = readFileSync(`/proc/${this.#child!.pid}/status`, 'utf8');
    const kibibytes = Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0);
    this.peakBytes = Math.max(this.peakBytes, 1024 * kibibytes);
  }
}
