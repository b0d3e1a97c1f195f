/**
 * A person's keys, from the start of a conversation to its end: raw throughout, so that what is typed while an answer is
 * printed is not echoed into it. It is kept for the next prompt; Ctrl-C works at once. Pastes are told from typing by the
 * marks that terminals put around them (bracketed paste).
 */
import type { ReadStream } from 'node:tty';

const pasteMode = { on: '\x1b[?2004h', off: '\x1b[?2004l' };
const [pasteBegin, pasteEnd] = ['\x1b[200~', '\x1b[201~'];
const [controlC, controlZ] = ['\x03', '\x1a'];

/** Whoever reads the keys of one line. */
export interface KeyReader {
  /** Keys as they came; one that may end the line is always the last of them. */
  keys(text: string): void;
  /** Pasted text, its line ends as `\n`. */
  paste(text: string): void;
  /** After the process was stopped and goes on: the screen may show something else. */
  redraw(): void;
  end(): void;
}

export class Keyboard {
  /** What nobody has read yet. */
  #held = '';
  #reader: KeyReader | undefined;
  #ended = false;
  #open = false;
  readonly #take = (text: string): void => {
    // A Ctrl-C that comes alone is a key, also within a paste whose end never came.
    this.#held = text === controlC ? text : this.#held + text;
    this.#feed();
  };
  readonly #end = (): void => {
    this.#ended = true;
    this.#reader?.end();
  };
  readonly close = (): void => {
    if (!this.#open) return;
    this.#open = false;
    process.off('exit', this.close);
    this.input.off('data', this.#take).off('end', this.#end).pause();
    this.#setRaw(false);
  };

  /** @param onInterrupt Ctrl-C while nobody reads a line */
  constructor(
    private readonly input: ReadStream,
    private readonly output: NodeJS.WriteStream,
    private readonly onInterrupt: () => void,
  ) {}

  open(): void {
    this.#open = true;
    this.#setRaw(true);
    this.input.setEncoding('utf8').on('data', this.#take).on('end', this.#end);
    process.on('exit', this.close);
  }

  /** Gives the keys to a reader, those that were typed ahead first, until a line ends. */
  read(reader: KeyReader): void {
    this.#reader = reader;
    if (this.#ended) reader.end();
    else this.#feed();
  }

  /** Keys are kept from now on. */
  release(): void {
    this.#reader = undefined;
  }

  /** What Ctrl-Z does: the terminal is the shell's until the process goes on. */
  suspend(): void {
    this.#setRaw(false);
    process.once('SIGCONT', () => {
      this.#setRaw(true);
      this.#reader?.redraw();
    });
    process.kill(process.pid, 'SIGTSTP');
  }

  #setRaw(raw: boolean): void {
    if (!this.input.destroyed) this.input.setRawMode(raw);
    this.output.write(raw ? pasteMode.on : pasteMode.off);
  }

  #feed(): void {
    const hadReader = this.#reader !== undefined;
    while (this.#reader && this.#held !== '') {
      if (this.#held.startsWith(pasteBegin)) {
        const end = this.#held.indexOf(pasteEnd);
        if (end < 0) return;
        const text = this.#held.slice(pasteBegin.length, end);
        this.#held = this.#held.slice(end + pasteEnd.length);
        this.#reader.paste(text.replaceAll(/\r\n?/g, '\n'));
        continue;
      }
      const length = typedLength(this.#held);
      if (length === 0) return;
      const typed = this.#held.slice(0, length);
      this.#held = this.#held.slice(length);
      this.#reader.keys(typed);
    }
    if (this.#reader || this.#held === '') return;
    // What came together with the end of a line may be for the next one, which is asked for at once where nothing is answered.
    if (hadReader) setImmediate(() => this.#reader ?? this.#watch());
    else this.#watch();
  }

  /** While an answer is printed: Ctrl-C discards what was typed ahead, as terminals do. Those inside of a paste are text. */
  #watch(): void {
    const typed = this.#held.replaceAll(/\x1b\[200~[^]*?(\x1b\[201~|$)/g, (paste) =>
      '.'.repeat(paste.length),
    );
    if (typed.includes(controlC)) {
      this.#held = '';
      this.onInterrupt();
    } else if (typed.includes(controlZ)) {
      this.#held =
        this.#held.slice(0, typed.indexOf(controlZ)) + this.#held.slice(typed.indexOf(controlZ) + 1);
      this.suspend();
    }
  }
}

/**
 * How much of the text is typed keys: up to a key that may end the line (its end, Ctrl-C, Ctrl-D), to a paste, or to what may
 * become the mark of one.
 */
function typedLength(text: string): number {
  const lineEnd = text.search(/[\r\n\x03\x04]/);
  const paste = text.indexOf(pasteBegin);
  if (lineEnd >= 0 && (paste < 0 || lineEnd < paste)) {
    return lineEnd + (text.startsWith('\r\n', lineEnd) ? 2 : 1);
  }
  if (paste >= 0) return paste;
  // The Escape key alone is a key; a mark is cut behind its second character at the earliest.
  for (let length = pasteBegin.length - 1; length >= 2; length--) {
    if (text.endsWith(pasteBegin.slice(0, length))) return text.length - length;
  }
  return text.length;
}
