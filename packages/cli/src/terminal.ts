/**
 * What a command sees of the outside: its two output streams, colour, interruption. Results go to stdout, everything
 * else (progress, notes, errors) to stderr.
 */
import { styleText } from 'node:util';
import { isUnicornError, UnicornError } from '@unicorn-exec/api/error';
import { namedAsCalled } from './invocation.js';

/** 128 + SIGINT, the shell's convention. */
export const interruptedExitCode = 130;

type Style = Parameters<typeof styleText>[0];

export class Terminal {
  interrupted = false;
  /** What a command that went to its end exits with; 1 where a part of its work failed. */
  exitCode: 0 | 1 = 0;
  /** Errors are printed as JSON on stdout. */
  json = false;
  #cancel = new AbortController();
  #onInterrupt: (() => void) | undefined;
  #catchesInterrupts = false;
  /** What must be undone on the screen, however the process ends. */
  #restore: (() => void) | undefined;
  readonly #handleInterrupt = (): void => {
    // The first one asks for an orderly end, the second one does not wait for it.
    if (this.#onInterrupt) return this.#onInterrupt();
    if (this.interrupted) this.exitInterrupted();
    this.interrupted = true;
    this.#cancel.abort(new UnicornError('usage/cancelled', 'Interrupted.'));
  };

  constructor(
    readonly stdout: NodeJS.WriteStream = process.stdout,
    readonly stderr: NodeJS.WriteStream = process.stderr,
  ) {
    // These stay when the command has ended: a failed write is told afterwards, for help and version too.
    stdout.on('error', (error: NodeJS.ErrnoException) => this.#outputFailed(error));
    // Nobody is left to be told; the answer on stdout may still be wanted.
    stderr.on('error', () => {});
  }

  /** Aborts at the first Ctrl-C. Until it is asked for, Ctrl-C ends the process at once, as nothing needs an orderly end. */
  get signal(): AbortSignal {
    this.#catchInterrupts();
    return this.#cancel.signal;
  }

  /** True where a person reads stderr: bars and colours are for them. */
  get interactive(): boolean {
    return this.stderr.isTTY === true;
  }

  /** True where a line on stderr can be drawn anew. */
  get redraws(): boolean {
    return this.interactive && process.env.TERM !== 'dumb';
  }

  /** While set, Ctrl-C calls it instead. */
  set onInterrupt(handler: (() => void) | undefined) {
    this.#catchInterrupts();
    this.#onInterrupt = handler;
  }

  /** While set, it is called before the process ends at a second Ctrl-C, so that the terminal is left as it was. */
  set onRestore(restore: (() => void) | undefined) {
    this.#restore = restore;
  }

  /**
   * Ends at once: what a second Ctrl-C means. The process dies by the signal, which shells show as 130, since an ordinary
   * exit waits for file operations in flight, and opening a pipe that nobody writes to never ends.
   */
  exitInterrupted(): never {
    this.#restore?.();
    process.removeAllListeners('SIGINT');
    process.kill(process.pid, 'SIGINT');
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
    this.stderr.write(`${this.style('dim', sentence(text))}\n`);
  }

  warn(text: string): void {
    this.stderr.write(`${this.style('yellow', 'warning:')} ${sentence(text)}\n`);
  }

  /** An error, as JSON on stdout where the caller asked for it, else as a sentence and its fix. */
  fail(error: unknown, json: boolean, { lines = false } = {}): void {
    const known = isUnicornError(error)
      ? error
      : new UnicornError('internal/unexpected', error instanceof Error ? error.message : String(error));
    if (json) {
      this.writeJson({ error: known.toJSON() }, { lines });
      return;
    }
    this.stderr.write(`${this.style('red', 'error:')} ${sentence(known.message)}\n`);
    if (known.fix) this.stderr.write(`  ${this.style('bold', 'fix:')} ${sentence(known.fix)}\n`);
    if (known.family === 'internal' && error instanceof Error)
      this.stderr.write(`${this.style('dim', error.stack ?? '')}\n`);
  }

  /** @param stream where the text is written: a file gets no colours because the terminal beside it has them */
  style(format: Style, text: string, stream = this.stderr): string {
    const coloured = stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
    return coloured ? styleText(format, text) : text;
  }

  /** Ctrl-C ends the process at once again. */
  dispose(): void {
    process.off('SIGINT', this.#handleInterrupt);
    this.#catchesInterrupts = false;
  }

  #catchInterrupts(): void {
    if (!this.#catchesInterrupts) process.on('SIGINT', this.#handleInterrupt);
    this.#catchesInterrupts = true;
  }

  #outputFailed(error: NodeJS.ErrnoException): never {
    this.#restore?.();
    // The reader has gone (`unicorn run | head`): there is nobody left to tell.
    if (error.code === 'EPIPE') process.exit(0);
    this.fail(outputError(error), false);
    process.exit(1);
  }
}

/** What a person reads: commands as they are called here, and nothing of a file or an argument that commands the terminal. */
const sentence = (text: string): string => visible(namedAsCalled(text));

/**
 * The text with its control characters as escapes, but for line ends and tabs: what files and models say must not move the
 * cursor, change the title or write to the clipboard of whoever reads it.
 */
export function visible(text: string): string {
  return text.replaceAll(
    /[\0-\x08\x0b-\x1f\x7f-\x9f]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** What the system said of standard output, as one of our errors. */
function outputError(error: NodeJS.ErrnoException): UnicornError {
  const full = error.code === 'ENOSPC' || error.code === 'EDQUOT' || error.code === 'EFBIG';
  return full
    ? new UnicornError('resource/disk', 'There is no room to write standard output.', {
        fields: { reason: error.code },
        fix: 'Free some space, or write elsewhere.',
        cause: error,
      })
    : new UnicornError('device/io', `Standard output cannot be written: ${error.message}.`, {
        fields: { reason: error.code },
        cause: error,
      });
}
