/**
 * What a command sees of the outside: its two output streams, colour, interruption. Results go to stdout, everything
 * else (progress, notes, errors) to stderr.
 */
import { styleText } from 'node:util';
import { isUnicornError, UnicornError } from '@unicorn-exec/api/error';

/** 128 + SIGINT, the shell's convention. */
export const interruptedExitCode = 130;

type Style = Parameters<typeof styleText>[0];

export class Terminal {
  interrupted = false;
  #cancel = new AbortController();
  #onInterrupt: (() => void) | undefined;
  readonly #handleInterrupt = (): void => {
    // The first one asks for an orderly end, the second one does not wait for it.
    if (this.#onInterrupt) return this.#onInterrupt();
    if (this.interrupted) this.exitInterrupted();
    this.interrupted = true;
    this.#cancel.abort(new UnicornError('usage/cancelled', 'Interrupted.'));
  };
  readonly #handlePipe = (error: NodeJS.ErrnoException): void => {
    // The reader has gone (`unicorn run | head`): there is nobody left to tell.
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  };

  constructor(
    readonly stdout: NodeJS.WriteStream = process.stdout,
    readonly stderr: NodeJS.WriteStream = process.stderr,
  ) {
    stdout.on('error', this.#handlePipe);
    stderr.on('error', this.#handlePipe);
    process.on('SIGINT', this.#handleInterrupt);
  }

  /** Aborts at the first Ctrl-C. */
  get signal(): AbortSignal {
    return this.#cancel.signal;
  }

  /** True where a person reads stderr: bars and colours are for them. */
  get interactive(): boolean {
    return this.stderr.isTTY === true;
  }

  /** While set, Ctrl-C calls it instead. */
  set onInterrupt(handler: (() => void) | undefined) {
    this.#onInterrupt = handler;
  }

  /** Ends at once: what a second Ctrl-C means. */
  exitInterrupted(): never {
    process.exit(interruptedExitCode);
  }

  write(text: string): void {
    this.stdout.write(text);
  }

  /** One JSON document, or one line of JSON Lines. */
  writeJson(value: unknown, { lines = false } = {}): void {
    this.stdout.write(`${JSON.stringify(value, undefined, lines ? undefined : 2)}\n`);
  }

  /** A sentence for the person, on stderr. */
  note(text: string): void {
    this.stderr.write(`${this.style('dim', text)}\n`);
  }

  warn(text: string): void {
    this.stderr.write(`${this.style('yellow', 'warning:')} ${text}\n`);
  }

  /** An error, as JSON on stdout where the caller asked for it, else as a sentence and its fix. */
  fail(error: unknown, json: boolean): void {
    const known = isUnicornError(error)
      ? error
      : new UnicornError('internal/unexpected', error instanceof Error ? error.message : String(error));
    if (json) {
      this.writeJson({ error: known.toJSON() });
      return;
    }
    this.stderr.write(`${this.style('red', 'error:')} ${known.message}\n`);
    if (known.fix) this.stderr.write(`  ${this.style('bold', 'fix:')} ${known.fix}\n`);
    if (known.family === 'internal' && error instanceof Error)
      this.stderr.write(`${this.style('dim', error.stack ?? '')}\n`);
  }

  style(format: Style, text: string): string {
    const coloured = this.stderr.isTTY === true && !process.env.NO_COLOR;
    return coloured ? styleText(format, text) : text;
  }

  dispose(): void {
    process.off('SIGINT', this.#handleInterrupt);
    this.stdout.off('error', this.#handlePipe);
    this.stderr.off('error', this.#handlePipe);
  }
}
